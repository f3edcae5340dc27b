-- How many messages may go out, what was taken of that, and who has agreed to be sent what.

create table limits (
    limit_id         uuid        not null,
    tenant_id        text        not null,
    -- One of the name of a default stands in its place.
    name             text        not null,
    -- What is counted apart from what: a word of `domain::Scope`.
    scope            text        not null,
    -- What it speaks of; null where it may be anything.
    channel          text,
    category         text,
    event_type       text,
    provider         text,
    max              integer     not null,
    window_seconds   integer     not null,
    -- `allow` or `defer`, where the slots cannot be counted; null goes by the channel.
    when_unavailable text,
    enabled          boolean     not null default true,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),

    constraint limits_pkey primary key (limit_id),
    constraint limits_name_unique unique (tenant_id, name),
    constraint limits_max_positive check (max > 0),
    constraint limits_window_positive check (window_seconds > 0)
);

comment on table limits is
    'Rate limits of tenants, beside and in place of those that ship with the binary.';

create table limit_counters (
    -- A hash of the tenant, the limit and what it counts apart: no user, no address.
    key        uuid        not null,
    -- Once nothing of it counts any more. Not indexed, so that an update stays on its page.
    expires_at timestamptz not null,
    -- As `domain::Counter` writes it: moments and numbers of slots.
    state      bytea       not null,

    constraint limit_counters_pkey primary key (key)
) with (
    -- A row is updated by every claim that sends what it counts.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

comment on table limit_counters is
    'Slots taken of rate limits. Written before a send, in a short transaction of its own.';

create table consents (
    consent_id    uuid        not null,
    at            timestamptz not null,
    -- When a later record took its place; null of the one that stands.
    superseded_at timestamptz,
    tenant_id     text        not null,
    -- Need not have a row in `users`.
    user_id       text        not null,
    category      text        not null,
    -- Null means every channel.
    channel       text,
    granted       boolean     not null,
    -- Where it was given, such as a form.
    source        text,
    note          text,
    -- Who recorded it, in the words of the audit.
    actor         text        not null,

    constraint consents_pkey primary key (consent_id)
);

-- What stands of a user: read with every claim that routes to them, so it holds little.
create unique index consents_standing_idx
    on consents (tenant_id, user_id, category, coalesce(channel, ''))
    where superseded_at is null;

-- The log, newest first: of a user, of a tenant, of one of its categories.
create index consents_user_idx on consents (tenant_id, user_id, consent_id);
create index consents_tenant_idx on consents (tenant_id, consent_id);
create index consents_category_idx on consents (tenant_id, category, consent_id);

comment on table consents is
    'Every consent given and withdrawn. Records are added, and removed only with their user.';

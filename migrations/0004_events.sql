-- Events as they came in, and the keys that make them unique beyond a partition.
--
-- Ids are UUIDv7 and partitions are ranges of ids: the primary key is the id alone, a look-up by
-- id touches one partition, and dropping a month is one statement. `store::partitions` makes them.
create table events (
    id          uuid        not null,
    created_at  timestamptz not null default now(),
    occurred_at timestamptz,
    tenant_id   text        not null,
    -- The submitter's name for it, or the id as text.
    event_id    text        not null,
    producer    text        not null default '',
    type        text        not null,
    severity    text,
    dedupe_key  text,
    payload     jsonb       not null,

    constraint events_pkey primary key (id),
    constraint events_severity_known check (severity in ('low', 'medium', 'high', 'critical'))
) partition by range (id);

comment on table events is
    'Facts received. Written by intake in the transaction of their route job.';

create table event_keys (
    tenant_id  text        not null,
    producer   text        not null,
    event_id   text        not null,
    id         uuid        not null,
    expires_at timestamptz not null,

    constraint event_keys_pkey primary key (tenant_id, producer, event_id)
);

create index event_keys_expires_idx on event_keys (expires_at);

comment on table event_keys is
    'event_id is unique per tenant and producer until expires_at (30 days).';

create table dedupe_keys (
    tenant_id  text        not null,
    -- The event type; empty for a direct send.
    type       text        not null,
    dedupe_key text        not null,
    id         uuid        not null,
    expires_at timestamptz not null,

    constraint dedupe_keys_pkey primary key (tenant_id, type, dedupe_key)
);

create index dedupe_keys_expires_idx on dedupe_keys (expires_at);

comment on table dedupe_keys is
    'dedupe_key is unique per tenant and type until expires_at (24 hours).';

-- Digests: several events that one user is told of at once.
--
-- At most one digest of a key is open. A join finds it, or opens it, by the partial unique index in
-- one statement; so two that come at the same moment meet in one row. A digest closes before it is
-- read, and nothing is added to one that has closed.
create table digests (
    digest_id       uuid        not null,
    opened_at       timestamptz not null,
    -- The end of its window; it may close earlier by its size.
    closes_at       timestamptz not null,
    closed_at       timestamptz,
    -- The notification that told it; null if nothing was left to be told.
    notification_id uuid,
    -- The nil id where no rule gathers: what quiet hours held back.
    rule_id         uuid        not null,
    -- So many items close it; null leaves that to the window.
    size_max        integer,
    -- Joins so far.
    count           integer     not null,
    -- Which of the rule's actions, from 0.
    action          smallint    not null default 0,
    -- The most urgent of its items, 0 is critical; and the most severe, 3 is critical.
    urgency         smallint    not null,
    severity        smallint,
    tenant_id       text        not null,
    user_id         text        not null,
    status          text        not null default 'open',
    -- SHA-256 of `batch_key`, which is of any length.
    key_hash        bytea       not null,
    -- What the rule gathers by; may be a person's data.
    batch_key       text        not null,
    -- How it is told: the rule's action as it was when the digest opened.
    telling         jsonb       not null,

    constraint digests_pkey primary key (digest_id),
    constraint digests_status_known check (status in ('open', 'closed', 'told', 'cancelled')),
    constraint digests_closed_unless_open check ((status = 'open') = (closed_at is null)),
    constraint digests_size_positive check (size_max > 0)
) with (fillfactor = 70);

create unique index digests_open_unique
    on digests (tenant_id, user_id, rule_id, action, key_hash)
    where status = 'open';
create index digests_user_idx on digests (tenant_id, user_id, digest_id);
-- What still needs its events.
create index digests_waiting_idx on digests (digest_id) where status in ('open', 'closed');

comment on table digests is
    'Events gathered to be told at once. Joined, closed and told by settlements.';

create table digest_items (
    digest_id uuid        not null,
    -- An event; or a delivery that quiet hours held back. UUIDv7, so in the order they came.
    source_id uuid        not null,
    joined_at timestamptz not null,

    constraint digest_items_pkey primary key (digest_id, source_id)
);

comment on table digest_items is 'What a digest tells, in order. Written with the join.';

-- The durable in-app feed: one gapless sequence per user.
create table inbox_heads (
    tenant_id text   not null,
    user_id   text   not null,
    -- The last number given out. Its row lock makes commit order equal seq order.
    seq       bigint not null default 0,
    unread    bigint not null default 0,
    -- Everything up to here is read: an acknowledgement looks only at what came after.
    read_seq  bigint not null default 0,

    constraint inbox_heads_pkey primary key (tenant_id, user_id),
    constraint inbox_heads_unread_not_negative check (unread >= 0)
) with (fillfactor = 50);

comment on table inbox_heads is 'Per user: the last seq of the feed and how many are unread.';

create table inbox (
    created_at      timestamptz not null default now(),
    read_at         timestamptz,
    archived_at     timestamptz,
    seq             bigint      not null,
    notification_id uuid        not null,
    delivery_id     uuid        not null,
    tenant_id       text        not null,
    user_id         text        not null,

    constraint inbox_pkey primary key (tenant_id, user_id, seq)
) with (fillfactor = 85);

comment on table inbox is
    'What a user has in the feed, by seq. The content is in deliveries.message.';

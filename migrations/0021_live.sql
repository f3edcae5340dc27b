-- Reading travels between nodes: a feed counts its marks, and what became read says with which.
alter table inbox_heads
    -- Raised by every change of entries by their user, so that a node sees what another changed.
    add column marks   bigint not null default 0,
    -- The last of these that was more than reading: unread again, archived, or removed.
    add column altered bigint not null default 0;

alter table inbox
    -- The head's `marks` with which this entry became read.
    add column marked bigint;

-- One-time admissions to the live feed. A crash may forget them: their holders ask again.
create unlogged table live_tickets (
    -- SHA-256 of the ticket; the ticket itself is only its holder's.
    hash           bytea       not null,
    tenant_id      text        not null,
    user_id        text        not null,
    -- Until when it may be used.
    expires_at     timestamptz not null,
    -- When the credential ends that it was given for, and with it the feed.
    session_ends_at timestamptz,

    constraint live_tickets_pkey primary key (hash),
    constraint live_tickets_hash_length check (octet_length(hash) = 32)
);

create index live_tickets_expires_idx on live_tickets (expires_at);
create index live_tickets_user_idx on live_tickets (tenant_id, user_id);

comment on table live_tickets is 'One-time tickets to the live feed, used once.';

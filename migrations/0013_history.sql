-- What users did about their feed, and how many deliveries came to what.

alter table inbox add column seen_at timestamptz;

comment on column inbox.seen_at is
    'When it was shown. What is archived was read, and what was read was seen.';

-- A tenant's list of all its users goes by this index: the primary key would lead through the
-- rows of every other tenant.
create index notifications_tenant_idx on notifications (tenant_id, id);

create table stats (
    -- The minute that the deliveries were planned in; the hour, once folded.
    bucket    timestamptz not null,
    count     bigint      not null,
    -- Several settlements count at once, each in the slot of its session; -1 once folded.
    slot      smallint    not null,
    tenant_id text        not null,
    -- Empty where notifications are counted.
    channel   text        not null,
    priority  text        not null,
    -- `planned`, or where a delivery of that minute has come to since.
    status    text        not null,

    constraint stats_pkey primary key (tenant_id, bucket, channel, priority, status, slot)
) with (
    -- The rows of the running minute are updated by every settlement: they are to stay on the page.
    fillfactor = 50,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_threshold = 5000
);

-- What is to be folded, and what is to be removed one day.
create index stats_unfolded_idx on stats (bucket) where slot >= 0;
create index stats_folded_idx on stats (bucket) where slot < 0;

comment on table stats is
    'Counts of deliveries by minute, later hour. Written in the transaction of what they count.';

-- Replays: dead letters that an operator lets run again, as a batch that goes on whoever dies.
--
-- How far it has come is written in the transaction that moves the dead letters, under the lock of
-- the replay's row: whoever runs it next goes on from there and repeats nothing.
create table replays (
    replay_id         uuid        primary key,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    -- When it came to a state other than `running`.
    finished_at       timestamptz,
    -- What died later is not meant: a replayed job that dies again is not replayed for ever.
    died_before       timestamptz not null,
    -- The last dead letter that was looked at. Null at the beginning.
    cursor_died_at    timestamptz,
    cursor_job_id     uuid,
    -- The next batch is not taken before this moment: the rate cap. Null when there is none.
    due_at            timestamptz,
    -- How many dead letters matched when it was asked for.
    matched           bigint      not null,
    -- What became of those looked at, by the words of `replay_items.result`.
    replayed          bigint      not null default 0,
    skipped_delivered bigint      not null default 0,
    skipped_cancelled bigint      not null default 0,
    skipped_expired   bigint      not null default 0,
    skipped_gone      bigint      not null default 0,
    skipped_conflict  bigint      not null default 0,
    -- At most so many replayed in any second.
    rate              integer,
    include_expired   boolean     not null default false,
    -- Whose dead letters are meant; null means everybody's.
    tenant_id         text,
    -- Who asked for it.
    actor             text        not null,
    state             text        not null default 'running',
    -- {ids?, queue?, kind?, error?, since?, until?}, as it was asked for.
    filter            jsonb       not null,

    constraint replays_rate_positive check (rate > 0),
    constraint replays_state_known check (state in ('running', 'done', 'cancelled', 'failed')),
    constraint replays_finished_unless_running
        check ((state = 'running') = (finished_at is null)),
    constraint replays_cursor_whole check ((cursor_died_at is null) = (cursor_job_id is null))
);

create index replays_tenant_idx on replays (coalesce(tenant_id, 'default'), replay_id);

comment on table replays is
    'Dead letters let run again by an operator: what was asked for, and how far it has come.';

create table replay_items (
    replay_id uuid        not null,
    job_id    uuid        not null,
    at        timestamptz not null,
    result    text        not null,

    constraint replay_items_pkey primary key (replay_id, job_id),
    constraint replay_items_result_known
        check (result in ('replayed', 'skipped_delivered', 'skipped_cancelled', 'skipped_expired',
                          'skipped_gone', 'skipped_conflict'))
);

comment on table replay_items is
    'What a replay did with each dead letter. Written with it, never changed.';

-- A replay of one queue reads that queue's dead letters only, oldest first.
create index dead_letters_queue_idx on queue.dead_letters (queue, died_at, job_id);

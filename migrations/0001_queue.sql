-- The queue: open jobs, dead letters, the processes that work, and the switches of each queue.
--
-- It has its own schema: its churn, grants and vacuum settings must not leak into the
-- notification tables. No foreign keys and no triggers: the settler is the integrity.
create schema queue;

-- A moment as JSON has it outside: UTC, with `Z`.
create function queue.moment(at timestamptz) returns text
    language sql stable parallel safe
    return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

create type queue.job_state as enum ('available', 'running');

create table queue.jobs (
    -- UUIDv7, made by whoever enqueues, so that a row elsewhere can name its job beforehand.
    job_id       uuid            not null,
    -- Not before this moment. A job is claimable once it has come; nothing promotes it.
    run_at       timestamptz     not null default now(),
    enqueued_at  timestamptz     not null default now(),
    -- The process boot that runs it. With `attempt` it is the fence.
    epoch        uuid,
    -- When the running attempt was claimed.
    claimed_at   timestamptz,
    -- 0 critical, 1 high, 2 normal, 3 low. Classes share by weight; none starves.
    priority     smallint        not null default 2,
    -- hash(tenant, channel, destination) % 32. Lanes take turns.
    lane         smallint        not null default 0,
    -- Claims so far. Only ever rises, for it is the fence: a snooze or a takeover leaves it.
    attempt      smallint        not null default 0,
    -- Attempts that failed and were charged. At `max_attempts` the job is buried.
    failures     smallint        not null default 0,
    max_attempts smallint        not null default 8,
    -- Takeovers from dead workers. At 2 the job runs apart, in a small group; from 3 alone; at 5
    -- it is buried.
    crashes      smallint        not null default 0,
    state        queue.job_state not null default 'available',
    queue        text            not null,
    -- Names the worker. Written once, never updated: old rows outlive the code.
    kind         text            not null,
    -- At most one open job per (kind, unique_key). Null for most jobs.
    unique_key   text,
    -- Ids, not content.
    payload      jsonb           not null,
    -- [{attempt, at, error}] of failed attempts, oldest first. Null until one fails.
    errors       jsonb,

    constraint jobs_pkey primary key (job_id),
    constraint jobs_owned_iff_running check ((state = 'running') = (epoch is not null)),
    constraint jobs_priority_known check (priority between 0 and 3),
    constraint jobs_lane_in_range check (lane between 0 and 31)
) with (
    -- Every job is updated once and deleted once: vacuum early and without pause.
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

-- The claim and the look-ahead read only this index. `job_id` is left out on purpose: jobs
-- enqueued together share a key, and Postgres stores equal keys as one posting list.
create index jobs_available_idx on queue.jobs (queue, priority, lane, run_at)
    where state = 'available' and crashes < 2;

-- Jobs that saw two workers die. Nearly always empty.
create index jobs_suspect_idx on queue.jobs (queue, run_at)
    where state = 'available' and crashes >= 2;

-- Takeover and inspection: what a boot holds.
create index jobs_running_idx on queue.jobs (epoch) where state = 'running';

create unique index jobs_unique_idx on queue.jobs (kind, unique_key) where unique_key is not null;

comment on table queue.jobs is
    'One row per open job. Success and cancel delete the row. Written only by the queue crate.';

create table queue.dead_letters (
    job_id       uuid        primary key,
    enqueued_at  timestamptz not null,
    died_at      timestamptz not null default now(),
    priority     smallint    not null,
    lane         smallint    not null,
    attempt      smallint    not null,
    failures     smallint    not null,
    max_attempts smallint    not null,
    crashes      smallint    not null,
    queue        text        not null,
    kind         text        not null,
    unique_key   text,
    -- A stable word: attempts_exhausted, permanent, crash_loop, bad_payload, refused, …
    reason       text        not null,
    payload      jsonb       not null,
    -- [{attempt, at, error}], oldest first; the last one is what killed it.
    errors       jsonb       not null
);

create index dead_letters_died_idx on queue.dead_letters (died_at, job_id);

comment on table queue.dead_letters is
    'Jobs that will not run again unless an operator replays them, with every error.';

create table queue.workers (
    -- One boot of one process. A new one starts whenever its lock session is lost.
    epoch        uuid        primary key,
    started_at   timestamptz not null default now(),
    -- Written every 500 ms. Judged by observers by its change, not by clock comparison.
    heartbeat_at timestamptz not null default now(),
    -- Beats so far; what observers compare.
    beats        bigint      not null default 0,
    -- Whether the process holds the advisory lock of its epoch; false behind a pooler.
    locked       boolean     not null,
    pid          integer     not null,
    node         text        not null,
    queues       text[]      not null
);

comment on table queue.workers is
    'One row per live process boot. Removed on a clean stop or when a peer takes over.';

create table queue.queues (
    queue     text primary key,
    paused_at timestamptz
);

comment on table queue.queues is
    'The switch an operator sets at run time. A queue without a row runs.';

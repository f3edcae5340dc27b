-- The operator's console: who is signed in, and what each minute looked like.

create table console_sessions (
    created_at   timestamptz not null,
    -- Never beyond the end of the credential that it was opened with.
    expires_at   timestamptz not null,
    -- Written about once a minute, so it may be a minute behind.
    last_seen_at timestamptz not null,
    -- SHA-256 of the cookie: it has 256 random bits, so a slow hash would protect nothing.
    session_hash bytea       primary key,
    -- The key that it was opened with. A key that is revoked ends it.
    api_key_id   uuid        references api_keys,
    tenant_id    text        not null,
    -- The user whose token it was opened with.
    user_id      text,

    constraint console_sessions_one_holder check ((api_key_id is null) <> (user_id is null))
);

create index console_sessions_expires_idx on console_sessions (expires_at);
create index console_sessions_user_idx on console_sessions (tenant_id, user_id)
    where user_id is not null;

comment on table console_sessions is
    'Operators signed in to the console. The cookie itself is never stored.';

create table pulse (
    minute            timestamptz primary key,
    -- When the queues were last looked at.
    looked_at         timestamptz,
    -- Open jobs, due or running, when most there were within the minute.
    waiting           bigint,
    -- How long the oldest due job had waited, when that was longest.
    oldest_seconds    float8,
    -- Deliveries that went out, by the bounds of `notification_delivery_latency_seconds`; the last
    -- place is for those beyond all bounds.
    went_out          bigint[] not null default '{}'
) with (fillfactor = 70);

comment on table pulse is
    'One row per minute for the charts of the console. Every process adds what it did.';

create table pulse_counts (
    minute timestamptz not null,
    -- What is counted: `failures` or `finished`.
    what   text        not null,
    -- `<channel>/<outcome>` of attempts that did not go out; the queue of jobs that are done.
    label  text        not null,
    count  bigint      not null,

    constraint pulse_counts_pkey primary key (minute, what, label)
) with (fillfactor = 70);

comment on table pulse_counts is
    'What all processes together did in a minute, by label. Like `pulse`, kept for a day.';

-- The audit, looked through by who, what and to what.
create index audit_actor_idx on audit (tenant_id, actor, audit_id);
create index audit_action_idx on audit (tenant_id, action, audit_id);
create index audit_subject_idx on audit (tenant_id, subject, audit_id);

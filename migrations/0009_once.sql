-- What was answered to a request that may be repeated, and who changed what.

create table idempotency_keys (
    tenant_id   text        not null,
    -- SHA-256 over who asked, the method, the path and the Idempotency-Key.
    request     bytea       not null,
    -- SHA-256 over the query and the body: another one is refused.
    fingerprint bytea       not null,
    expires_at  timestamptz not null,
    status      smallint    not null,
    -- The body of the answer as it was sent.
    answer      bytea       not null,

    constraint idempotency_keys_pkey primary key (tenant_id, request)
);

create index idempotency_keys_expires_idx on idempotency_keys (expires_at);

comment on table idempotency_keys is
    'First answers by Idempotency-Key, written in the transaction of the work (24 hours).';

create table audit (
    -- UUIDv7, so in order of time.
    audit_id  uuid        primary key,
    at        timestamptz not null,
    tenant_id text        not null,
    -- key:<prefix>, user:<id> or cli:<user of the system>.
    actor     text        not null,
    -- What was done, such as queue.paused or api_key.created.
    action    text        not null,
    -- To what: an id or a name.
    subject   text        not null,
    detail    jsonb
);

create index audit_tenant_idx on audit (tenant_id, audit_id);

comment on table audit is
    'What operators and admins changed. Append-only, written in the transaction of the change.';

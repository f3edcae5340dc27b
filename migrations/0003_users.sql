-- People who can be notified, and where they are reached.
create table users (
    tenant_id  text        not null,
    user_id    text        not null,
    -- {email?, phone?, slack?, webhook?, push?: [...], web_push?: [...]}
    addresses  jsonb       not null default '{}',
    locale     text,
    timezone   text,
    roles      text[]      not null default '{}',
    groups     text[]      not null default '{}',
    data       jsonb       not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint users_pkey primary key (tenant_id, user_id)
);

comment on table users is
    'Recipients known beforehand. A user without a row can still be notified in-app.';

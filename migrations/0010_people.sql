-- What people want, the topics they are members of, and what must be forgotten with them.

-- Recipients by role and by group, for rules that name one. GIN, because a row holds several of
-- each; a role names few of many users, and no other index begins with it. Users are written
-- rarely, so its cost does not matter.
create index users_roles_idx on users using gin (roles);
create index users_groups_idx on users using gin (groups);

create table preferences (
    tenant_id  text        not null,
    user_id    text        not null,
    -- As `domain::Preferences` prints it.
    body       jsonb       not null,
    -- Rises by one with every change.
    version    bigint      not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint preferences_pkey primary key (tenant_id, user_id)
);

comment on table preferences is
    'What a user wants to be told, and how. A user without a row wants everything.';

create table topics (
    topic_id    uuid        not null,
    tenant_id   text        not null,
    name        text        not null,
    description text,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),

    constraint topics_pkey primary key (topic_id),
    constraint topics_name_unique unique (tenant_id, name)
);

-- Pages of a tenant's topics, newest first.
create index topics_tenant_idx on topics (tenant_id, topic_id);

comment on table topics is 'A named set of users that can be notified at once.';

create table topic_members (
    topic_id   uuid        not null,
    -- Of the topic; repeated so that a user's memberships are found by one index.
    tenant_id  text        not null,
    -- Need not have a row in `users`.
    user_id    text        not null,
    created_at timestamptz not null default now(),

    constraint topic_members_pkey primary key (topic_id, user_id),
    constraint topic_members_topic_fkey foreign key (topic_id) references topics on delete cascade
);

-- What a user is a member of: for the export and the erasure.
create index topic_members_user_idx on topic_members (tenant_id, user_id);

comment on table topic_members is 'Who is notified when a topic is.';

-- Whom a kept answer is about, where it repeats what is known of them: it goes with them.
alter table idempotency_keys add column user_id text;
create index idempotency_keys_user_idx on idempotency_keys (tenant_id, user_id)
    where user_id is not null;

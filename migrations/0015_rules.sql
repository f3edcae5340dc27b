-- Rules: what operators have said about who hears of which events, and how.
create table rules (
    rule_id    uuid        not null,
    tenant_id  text        not null,
    name       text        not null,
    enabled    boolean     not null,
    -- From 1; rises with every change.
    version    bigint      not null,
    -- What `revisions` was raised to by its last change: processes load the body of what came
    -- after theirs.
    revision   bigint      not null,
    -- Who keeps it: `rules apply --prune` removes what came from files and is not in them any more.
    source     text        not null,
    -- The rule as the API takes it.
    body       jsonb       not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint rules_pkey primary key (rule_id),
    constraint rules_name_unique unique (tenant_id, name),
    constraint rules_source_known check (source in ('api', 'file')),
    constraint rules_version_counts check (version >= 1)
);

-- Pages of a tenant's rules, newest first.
create index rules_tenant_idx on rules (tenant_id, rule_id);

comment on table rules is 'Who hears of which events, and how; every process keeps a copy.';

-- Templates that are written while Postrider runs, and every version of each.
--
-- A row of `templates` stays when its template is removed: versions go on rising if the name is
-- used again, so that a notification which pinned one never finds another text under its number.
create table templates (
    template_id uuid        not null,
    tenant_id   text        not null,
    -- As written. A template keeps its name.
    name        text        not null,
    -- What finds it: lower case, `_` as `.`. In the order of bytes, as the built-in ones are.
    key         text        collate "C" not null,
    description text,
    category    text,
    -- The channels and the languages that it has a text for, beside the default one.
    channels    text[]      not null,
    locales     text[]      not null,
    tags        text[]      not null,
    enabled     boolean     not null,
    -- The current one, from 1.
    version     integer     not null,
    -- What `revisions` was raised to by its last change: processes load what came after theirs.
    revision    bigint      not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    deleted_at  timestamptz,

    constraint templates_pkey primary key (template_id),
    constraint templates_key_unique unique (tenant_id, key)
);

create index templates_revision_idx on templates (revision);

-- Few are removed; the pruning of their versions looks for them.
create index templates_deleted_idx on templates (deleted_at) where deleted_at is not null;

comment on table templates is
    'Templates written at run time. One of the same key stands before a built-in one.';

create table template_versions (
    template_id uuid        not null,
    version     integer     not null,
    -- The template as the API takes it.
    body        jsonb       not null,
    created_at  timestamptz not null default now(),
    -- Who wrote it, as in `audit`.
    actor       text        not null,

    constraint template_versions_pkey primary key (template_id, version),
    constraint template_versions_template_fkey foreign key (template_id) references templates
);

-- What is old enough to be pruned.
create index template_versions_created_idx on template_versions (created_at);

comment on table template_versions is
    'Every version of each template. Written once and never changed.';

-- Tenants and the keys their services use.
create table tenants (
    tenant_id  text        primary key,
    name       text        not null,
    created_at timestamptz not null default now()
);

comment on table tenants is 'Who owns what. Every other row names one.';

insert into tenants (tenant_id, name) values ('default', 'Default tenant');

create table api_keys (
    api_key_id uuid        primary key,
    tenant_id  text        not null references tenants,
    -- SHA-256 of the key: it has 256 random bits, so a slow hash would protect nothing.
    hash       bytea       not null,
    -- The first characters, to tell keys apart in a list.
    prefix     text        not null,
    name       text        not null default '',
    roles      text[]      not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,

    constraint api_keys_hash_unique unique (hash),
    constraint api_keys_roles_known
        check (roles <@ array['send', 'read', 'admin'] and roles <> '{}')
);

comment on table api_keys is
    'Credentials of services. The key itself is shown once and never stored.';

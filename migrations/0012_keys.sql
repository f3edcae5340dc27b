-- API keys that end, that are replaced, and that say when they were last used.
alter table api_keys
    -- From then on the key is refused; null is never.
    add column expires_at   timestamptz,
    -- Written about once a minute, so it may be a minute behind.
    add column last_used_at timestamptz,
    -- The key that took over when this one was rotated.
    add column replaced_by  uuid references api_keys;

create index api_keys_tenant_idx on api_keys (tenant_id, api_key_id);

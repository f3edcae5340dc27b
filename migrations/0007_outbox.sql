-- What a provider said, and what nobody sent.

alter table attempts add column response text;

comment on column attempts.response is
    'What the provider answered when it accepted: capped, without addresses.';

create table outbox (
    delivery_id uuid        not null,
    created_at  timestamptz not null,
    tenant_id   text        not null,
    user_id     text        not null,
    channel     text        not null,

    constraint outbox_pkey primary key (delivery_id)
) partition by range (delivery_id);

create index outbox_tenant_idx on outbox (tenant_id, delivery_id);

comment on table outbox is
    'Deliveries that the outbox took in place of a provider. The message is in deliveries.message.';

-- Notifications, their deliveries, the attempts of each, and why it went as it went.
--
-- Updates of `status` are to stay on the page (HOT): no status column is indexed and pages keep
-- room. Partitions are made by `store::partitions`, which repeats the fill factors.
create table notifications (
    id                 uuid        not null,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    send_at            timestamptz,
    expires_at         timestamptz,
    -- events.id; null for a direct send.
    event_id           uuid,
    -- How many deliveries it was planned into; 0 until routed.
    delivery_count     smallint    not null default 0,
    is_test            boolean     not null default false,
    bypass_quiet_hours boolean     not null default false,
    tenant_id          text        not null,
    user_id            text        not null,
    -- The event type; for a direct send the template name or `notification`.
    type               text        not null,
    category           text,
    priority           text        not null default 'normal',
    status             text        not null default 'pending',
    template           text,
    locale             text,
    subject            text,
    content            text,
    -- What a direct send asked for; null lets routing choose.
    channels           text[],
    -- The template's variables of a direct send; an event's are its payload.
    data               jsonb,

    constraint notifications_pkey primary key (id),
    constraint notifications_priority_known
        check (priority in ('critical', 'high', 'normal', 'low')),
    constraint notifications_status_known
        check (status in ('pending', 'queued', 'sending', 'sent', 'delivered', 'failed',
                          'retrying', 'cancelled', 'suppressed', 'expired'))
) partition by range (id);

create index notifications_user_idx on notifications (tenant_id, user_id, id);

comment on table notifications is 'The decision to tell one user something.';

create table deliveries (
    id              uuid        not null,
    notification_id uuid        not null,
    -- The open job that works on it, if any.
    job_id          uuid,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    -- In-app only: its number in the user's feed.
    seq             bigint,
    -- Provider attempts so far.
    attempts        smallint    not null default 0,
    -- Order among the notification's deliveries.
    position        smallint    not null default 0,
    tenant_id       text        not null,
    user_id         text        not null,
    channel         text        not null,
    status          text        not null default 'queued',
    provider        text,
    -- Null in-app, where the user is the address.
    address         text,
    template        text,
    locale          text,
    error           text,
    -- What is handed to the provider, once rendered.
    message         jsonb,

    constraint deliveries_pkey primary key (id),
    constraint deliveries_channel_known
        check (channel in ('email', 'sms', 'voice', 'push', 'web_push', 'slack', 'webhook',
                           'in_app', 'pagerduty')),
    constraint deliveries_status_known
        check (status in ('pending', 'queued', 'sending', 'sent', 'delivered', 'failed',
                          'retrying', 'cancelled', 'suppressed', 'expired'))
) partition by range (id);

create index deliveries_notification_idx on deliveries (notification_id);

comment on table deliveries is 'One notification, to one user, over one channel.';

create table attempts (
    delivery_id         uuid        not null,
    started_at          timestamptz not null,
    finished_at         timestamptz not null,
    number              smallint    not null,
    provider            text        not null,
    status              text        not null,
    error               text,
    provider_message_id text,

    constraint attempts_pkey primary key (delivery_id, number),
    constraint attempts_status_known
        check (status in ('sent', 'delivered', 'failed', 'bounced', 'rejected', 'unknown'))
) partition by range (delivery_id);

comment on table attempts is 'What a provider answered, once per try. Written with the outcome.';

create table traces (
    -- The notification; or the event, when it led to none.
    subject_id uuid        not null,
    at         timestamptz not null,
    -- [{step, decision, reason, detail}] in order. Written once and read rarely, so kept as it was
    -- written: jsonb takes a quarter more room, and time to take apart.
    steps      json        not null
) partition by range (subject_id);

create index traces_subject_idx on traces (subject_id);

comment on table traces is 'Every decision on the way, insert-only, one row per settled step.';

//! Deliveries and their attempts: one notification, to one user, over one channel.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    AttemptStatus, Channel, DeliveryId, Message, NotificationId, Status, TenantId, UserId,
};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::StoreError;
use crate::effect::{NewAttempt, NewDelivery};
use crate::error::{during, unknown_word};
use crate::json::Document;
use crate::partitions::first_id;
use crate::reading::Reading;

/// A delivery as stored, with what its user did about it in the feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    /// The open job that works on it. While that job runs, the status shown is `sending`.
    pub job_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub channel: Channel,
    pub status: Status,
    /// Provider attempts so far.
    pub attempts: u16,
    pub provider: Option<String>,
    /// `None` in-app, where the user is the address.
    pub address: Option<String>,
    pub error: Option<String>,
    /// What it was rendered by; `None` for a send that brings its own words.
    pub template: Option<String>,
    /// The language it was rendered in.
    pub locale: Option<String>,
    /// `None` until rendered.
    pub message: Option<Message>,
    /// In-app only, once arrived: its number in the feed.
    pub seq: Option<i64>,
    /// What its user did about it there.
    pub reading: Reading,
}

/// What a provider answered, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub delivery_id: DeliveryId,
    /// From 1, across providers and jobs.
    pub number: u16,
    pub provider: String,
    pub status: AttemptStatus,
    pub error: Option<String>,
    pub provider_message_id: Option<String>,
    /// What the provider answered when it accepted.
    pub response: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
}

/// Lists all deliveries of some notifications, by notification and position.
pub async fn list_deliveries(
    connection: &mut PgConnection,
    notification_ids: &[NotificationId],
) -> Result<Vec<Delivery>, StoreError> {
    let since = earliest_delivery(notification_ids);
    let ids: Vec<_> = notification_ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.job_id, delivery.created_at,
               delivery.updated_at, delivery.channel, delivery.status, delivery.attempts,
               delivery.provider, delivery.address, delivery.error, delivery.template,
               delivery.locale, delivery.message as "message: Document<Message>", delivery.seq,
               inbox.seen_at as "seen_at?", inbox.read_at as "read_at?",
               inbox.archived_at as "archived_at?"
        from deliveries as delivery
        left join inbox
            on inbox.tenant_id = delivery.tenant_id
            and inbox.user_id = delivery.user_id
            and inbox.seq = delivery.seq
        where delivery.notification_id = any($1::uuid[])
          and delivery.id >= $2
        order by delivery.notification_id, delivery.position
        "#,
        &ids,
        since,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list deliveries"))?;

    rows.into_iter()
        .map(|row| {
            let unknown = |word: &str| unknown_word("deliveries", word);
            Ok(Delivery {
                id: row.id.into(),
                notification_id: row.notification_id.into(),
                job_id: row.job_id,
                created_at: row.created_at,
                updated_at: row.updated_at,
                channel: Channel::parse(&row.channel).ok_or_else(|| unknown(&row.channel))?,
                status: Status::parse(&row.status).ok_or_else(|| unknown(&row.status))?,
                attempts: row.attempts as u16,
                provider: row.provider,
                address: row.address,
                error: row.error,
                template: row.template,
                locale: row.locale,
                message: row.message.map(|message| message.0),
                seq: row.seq,
                reading: Reading {
                    seen_at: row.seen_at,
                    read_at: row.read_at,
                    archived_at: row.archived_at,
                },
            })
        })
        .collect()
}

/// How one delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub notification_id: NotificationId,
    pub channel: Channel,
    pub status: Status,
}

/// Lists how the deliveries of notifications stand, without what they say.
pub async fn list_standings(
    connection: &mut PgConnection,
    notification_ids: &[NotificationId],
) -> Result<Vec<Standing>, StoreError> {
    let since = earliest_delivery(notification_ids);
    let ids: Vec<_> = notification_ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification_id, channel, status
        from deliveries
        where notification_id = any($1::uuid[]) and id >= $2
        order by notification_id, position, id
        "#,
        &ids,
        since,
    )
    .fetch_all(connection)
    .await
    .map_err(during("see how deliveries stand"))?;
    let unknown = |word: &str| unknown_word("deliveries", word);
    let standings = rows.into_iter().map(|row| {
        Ok(Standing {
            notification_id: row.notification_id.into(),
            channel: Channel::parse(&row.channel).ok_or_else(|| unknown(&row.channel))?,
            status: Status::parse(&row.status).ok_or_else(|| unknown(&row.status))?,
        })
    });
    standings.collect()
}

/// Finds what a tenant's delivery says, once it is rendered.
pub async fn find_message(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    id: DeliveryId,
) -> Result<Option<Message>, StoreError> {
    let message = sqlx::query_scalar!(
        r#"
        select message as "message: Document<Message>"
        from deliveries
        where id = $2 and tenant_id = $1
        "#,
        tenant_id.as_str(),
        id.as_uuid(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read a message"))?;
    Ok(message.flatten().map(|message| message.0))
}

/// Lists all attempts of some deliveries, in their order.
pub async fn list_attempts(
    connection: &mut PgConnection,
    delivery_ids: &[DeliveryId],
) -> Result<Vec<Attempt>, StoreError> {
    let ids: Vec<_> = delivery_ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery_id, number, provider, status, error, provider_message_id, response,
               started_at, finished_at
        from attempts
        where delivery_id = any($1::uuid[])
        order by delivery_id, number
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list attempts"))?;

    rows.into_iter()
        .map(|row| {
            Ok(Attempt {
                delivery_id: row.delivery_id.into(),
                number: row.number as u16,
                provider: row.provider,
                status: AttemptStatus::parse(&row.status)
                    .ok_or_else(|| unknown_word("attempts", &row.status))?,
                error: row.error,
                provider_message_id: row.provider_message_id,
                response: row.response,
                started_at: row.started_at,
                finished_at: row.finished_at,
            })
        })
        .collect()
}

/// Attempts that [`last_failures`] looks at: a few hundredths of a second.
const FAILURES_LOOKED_AT: i64 = 2000;

/// What went wrong last with one provider of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct LastFailure {
    pub channel: Channel,
    pub provider: String,
    pub status: AttemptStatus,
    pub error: Option<String>,
    pub at: DateTime<Utc>,
}

/// The last failure of each channel and provider among the newest attempts for deliveries planned
/// since `since`; `None` looks at every tenant's. Looks at a bounded number of them.
pub async fn last_failures(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    since: DateTime<Utc>,
) -> Result<Vec<LastFailure>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with newest as materialized (
            select delivery_id, provider, status, error, finished_at
            from attempts
            where delivery_id >= $1
            order by delivery_id desc
            limit $2
        )
        select distinct on (delivery.channel, newest.provider)
               delivery.channel, newest.provider, newest.status, newest.error, newest.finished_at
        from newest
        join deliveries as delivery on delivery.id = newest.delivery_id
        where newest.status not in ('sent', 'delivered')
          and ($3::text is null or delivery.tenant_id = $3)
        order by delivery.channel, newest.provider, newest.finished_at desc
        "#,
        first_id(since),
        FAILURES_LOOKED_AT,
        tenant_id.map(TenantId::as_str),
    )
    .fetch_all(connection)
    .await
    .map_err(during("see what failed last"))?;
    rows.into_iter()
        .map(|row| {
            Ok(LastFailure {
                channel: Channel::parse(&row.channel)
                    .ok_or_else(|| unknown_word("deliveries", &row.channel))?,
                provider: row.provider,
                status: AttemptStatus::parse(&row.status)
                    .ok_or_else(|| unknown_word("attempts", &row.status))?,
                error: row.error,
                at: row.finished_at,
            })
        })
        .collect()
}

/// How many attempts were accepted, of all there are. Reads them all: for benchmarks.
pub async fn accepted_total(connection: &mut PgConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from attempts where status in ('sent', 'delivered')"#
    )
    .fetch_one(connection)
    .await
    .map_err(during("count what was accepted"))
}

/// The smallest id that a delivery of these notifications can have.
///
/// A delivery is planned after its notification was accepted, by a clock at most a day behind. The
/// bound keeps a look-up by notification out of the partitions of earlier months.
pub(crate) fn earliest_delivery(notification_ids: &[NotificationId]) -> Uuid {
    let earliest = notification_ids
        .iter()
        .map(|id| id.as_uuid())
        .min()
        .unwrap_or_default();
    let millis = (earliest.as_u128() >> 80) as i64;
    let made_at = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    first_id(made_at - TimeDelta::days(1))
}

/// How far back a user's notifications are looked at for what still waits: longer than any quiet
/// hours and retries together.
const WAITING_DAYS: i64 = 3;

/// Notifications of one user that are looked at.
const WAITING_MAX: i64 = 1000;

/// The jobs that work on a user's open deliveries, of the latest notifications.
pub async fn list_waiting_jobs(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        r#"
        select delivery.job_id as "job_id!"
        from (
            select id
            from notifications
            where tenant_id = $1
              and user_id = $2
              and id >= $3
              and status in ('pending', 'queued', 'retrying')
            order by id desc
            limit $4
        ) as open
        join deliveries as delivery on delivery.notification_id = open.id
        where delivery.id >= $3
          and delivery.status in ('pending', 'queued', 'retrying')
          and delivery.job_id is not null
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        first_id(now - TimeDelta::days(WAITING_DAYS)),
        WAITING_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the waiting jobs of a user"))
}

/// Which of these deliveries are a tenant's.
pub async fn list_own_deliveries(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    ids: &[DeliveryId],
) -> Result<Vec<DeliveryId>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let own = sqlx::query_scalar!(
        "select delivery.id
         from unnest($1::uuid[]) as wanted (id)
         join deliveries as delivery on delivery.id = wanted.id
         where delivery.tenant_id = $2",
        &ids,
        tenant_id.as_str(),
    )
    .fetch_all(connection)
    .await
    .map_err(during("tell the deliveries of a tenant"))?;
    Ok(own.into_iter().map(DeliveryId::from).collect())
}

/// A delivery to insert, as it stands by the end of its settlement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedRow<'a> {
    pub(crate) row: &'a NewDelivery,
    pub(crate) status: Status,
    pub(crate) job_id: Option<Uuid>,
    pub(crate) attempts: u16,
    pub(crate) seq: Option<i64>,
    pub(crate) provider: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) message: Option<&'a Message>,
    pub(crate) template: Option<&'a str>,
    pub(crate) locale: Option<&'a str>,
}

/// Inserts deliveries in one statement.
pub(crate) async fn insert_rows(
    connection: &mut PgConnection,
    planned: &[PlannedRow<'_>],
) -> Result<(), sqlx::Error> {
    if planned.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = planned.iter().map(|it| it.row).collect();
    let columns = Columns::of(&rows);
    let updated: Vec<_> = planned.iter().map(|it| it.updated_at).collect();
    let job_ids: Vec<_> = planned.iter().map(|it| it.job_id).collect();
    let statuses: Vec<_> = planned.iter().map(|it| it.status.as_str()).collect();
    let errors: Vec<_> = planned.iter().map(|it| it.error).collect();
    let attempts: Vec<_> = planned.iter().map(|it| it.attempts as i16).collect();
    let seqs: Vec<_> = planned.iter().map(|it| it.seq).collect();
    let providers: Vec<_> = planned.iter().map(|it| it.provider).collect();
    let messages: Vec<_> = planned.iter().map(|it| it.message.map(Json)).collect();
    let templates: Vec<_> = planned.iter().map(|it| it.template).collect();
    let locales: Vec<_> = planned.iter().map(|it| it.locale).collect();
    sqlx::query!(
        r#"
        insert into deliveries (
            id, notification_id, job_id, created_at, updated_at, position, attempts, seq,
            tenant_id, user_id, channel, status, provider, address, error, template, locale,
            message
        )
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::timestamptz[],
            $6::smallint[], $7::smallint[], $8::bigint[], $9::text[], $10::text[], $11::text[],
            $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::jsonb[]
        )
        "#,
        &columns.ids,
        &columns.notifications,
        &job_ids as &[Option<Uuid>],
        &columns.created,
        &updated,
        &columns.positions,
        &attempts,
        &seqs as &[Option<i64>],
        &columns.tenants as &[&str],
        &columns.users as &[&str],
        &columns.channels as &[&str],
        &statuses as &[&str],
        &providers as &[Option<&str>],
        &columns.addresses as &[Option<&str>],
        &errors as &[Option<&str>],
        &templates as &[Option<&str>],
        &locales as &[Option<&str>],
        &messages as &[Option<Json<&Message>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Inserts those deliveries that are not there yet, in one statement, and answers which. Apart from
/// [`insert_rows`], because looking for what is there costs every insert.
pub(crate) async fn insert_new_rows(
    connection: &mut PgConnection,
    rows: &[&NewDelivery],
) -> Result<HashSet<DeliveryId>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    let columns = Columns::of(&rows);
    let inserted = sqlx::query_scalar!(
        r#"
        insert into deliveries (
            id, notification_id, job_id, created_at, updated_at, position, tenant_id, user_id,
            channel, status, address, error
        )
        select id, notification_id, job_id, created_at, created_at, position, tenant_id, user_id,
               channel, status, address, error
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::smallint[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]
        ) as planned (
            id, notification_id, job_id, created_at, position, tenant_id, user_id, channel,
            status, address, error
        )
        on conflict (id) do nothing
        returning id
        "#,
        &columns.ids,
        &columns.notifications,
        &columns.job_ids as &[Option<Uuid>],
        &columns.created,
        &columns.positions,
        &columns.tenants as &[&str],
        &columns.users as &[&str],
        &columns.channels as &[&str],
        &columns.statuses as &[&str],
        &columns.addresses as &[Option<&str>],
        &columns.errors as &[Option<&str>],
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().map(DeliveryId::from).collect())
}

/// New rows, column by column.
struct Columns<'a> {
    ids: Vec<Uuid>,
    notifications: Vec<Uuid>,
    job_ids: Vec<Option<Uuid>>,
    created: Vec<DateTime<Utc>>,
    positions: Vec<i16>,
    tenants: Vec<&'a str>,
    users: Vec<&'a str>,
    channels: Vec<&'static str>,
    statuses: Vec<&'static str>,
    addresses: Vec<Option<&'a str>>,
    errors: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(rows: &[&'a NewDelivery]) -> Self {
        let rows = || rows.iter();
        Self {
            ids: rows().map(|row| row.id.as_uuid()).collect(),
            notifications: rows().map(|row| row.notification_id.as_uuid()).collect(),
            job_ids: rows().map(|row| row.job_id).collect(),
            created: rows().map(|row| row.created_at).collect(),
            positions: rows().map(|row| row.position as i16).collect(),
            tenants: rows().map(|row| row.tenant_id.as_str()).collect(),
            users: rows().map(|row| row.user_id.as_str()).collect(),
            channels: rows().map(|row| row.channel.as_str()).collect(),
            statuses: rows().map(|row| row.status.as_str()).collect(),
            addresses: rows().map(|row| row.address.as_deref()).collect(),
            errors: rows().map(|row| row.error.as_deref()).collect(),
        }
    }
}

/// Inserts attempts in one statement.
pub(crate) async fn insert_attempts(
    connection: &mut PgConnection,
    rows: &[&NewAttempt],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = rows.iter().map(|row| row.delivery_id.as_uuid()).collect();
    let started: Vec<_> = rows.iter().map(|row| row.started_at).collect();
    let finished: Vec<_> = rows.iter().map(|row| row.finished_at).collect();
    let numbers: Vec<_> = rows.iter().map(|row| row.number as i16).collect();
    let providers: Vec<_> = rows.iter().map(|row| row.provider.as_str()).collect();
    let statuses: Vec<_> = rows.iter().map(|row| row.status.as_str()).collect();
    let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref()).collect();
    let messages: Vec<_> = rows
        .iter()
        .map(|row| row.provider_message_id.as_deref())
        .collect();
    let responses: Vec<_> = rows.iter().map(|row| row.response.as_deref()).collect();
    sqlx::query!(
        r#"
        insert into attempts (
            delivery_id, started_at, finished_at, number, provider, status, error,
            provider_message_id, response
        )
        select *
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::smallint[], $5::text[],
            $6::text[], $7::text[], $8::text[], $9::text[]
        )
        "#,
        &ids,
        &started,
        &finished,
        &numbers,
        &providers as &[&str],
        &statuses as &[&str],
        &errors as &[Option<&str>],
        &messages as &[Option<&str>],
        &responses as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

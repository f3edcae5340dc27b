//! Reads what a whole claim of jobs needs, in one statement for each kind.
//!
//! Rows that are gone are left out of the answer; the job that asked for one has nothing to do.
//!
//! Ids are joined rather than compared with `any`: that would look up each of them in every
//! partition, where the join looks only in the one that can have it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    Channel, DeliveryId, DigestId, EventId, Message, NotificationId, Preferences, Priority,
    Severity, Status, TenantId, UserId,
};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::digests::{DigestItems, list_items};
use crate::error::{during, unknown_word};
use crate::json::Document;
pub use crate::understudies::Understudy;
use crate::understudies::list_understudies;

/// What rendering needs to know of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct ToRender {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub status: Status,
    pub priority: Priority,
    pub category: Option<String>,
    /// The job that is to work on it.
    pub job_id: Option<Uuid>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    /// `None` for a plain message.
    pub template: Option<String>,
    /// The version that routing has pinned.
    pub template_version: Option<u32>,
    pub locale: Option<String>,
    pub subject: Option<String>,
    pub content: Option<String>,
    /// Where its provider will find the user; `None` in-app.
    pub address: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// The variables of a direct send.
    pub data: Option<Value>,
    /// The event that led to it, if one did.
    pub event: Option<RenderEvent>,
    pub is_test: bool,
    /// Of what has waited; what the user wanted when it came in has been heeded.
    pub wishes: Option<Wishes>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
    /// What it tells, if it tells a digest.
    pub digest: Option<Arc<DigestItems>>,
}

/// What a template may say of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderEvent {
    pub id: EventId,
    pub event_id: String,
    pub kind: String,
    pub created_at: DateTime<Utc>,
    pub payload: Value,
}

/// What a user wants by now of what has waited. Nobody's who has said nothing, and no test's.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    pub preferences: Preferences,
    /// Of the user's row.
    pub timezone: Option<String>,
    /// Of the event that led to it, if one did.
    pub severity: Option<Severity>,
    pub bypass_quiet_hours: bool,
}

/// What sending needs to know of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct ToDeliver {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub status: Status,
    /// Provider attempts so far.
    pub attempts: u16,
    pub provider: Option<String>,
    pub address: Option<String>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    pub priority: Priority,
    pub category: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub is_test: bool,
    /// Of what has waited.
    pub wishes: Option<Wishes>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
    pub is_rendered: bool,
    /// `None` in-app, where it stays in the row that the feed reads, but for tests; and until
    /// rendered.
    pub message: Option<Message>,
    /// How often the rate limits were changed by then.
    pub limits_revision: i64,
    /// What may stand in for it, should it fail for good.
    pub understudy: Option<Arc<Understudy>>,
}

/// Loads deliveries with their notification and event, for rendering.
///
/// What their users want is read again for sends that waited for their `send_at`, and for what came
/// in until `waited_since`.
pub async fn load_for_render(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
    waited_since: DateTime<Utc>,
) -> Result<Vec<ToRender>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.user_id,
               delivery.channel, delivery.status, delivery.address, delivery.job_id,
               notification.priority,
               notification.category, notification.type as kind, notification.template,
               notification.template_version, notification.locale, notification.subject, notification.content,
               notification.created_at, notification.expires_at,
               notification.data as "data: Document<Value>",
               notification.delivery_count, notification.is_test, notification.digest_id,
               notification.bypass_quiet_hours, wish.body as "body?: Document<Value>",
               wish.timezone, event.severity as "event_severity?",
               event.id as "event_row_id?",
               event.event_id as "event_id?", event.type as "event_kind?",
               event.created_at as "event_created_at?", event.payload as "payload?: Document<Value>"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        left join events as event on event.id = notification.event_id
        left join lateral (
            select said.body, (
                select known.timezone
                from users as known
                where known.tenant_id = said.tenant_id and known.user_id = said.user_id
            ) as timezone
            from preferences as said
            where (notification.send_at is not null or notification.created_at <= $2)
              and not notification.is_test
              and said.tenant_id = delivery.tenant_id
              and said.user_id = delivery.user_id
            limit 1
        ) as wish on true
        "#,
        &ids,
        waited_since,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("load deliveries to render"))?;
    let told: BTreeSet<_> = rows.iter().filter_map(|row| row.digest_id).collect();
    let told: Vec<_> = told.into_iter().map(DigestId::from).collect();
    let mut digests: HashMap<_, _> = HashMap::new();
    if !told.is_empty() {
        let items = list_items(connection, &told).await?;
        digests.extend(items.into_iter().map(|(id, items)| (id, Arc::new(items))));
    }

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
            let wishes = wishes(
                row.body,
                row.timezone,
                row.event_severity.as_deref(),
                row.bypass_quiet_hours,
            )?;
            let event = match (
                row.event_row_id,
                row.event_id,
                row.event_kind,
                row.event_created_at,
            ) {
                (Some(id), Some(event_id), Some(kind), Some(created_at)) => Some(RenderEvent {
                    id: id.into(),
                    event_id,
                    kind,
                    created_at,
                    payload: row.payload.map(|payload| payload.0).unwrap_or_default(),
                }),
                _ => None,
            };
            Ok(ToRender {
                id: row.id.into(),
                notification_id: row.notification_id.into(),
                tenant_id: row.tenant_id.into(),
                user_id: row.user_id.into(),
                channel: words.channel,
                status: words.status,
                priority: words.priority,
                category: row.category,
                job_id: row.job_id,
                kind: row.kind,
                template: row.template,
                template_version: row.template_version.map(|version| version as u32),
                locale: row.locale,
                subject: row.subject,
                content: row.content,
                address: row.address,
                created_at: row.created_at,
                expires_at: row.expires_at,
                data: row.data.map(|data| data.0),
                event,
                is_test: row.is_test,
                wishes,
                is_sole: row.delivery_count == 1,
                digest: row
                    .digest_id
                    .map(|id| digests.get(&id.into()).cloned().unwrap_or_default()),
            })
        })
        .collect()
}

/// Loads deliveries with their notification, for sending.
///
/// What their users want is read again for sends that waited for their `send_at`, and for what came
/// in until `waited_since`; for nobody where that is `None`.
pub async fn load_for_deliver(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
    waited_since: Option<DateTime<Utc>>,
) -> Result<Vec<ToDeliver>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    // An in-app message is not handed to anyone but the outbox, so it is not read either.
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.user_id,
               delivery.channel, delivery.status, delivery.attempts, delivery.provider,
               delivery.address, notification.type as kind, notification.priority,
               notification.category, notification.created_at, notification.expires_at,
               notification.is_test, notification.delivery_count,
               notification.bypass_quiet_hours, wish.body as "body?: Document<Value>",
               wish.timezone, case when wish.body is not null then (
                   select event.severity
                   from events as event
                   where event.id = notification.event_id
               ) end as event_severity,
               delivery.message is not null as "is_rendered!",
               case when delivery.channel <> 'in_app' or notification.is_test
                    then delivery.message end
                   as "message: Document<Message>",
               notification.fallback is not null as "has_fallback!",
               (select revision from revisions where kind = 'limits') as "limits_revision!"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        left join lateral (
            select said.body, (
                select known.timezone
                from users as known
                where known.tenant_id = said.tenant_id and known.user_id = said.user_id
            ) as timezone
            from preferences as said
            where $2::timestamptz is not null
              and (notification.send_at is not null or notification.created_at <= $2)
              and not notification.is_test
              and said.tenant_id = delivery.tenant_id
              and said.user_id = delivery.user_id
            limit 1
        ) as wish on true
        "#,
        &ids,
        waited_since,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("load deliveries to send"))?;
    let replaceable = rows.iter().filter(|row| row.has_fallback && !row.is_test);
    let replaceable: Vec<_> = replaceable.map(|row| row.notification_id.into()).collect();
    let understudies = list_understudies(connection, &replaceable).await?;

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
            let wishes = wishes(
                row.body,
                row.timezone,
                row.event_severity.as_deref(),
                row.bypass_quiet_hours,
            )?;
            Ok(ToDeliver {
                id: row.id.into(),
                notification_id: row.notification_id.into(),
                tenant_id: row.tenant_id.into(),
                user_id: row.user_id.into(),
                channel: words.channel,
                status: words.status,
                attempts: row.attempts as u16,
                provider: row.provider,
                address: row.address,
                kind: row.kind,
                priority: words.priority,
                category: row.category,
                created_at: row.created_at,
                expires_at: row.expires_at,
                is_test: row.is_test,
                wishes,
                is_sole: row.delivery_count == 1,
                is_rendered: row.is_rendered,
                message: row.message.map(|message| message.0),
                limits_revision: row.limits_revision,
                understudy: understudies
                    .get(&row.notification_id.into())
                    .map(Arc::clone),
            })
        })
        .collect()
}

/// The wishes of a joined row, if they were read and there are any.
fn wishes(
    body: Option<Document<Value>>,
    timezone: Option<String>,
    severity: Option<&str>,
    bypass_quiet_hours: bool,
) -> Result<Option<Wishes>, StoreError> {
    let read = |word| Severity::parse(word).ok_or_else(|| unknown_word("events", word));
    let severity = severity.map(read).transpose()?;
    Ok(body.map(|body| Wishes {
        preferences: Preferences::of_stored(body.0),
        timezone,
        severity,
        bypass_quiet_hours,
    }))
}

/// The words of a joined row, as values.
struct Words {
    channel: Channel,
    status: Status,
    priority: Priority,
}

impl Words {
    fn read(channel: &str, status: &str, priority: &str) -> Result<Self, StoreError> {
        Ok(Self {
            channel: Channel::parse(channel).ok_or_else(|| unknown_word("deliveries", channel))?,
            status: Status::parse(status).ok_or_else(|| unknown_word("deliveries", status))?,
            priority: Priority::parse(priority)
                .ok_or_else(|| unknown_word("notifications", priority))?,
        })
    }
}

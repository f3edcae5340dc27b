//! Reads what a whole claim of jobs needs, in one statement for each kind.
//!
//! Rows that are gone are left out of the answer; the job that asked for one has nothing to do.
//!
//! Ids are joined rather than compared with `any`: that would look up each of them in every
//! partition, where the join looks only in the one that can have it.

use chrono::{DateTime, Utc};
use domain::{
    Channel, DeliveryId, EventId, Message, NotificationId, Preferences, Priority, Status, TenantId,
    UserId,
};
use serde_json::Value;
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::{during, unknown_word};
use crate::json::Document;

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
    /// What the user wants by now, of a send that waited for its `send_at`; what they wanted when
    /// it came in has been heeded.
    pub wishes: Option<Preferences>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
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
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
    /// `None` in-app, where it stays in the row that the feed reads, but for tests; and until
    /// rendered.
    pub message: Option<Message>,
}

/// Loads deliveries with their notification and event, for rendering.
pub async fn load_for_render(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
) -> Result<Vec<ToRender>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.user_id,
               delivery.channel, delivery.status, delivery.address, notification.priority,
               notification.category, notification.type as kind, notification.template,
               notification.template_version, notification.locale, notification.subject, notification.content,
               notification.created_at, notification.expires_at,
               notification.data as "data: Document<Value>",
               notification.delivery_count, notification.is_test,
               case when notification.send_at is not null then (
                   select body
                   from preferences
                   where preferences.tenant_id = delivery.tenant_id
                     and preferences.user_id = delivery.user_id
               ) end as "wishes: Document<Value>",
               event.id as "event_row_id?",
               event.event_id as "event_id?", event.type as "event_kind?",
               event.created_at as "event_created_at?", event.payload as "payload?: Document<Value>"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        left join events as event on event.id = notification.event_id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("load deliveries to render"))?;

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
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
                wishes: row.wishes.map(|body| Preferences::of_stored(body.0)),
                is_sole: row.delivery_count == 1,
            })
        })
        .collect()
}

/// Loads deliveries with their notification, for sending.
pub async fn load_for_deliver(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
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
               case when delivery.channel <> 'in_app' or notification.is_test
                    then delivery.message end
                   as "message: Document<Message>"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("load deliveries to send"))?;

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
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
                is_sole: row.delivery_count == 1,
                message: row.message.map(|message| message.0),
            })
        })
        .collect()
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

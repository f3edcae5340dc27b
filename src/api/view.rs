//! How rows look from outside.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{
    AttemptStatus, Channel, DeliveryId, Message, NotificationId, Priority, Status, TraceStep,
    UserId,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use store::deliveries::{Attempt, Delivery};
use store::notifications::Notification;
use store::outbox::OutboxItem;
use store::traces::TraceEntry;

/// A moment as the contract writes it: RFC 3339, UTC, with `Z`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment(DateTime<Utc>);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A notification; with its deliveries where one is shown.
#[derive(Debug, Serialize)]
pub(super) struct NotificationView {
    id: NotificationId,
    user_id: UserId,
    #[serde(rename = "type")]
    kind: String,
    status: Status,
    priority: Priority,
    category: Option<String>,
    template: Option<String>,
    locale: Option<String>,
    subject: Option<String>,
    content: Option<String>,
    channels: Option<Vec<Channel>>,
    data: Option<Value>,
    bypass_quiet_hours: bool,
    created_at: Moment,
    updated_at: Moment,
    send_at: Option<Moment>,
    expires_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryView>>,
}

impl NotificationView {
    pub(super) fn of(row: Notification) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            kind: row.kind,
            status: row.status,
            priority: row.priority,
            category: row.category,
            template: row.template,
            locale: row.locale,
            subject: row.subject,
            content: row.content,
            channels: row.channels,
            data: row.data,
            bypass_quiet_hours: row.bypass_quiet_hours,
            created_at: Moment(row.created_at),
            updated_at: Moment(row.updated_at),
            send_at: row.send_at.map(Moment),
            expires_at: row.expires_at.map(Moment),
            deliveries: None,
        }
    }

    pub(super) fn with_deliveries(mut self, deliveries: Vec<DeliveryView>) -> Self {
        self.deliveries = Some(deliveries);
        self
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryView {
    id: DeliveryId,
    channel: Channel,
    status: Status,
    provider: Option<String>,
    error: Option<String>,
    /// In-app only, once arrived: its number in the feed.
    seq: Option<i64>,
    read_at: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
    attempts: Vec<AttemptView>,
}

impl DeliveryView {
    pub(super) fn of(row: Delivery, attempts: Vec<Attempt>) -> Self {
        Self {
            id: row.id,
            channel: row.channel,
            status: row.status,
            provider: row.provider,
            error: row.error,
            seq: row.seq,
            read_at: row.read_at.map(Moment),
            created_at: Moment(row.created_at),
            updated_at: Moment(row.updated_at),
            attempts: attempts.into_iter().map(AttemptView::of).collect(),
        }
    }
}

/// What a provider answered, once.
#[derive(Debug, Serialize)]
struct AttemptView {
    number: u16,
    provider: String,
    status: AttemptStatus,
    error: Option<String>,
    provider_message_id: Option<String>,
    response: Option<String>,
    started_at: Moment,
    finished_at: Moment,
}

impl AttemptView {
    fn of(row: Attempt) -> Self {
        Self {
            number: row.number,
            provider: row.provider,
            status: row.status,
            error: row.error,
            provider_message_id: row.provider_message_id,
            response: row.response,
            started_at: Moment(row.started_at),
            finished_at: Moment(row.finished_at),
        }
    }
}

/// A message that the outbox took: what would have been sent, and to where.
#[derive(Debug, Serialize)]
pub(super) struct OutboxView {
    id: DeliveryId,
    notification_id: NotificationId,
    user_id: UserId,
    channel: Channel,
    address: Option<String>,
    template: Option<String>,
    locale: Option<String>,
    message: Option<Message>,
    created_at: Moment,
}

impl OutboxView {
    pub(super) fn of(row: OutboxItem) -> Self {
        Self {
            id: row.delivery_id,
            notification_id: row.notification_id,
            user_id: row.user_id,
            channel: row.channel,
            address: row.address,
            template: row.template,
            locale: row.locale,
            message: row.message,
            created_at: Moment(row.created_at),
        }
    }
}

/// One decision about a notification.
#[derive(Debug, Serialize)]
pub(super) struct TraceView {
    at: Moment,
    #[serde(flatten)]
    step: TraceStep,
}

impl TraceView {
    pub(super) fn of(entry: TraceEntry) -> Self {
        Self {
            at: Moment(entry.at),
            step: entry.step,
        }
    }
}

//! How rows look from outside.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{
    AttemptStatus, Channel, DeliveryId, Message, NotificationId, Priority, Status, TraceStep,
    UserId,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use store::deliveries::{Attempt, Delivery};
use store::inbox::Entry;
use store::notifications::Notification;
use store::outbox::OutboxItem;
use store::traces::TraceEntry;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::openapi::words::{AttemptWord, ChannelWord, PriorityWord, StatusWord, moment};

/// A moment as the contract writes it: RFC 3339, UTC, with `Z`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    pub(super) fn at(moment: DateTime<Utc>) -> Self {
        Self(moment)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        moment()
    }
}

impl ToSchema for Moment {}

/// A notification; with its deliveries where one is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notification)]
pub(super) struct NotificationView {
    #[schema(value_type = String)]
    id: NotificationId,
    #[schema(value_type = String)]
    user_id: UserId,
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = StatusWord)]
    status: Status,
    #[schema(value_type = PriorityWord)]
    priority: Priority,
    category: Option<String>,
    template: Option<String>,
    /// The version of the template that it is told in; 0 ships with the binary.
    template_version: Option<u32>,
    /// The rule that led to it.
    rule_id: Option<String>,
    /// The side of the rule's test that its user is on.
    variant: Option<String>,
    locale: Option<String>,
    subject: Option<String>,
    content: Option<String>,
    #[schema(value_type = Option<Vec<ChannelWord>>)]
    channels: Option<Vec<Channel>>,
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    bypass_quiet_hours: bool,
    created_at: Moment,
    updated_at: Moment,
    send_at: Option<Moment>,
    expires_at: Option<Moment>,
    /// Marked as a test: every channel of it went to the outbox.
    is_test: bool,
    /// What its user has of it in the feed; null if nothing arrived there, or not any more.
    #[schema(required)]
    in_app: Option<EntryView>,
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
            template_version: row.decided.template_version,
            rule_id: row.decided.rule.map(|(id, _)| id.to_string()),
            variant: row.decided.variant,
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
            is_test: row.is_test,
            in_app: None,
            deliveries: None,
        }
    }

    pub(super) fn with_entry(mut self, entry: Option<Entry>) -> Self {
        self.in_app = entry.map(EntryView::of);
        self
    }

    pub(super) fn with_deliveries(mut self, deliveries: Vec<DeliveryView>) -> Self {
        self.deliveries = Some(deliveries);
        self
    }
}

/// An entry of a feed, with what its user did about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub(super) struct EntryView {
    /// Its number in the feed.
    seq: i64,
    title: Option<String>,
    message: String,
    /// As the feed has it: what the template set; else the event's payload, or the send's data.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    seen_at: Option<Moment>,
    read_at: Option<Moment>,
    archived_at: Option<Moment>,
}

impl EntryView {
    fn of(row: Entry) -> Self {
        Self {
            seq: row.seq,
            title: row.title,
            message: row.message,
            data: row.data,
            seen_at: row.reading.seen_at.map(Moment),
            read_at: row.reading.read_at.map(Moment),
            archived_at: row.reading.archived_at.map(Moment),
        }
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    #[schema(value_type = String)]
    id: DeliveryId,
    #[schema(value_type = ChannelWord)]
    channel: Channel,
    #[schema(value_type = StatusWord)]
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
            read_at: row.reading.read_at.map(Moment),
            created_at: Moment(row.created_at),
            updated_at: Moment(row.updated_at),
            attempts: attempts.into_iter().map(AttemptView::of).collect(),
        }
    }
}

/// What a provider answered, once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    number: u16,
    provider: String,
    #[schema(value_type = AttemptWord)]
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutboxItem)]
pub(super) struct OutboxView {
    #[schema(value_type = String)]
    id: DeliveryId,
    #[schema(value_type = String)]
    notification_id: NotificationId,
    #[schema(value_type = String)]
    user_id: UserId,
    #[schema(value_type = ChannelWord)]
    channel: Channel,
    address: Option<String>,
    template: Option<String>,
    locale: Option<String>,
    #[schema(value_type = Option<Object>)]
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TraceStep)]
pub(super) struct TraceView {
    at: Moment,
    /// Where it was taken: `route`, `render`, `deliver`, ….
    step: String,
    /// What was decided, a stable word or two.
    decision: String,
    /// Why, in a sentence.
    reason: String,
    /// The values it was decided on; null when the reason says it all.
    detail: Value,
}

impl TraceView {
    pub(super) fn of(entry: TraceEntry) -> Self {
        let TraceStep {
            step,
            decision,
            reason,
            detail,
        } = entry.step;
        Self {
            at: Moment(entry.at),
            step: step.into_owned(),
            decision: decision.into_owned(),
            reason: reason.into_owned(),
            detail,
        }
    }
}

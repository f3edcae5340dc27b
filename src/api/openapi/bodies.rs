//! How the bodies of submissions are described. The domain reads the real ones, field by field.
//!
//! A body's name ends with `Body`: the document says of those that they take no other fields.

use serde_json::Value;
use utoipa::ToSchema;

use super::words::{
    ChannelAsked, PriorityAsked, SeverityWord, any_object, optional_any_object, optional_moment,
};

/// Something that happened.
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "order.filled", "payload": {"user_id": "u1", "symbol": "ACME"}, "event_id": "e-1",
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::EventSubmission` reads the real one"
)]
pub(in crate::api) struct EventBody {
    /// What happened. Finds a template of the same name, in any case, `_` equal to `.`.
    #[schema(min_length = 1, max_length = 255)]
    r#type: String,
    /// What templates see. `user_id` is the recipient when no rule says otherwise.
    #[schema(schema_with = any_object)]
    payload: Value,
    /// Your name for it, unique per tenant and producer for 30 days: a repeat is a `duplicate`.
    #[schema(nullable, min_length = 1, max_length = 255)]
    event_id: Option<String>,
    /// The system that speaks.
    #[schema(nullable, min_length = 1, max_length = 255)]
    producer: Option<String>,
    #[schema(nullable)]
    severity: Option<SeverityWord>,
    /// Events of one type with the same key count as one for 24 hours.
    #[schema(nullable, min_length = 1, max_length = 255)]
    dedupe_key: Option<String>,
    #[schema(schema_with = optional_moment)]
    occurred_at: Option<Value>,
}

/// An event as a CloudEvent 1.0. Extension attributes are taken: `severity` and `dedupekey` are
/// read, others are passed over.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "e-1", "source": "/orders", "type": "order.filled",
    "data": {"user_id": "u1", "symbol": "ACME"},
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::EventSubmission` reads the real one"
)]
pub(in crate::api) struct CloudEvent {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    /// Our `event_id`.
    #[schema(min_length = 1, max_length = 255)]
    id: String,
    /// Our `producer`.
    #[schema(min_length = 1, max_length = 255)]
    source: String,
    #[schema(min_length = 1, max_length = 255)]
    r#type: String,
    /// Our `payload`; empty without it.
    #[schema(schema_with = optional_any_object)]
    data: Option<Value>,
    /// Our `occurred_at`.
    #[schema(schema_with = optional_moment)]
    time: Option<Value>,
}

/// Several events; each stands for itself.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described; `Batch` reads the real one")]
pub(in crate::api) struct EventsBody {
    #[schema(max_items = 5000)]
    events: Vec<EventBody>,
}

/// Something to tell one user. Either `template` or `content`.
#[derive(ToSchema)]
#[schema(example = json!({
    "user_id": "u1", "channels": ["in_app"], "subject": "Hello", "content": "Hello, world.",
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::NotificationSubmission` reads the real one"
)]
pub(in crate::api) struct NotificationBody {
    #[schema(min_length = 1, max_length = 255)]
    user_id: String,
    /// Where it goes; in-app when nothing is said.
    #[schema(nullable, min_items = 1)]
    channels: Option<Vec<ChannelAsked>>,
    /// A single channel, under the name the systems before used. Not together with `channels`.
    #[schema(nullable)]
    r#type: Option<ChannelAsked>,
    /// The name of a template.
    #[schema(nullable, min_length = 1, max_length = 255)]
    template: Option<String>,
    /// One line.
    #[schema(nullable, max_length = 998, pattern = "^[^\\r\\n]*$")]
    subject: Option<String>,
    /// The text, where no template makes it.
    #[schema(nullable, min_length = 1)]
    content: Option<String>,
    /// What the template sees. `email`, `phone`, `slack` and `webhook` are addresses for this send
    /// only; a mail takes `cc`, `bcc`, `reply_to` and `attachments` from here.
    #[schema(schema_with = optional_any_object)]
    data: Option<Value>,
    /// A BCP 47 language, such as `ru` or `pt-BR`.
    #[schema(nullable, min_length = 1, max_length = 255)]
    locale: Option<String>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    category: Option<String>,
    #[schema(nullable)]
    priority: Option<PriorityAsked>,
    /// Not before this moment, which must lie within the retention.
    #[schema(schema_with = optional_moment)]
    send_at: Option<Value>,
    /// Not after this moment: what is still waiting becomes `expired`.
    #[schema(schema_with = optional_moment)]
    expires_at: Option<Value>,
    /// Direct sends with the same key count as one for 24 hours.
    #[schema(nullable, min_length = 1, max_length = 255)]
    dedupe_key: Option<String>,
    #[schema(nullable)]
    bypass_quiet_hours: Option<bool>,
}

/// Several direct sends; each stands for itself.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described; `Batch` reads the real one")]
pub(in crate::api) struct NotificationsBody {
    #[schema(max_items = 5000)]
    notifications: Vec<NotificationBody>,
}

/// What was read: one of the three.
#[derive(ToSchema)]
#[schema(example = json!({"up_to_seq": 42}))]
#[allow(dead_code, reason = "only described; the handler reads the real one")]
pub(in crate::api) struct AckBody {
    #[schema(nullable)]
    notification_id: Option<String>,
    #[schema(nullable, max_items = 1000)]
    ids: Option<Vec<String>>,
    /// Everything up to this number of the feed.
    #[schema(nullable, minimum = 0)]
    up_to_seq: Option<i64>,
}

/// Which dead letters are to run again. Without any criterion it is all of the tenant's.
#[derive(ToSchema)]
#[schema(example = json!({"queue": "email", "since": "2026-11-21T07:00:00Z", "rate": 50}))]
#[allow(
    dead_code,
    reason = "only described; `domain::ReplaySubmission` reads the real one"
)]
pub(in crate::api) struct ReplayBody {
    #[schema(nullable, max_items = 10000)]
    ids: Option<Vec<String>>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    queue: Option<String>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    kind: Option<String>,
    /// Part of the last error, in any case.
    #[schema(nullable, min_length = 1, max_length = 255)]
    error: Option<String>,
    /// Died at this moment or later.
    #[schema(schema_with = optional_moment)]
    since: Option<Value>,
    /// Died before this moment.
    #[schema(schema_with = optional_moment)]
    until: Option<Value>,
    /// Only count them.
    #[schema(nullable)]
    dry_run: Option<bool>,
    /// At most so many in any second.
    #[schema(nullable, minimum = 1, maximum = 1_000_000)]
    rate: Option<u32>,
    /// Also what has expired meanwhile: its `expires_at` is lifted.
    #[schema(nullable)]
    include_expired: Option<bool>,
}

/// One dead letter.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "only described; `domain::ReplaySubmission` reads the real one"
)]
pub(in crate::api) struct ShortReplayBody {
    job_id: String,
}

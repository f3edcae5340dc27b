//! Effects: what a settled job changes in our tables, as data.
//!
//! Handlers answer with effects; [`apply`](crate::settlement::apply) writes those of a whole
//! settlement with one statement per table, in the transaction that ends the jobs.

use chrono::{DateTime, Utc};
use domain::{
    AttemptStatus, Channel, DeliveryId, DigestId, DigestKey, EventId, Message, NotificationId,
    Priority, ReplayId, ReplayState, RuleId, Severity, Status, Telling, TenantId, TraceStep,
    UserId,
};
use serde_json::Value;
use uuid::Uuid;

use crate::events::NewEvent;

/// One change that a settlement writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Inserts an event that a schedule fired.
    EventFired(Box<NewEvent>),
    /// Inserts a notification that an event led to.
    NotificationPlanned(Box<NewNotification>),
    /// Moves a direct send that intake inserted as `pending`.
    NotificationRouted {
        id: NotificationId,
        status: Status,
        delivery_count: u16,
        /// What it is about; one that the send named stays.
        category: Option<String>,
        /// The language it will be told in; one that the send named stays.
        locale: Option<String>,
        /// The version of its template; 0 ships with the binary.
        template_version: Option<u32>,
    },
    /// Inserts a delivery.
    DeliveryPlanned(Box<NewDelivery>),
    /// Inserts a delivery that stands in for one that failed, unless it is there: two that fail at
    /// once may name the same. Raises the notification's count.
    DeliveryAdded(Box<NewDelivery>),
    /// Stores the rendered message and names the job that will send it.
    DeliveryRendered {
        id: DeliveryId,
        message: Box<Message>,
        template: Option<String>,
        locale: Option<String>,
        job_id: Option<Uuid>,
    },
    /// Moves a delivery, and its notification with it.
    DeliveryMoved(DeliveryMove),
    /// Puts the message into the user's feed: next `seq`, inbox row, attempt, `delivered`.
    InboxArrived(InboxArrival),
    /// Records what a provider answered.
    Attempted(NewAttempt),
    /// Puts a delivery on the list of what the outbox took.
    OutboxStored(Stored),
    /// Adds to the trace of a notification, or of an event that led to none.
    Traced {
        subject_id: Uuid,
        at: DateTime<Utc>,
        steps: Vec<TraceStep>,
    },
    /// Adds an item to the open digest of its key, or opens one with it.
    DigestJoined(Box<DigestJoin>),
    /// Closes a digest, unless it has closed.
    DigestClosed(Box<DigestClose>),
    /// Moves the end of a digest's window, unless it has closed.
    DigestPostponed(Box<DigestPostpone>),
    /// Takes an item out of a closed digest, which does not tell it.
    DigestLeft { id: DigestId, source_id: Uuid },
    /// Marks a closed digest as told by a notification that this settlement plans.
    DigestTold {
        id: DigestId,
        /// `None` if nothing was left to be told.
        notification_id: Option<NotificationId>,
    },
    /// Ends a replay whose job has become a dead letter, or was cancelled.
    ReplayEnded {
        replay_id: ReplayId,
        state: ReplayState,
        at: DateTime<Utc>,
    },
}

/// A row of `notifications`.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    pub id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// `None` for a direct send.
    pub event_id: Option<EventId>,
    pub created_at: DateTime<Utc>,
    pub send_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    pub category: Option<String>,
    pub priority: Priority,
    pub status: Status,
    pub template: Option<String>,
    pub locale: Option<String>,
    pub subject: Option<String>,
    pub content: Option<String>,
    /// What a direct send asked for; `None` lets routing choose.
    pub channels: Option<Vec<Channel>>,
    /// Variables of a direct send; an event's are its payload.
    pub data: Option<Value>,
    pub delivery_count: u16,
    pub is_test: bool,
    pub bypass_quiet_hours: bool,
    pub decided: Decided,
}

/// What the decision for a notification was made of; nothing of it for most direct sends.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decided {
    /// The rule that led to it, and which of its actions, from 0.
    pub rule: Option<(RuleId, u16)>,
    /// The side of the rule's test that the user is on.
    pub variant: Option<String>,
    /// What stands in, in order, for a channel that cannot deliver.
    pub fallback: Vec<Channel>,
    /// The version of the template it is told in; 0 ships with the binary.
    pub template_version: Option<u32>,
    /// The digest that it tells.
    pub digest_id: Option<DigestId>,
}

/// A row of `deliveries`, before rendering.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDelivery {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub status: Status,
    /// Order among the notification's deliveries, from 0.
    pub position: u16,
    /// `None` in-app, and where the user has no address (then `error` says so).
    pub address: Option<String>,
    pub error: Option<String>,
    /// The open job that works on it.
    pub job_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// An item that joins a digest.
#[derive(Debug, Clone, PartialEq)]
pub struct DigestJoin {
    pub key: DigestKey,
    /// The event; or the delivery that quiet hours hold back.
    pub source_id: Uuid,
    /// Whose trace says so: the event's, or the delivery's notification's.
    pub subject_id: Uuid,
    /// The id of the digest, should this open one. A new one for every join.
    pub digest_id: DigestId,
    /// When the digest closes, should this open it.
    pub closes_at: DateTime<Utc>,
    /// So many items close it, should this open it. `None` leaves that to the window.
    pub size_max: Option<u32>,
    pub priority: Priority,
    pub severity: Option<Severity>,
    /// How the digest is told, should this open it.
    pub telling: Telling,
    pub at: DateTime<Utc>,
}

/// A digest whose window has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestClose {
    pub digest_id: DigestId,
    /// Digests are locked in the order of their keys.
    pub key: DigestKey,
    pub at: DateTime<Utc>,
}

/// A digest of quiet hours that end at another time by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestPostpone {
    pub digest_id: DigestId,
    /// Digests are locked in the order of their keys.
    pub key: DigestKey,
    /// Later than before, or earlier.
    pub closes_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
}

/// A change of a delivery's status.
///
/// Refused silently where the status lattice forbids it: `delivered` never goes back to `sent`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryMove {
    pub id: DeliveryId,
    /// `None` where only the delivery is known: a job that died before its handler read the row.
    /// The settlement reads it from the row, which it locks anyway.
    pub notification_id: Option<NotificationId>,
    pub status: Status,
    pub provider: Option<String>,
    pub error: Option<String>,
    /// The open job that works on it from now on.
    pub job_id: Option<Uuid>,
    pub at: DateTime<Utc>,
    /// Whether it is the notification's only delivery, so that the statuses are equal and no
    /// sibling needs to be read.
    pub is_sole: bool,
}

/// An in-app delivery that reaches its feed.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxArrival {
    pub delivery_id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// The attempt's number on the delivery, from 1.
    pub attempt: u16,
    pub started_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub is_sole: bool,
}

/// A row of `attempts`; raises `deliveries.attempts` to `number`.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAttempt {
    pub delivery_id: DeliveryId,
    /// From 1, counted on the delivery across providers and jobs.
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

/// A row of `outbox`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub delivery_id: DeliveryId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub at: DateTime<Utc>,
}

//! What a job is about, as its payload says.

use domain::{DeliveryId, DigestId, EventId, NotificationId, ReplayId, TenantId};
use queue::Job;
use serde_json::Value;
use store::subjects::SubjectIds;
use uuid::Uuid;

use crate::batch_flush::BatchFlush;
use crate::deliver::Deliver;
use crate::quiet_hours::QuietHours;
use crate::render::Render;
use crate::replay::Replay;
use crate::retry::Retry;
use crate::route::Route;

/// What a job is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Delivery(DeliveryId),
    /// A direct send that was not routed.
    Notification(NotificationId),
    Event(EventId),
    Digest(DigestId),
    Replay(ReplayId),
}

impl Subject {
    /// `None` for a kind that is about no row, and for a payload that names none.
    pub fn of(kind: &str, payload: &Value) -> Option<Self> {
        match kind {
            Render::KIND => parse(payload).map(|job: Render| Self::Delivery(job.delivery_id)),
            Deliver::KIND => parse(payload).map(|job: Deliver| Self::Delivery(job.delivery_id)),
            Retry::KIND => parse(payload).map(|job: Retry| Self::Delivery(job.delivery_id)),
            QuietHours::KIND => {
                parse(payload).map(|job: QuietHours| Self::Delivery(job.delivery_id))
            }
            BatchFlush::KIND => parse(payload).map(|job: BatchFlush| Self::Digest(job.digest_id)),
            Replay::KIND => parse(payload).map(|job: Replay| Self::Replay(job.replay_id)),
            Route::KIND => parse(payload).map(|job| match job {
                Route::Event { event_id } | Route::Rule { event_id, .. } => Self::Event(event_id),
                Route::Notification { notification_id } => Self::Notification(notification_id),
                Route::Digest { digest_id } => Self::Digest(digest_id),
            }),
            _ => None,
        }
    }

    pub(crate) fn id(self) -> Uuid {
        match self {
            Self::Delivery(id) => id.as_uuid(),
            Self::Notification(id) => id.as_uuid(),
            Self::Event(id) => id.as_uuid(),
            Self::Digest(id) => id.as_uuid(),
            Self::Replay(id) => id.as_uuid(),
        }
    }
}

fn parse<J: Job>(payload: &Value) -> Option<J> {
    J::deserialize(payload).ok()
}

/// The ids of `subjects`, by table.
pub(crate) fn ids_of(subjects: impl IntoIterator<Item = Subject>) -> SubjectIds {
    let mut ids = SubjectIds::default();
    for subject in subjects {
        match subject {
            Subject::Delivery(id) => ids.deliveries.push(id),
            Subject::Notification(id) => ids.notifications.push(id),
            Subject::Event(id) => ids.events.push(id),
            Subject::Digest(id) => ids.digests.push(id),
            Subject::Replay(_) => {}
        }
    }
    ids
}

/// Whose a job is of which nobody can tell whose it is: that of the installation's own tenant.
pub(crate) fn nobodys() -> TenantId {
    TenantId::default()
}

//! Replay: dead letters run again, and what they were about is open again, in one transaction.

use chrono::{DateTime, Utc};
use domain::NotificationId;
use queue::dead_letter::{self, Replayed};
use queue::{Job, JobId};
use serde::Deserialize;
use store::replay::{Reopened, reopen_deliveries, reopen_notifications};
use store::{Store, StoreError};

use crate::deliver::Deliver;
use crate::render::Render;
use crate::retry::Retry;
use crate::route::Route;

/// Why dead letters could not be replayed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("could not replay dead letters")]
    Queue(#[source] queue::DatabaseError),
    #[error("could not replay dead letters")]
    Store(#[source] StoreError),
}

/// Replays `ids` and answers those that were dead letters.
///
/// Ring [`queue::JOBS_AVAILABLE`] with their queues afterwards.
pub async fn replay(
    store: &Store,
    ids: &[JobId],
    now: DateTime<Utc>,
) -> Result<Vec<Replayed>, ReplayError> {
    let mut tx = store.begin().await.map_err(ReplayError::Store)?;
    let replayed = dead_letter::replay(&mut tx, ids, None)
        .await
        .map_err(ReplayError::Queue)?;
    let (mut deliveries, mut notifications) = (Vec::new(), Vec::new());
    for job in &replayed {
        match subject_of(job) {
            Some(Subject::Delivery(reopened)) => deliveries.push(reopened),
            Some(Subject::Notification(id)) => notifications.push(id),
            None => {}
        }
    }
    if !deliveries.is_empty() {
        reopen_deliveries(&mut tx, &deliveries, now)
            .await
            .map_err(ReplayError::Store)?;
    }
    if !notifications.is_empty() {
        reopen_notifications(&mut tx, &notifications, now)
            .await
            .map_err(ReplayError::Store)?;
    }
    tx.commit().await.map_err(ReplayError::Store)?;
    Ok(replayed)
}

/// What a job is about.
enum Subject {
    Delivery(Reopened),
    /// A direct send that was not routed.
    Notification(NotificationId),
}

/// What `job` is about; `None` for an event, whose row has no status.
fn subject_of(job: &Replayed) -> Option<Subject> {
    let payload = &job.payload;
    let delivery_id = match job.kind.as_str() {
        Render::KIND => Render::deserialize(payload).ok()?.delivery_id,
        Deliver::KIND => Deliver::deserialize(payload).ok()?.delivery_id,
        Retry::KIND => Retry::deserialize(payload).ok()?.delivery_id,
        Route::KIND => match Route::deserialize(payload).ok()? {
            Route::Notification { notification_id } => {
                return Some(Subject::Notification(notification_id));
            }
            Route::Event { .. } => return None,
        },
        _ => return None,
    };
    let job_id = job.job_id.as_uuid();
    Some(Subject::Delivery(Reopened {
        delivery_id,
        job_id,
    }))
}

//! Replay: dead letters run again, and what they were about is open again, in one transaction.

use chrono::{DateTime, Utc};
use queue::dead_letter::{self, Replayed};
use queue::{Job, JobId};
use serde::Deserialize;
use store::replay::{Reopened, reopen_deliveries};
use store::{Store, StoreError};

use crate::deliver::Deliver;
use crate::render::Render;
use crate::retry::Retry;

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
    let reopened: Vec<Reopened> = replayed.iter().filter_map(reopened).collect();
    if !reopened.is_empty() {
        reopen_deliveries(&mut tx, &reopened, now)
            .await
            .map_err(ReplayError::Store)?;
    }
    tx.commit().await.map_err(ReplayError::Store)?;
    Ok(replayed)
}

/// The delivery a job is about; none for `route`.
fn reopened(job: &Replayed) -> Option<Reopened> {
    let delivery_id = match job.kind.as_str() {
        Render::KIND => Render::deserialize(&job.payload).ok()?.delivery_id,
        Deliver::KIND => Deliver::deserialize(&job.payload).ok()?.delivery_id,
        Retry::KIND => Retry::deserialize(&job.payload).ok()?.delivery_id,
        _ => return None,
    };
    Some(Reopened {
        delivery_id,
        job_id: job.job_id.as_uuid(),
    })
}

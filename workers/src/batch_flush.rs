//! `batch_flush`: the window of a digest has ended; closes it.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | the settlement that opens the digest, due at the window's end |
//! | Queue | `batch_flush` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | a digest closes once, and only that settlement enqueues its telling |
//!
//! It reads no items: others may be joining at this moment. The settlement closes the digest, and
//! whoever tells it reads a set that does not change any more
//! ([`route::tell`](crate::route::tell)). A digest that its size has closed needs nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::DigestId;
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use store::digests::{Digest, DigestStatus};
use store::settlement::DigestTurn;
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::delivery::urgency;
use crate::loading::lined_up;
use crate::queues;

/// Payload of a `batch_flush` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFlush {
    /// The digest whose window ends.
    pub digest_id: DigestId,
}

impl Job for BatchFlush {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "batch_flush";
}

/// The job that ends the window of a digest that was opened.
pub(crate) fn job(opened: &DigestTurn, now: DateTime<Utc>) -> NewJob {
    let flush = BatchFlush {
        digest_id: opened.digest_id,
    };
    NewJob::new(JobId::at(now), queues::BATCH_FLUSH, &flush)
        .priority(urgency(opened.priority))
        .lane(lane(opened))
        .run_at(Some(opened.closes_at))
}

/// Digests of one user take turns with those of others.
pub(crate) fn lane(turn: &DigestTurn) -> u8 {
    queue::lane_of(&[turn.tenant_id.as_str(), "digest", turn.user_id.as_str()])
}

/// Loads the digests of a claim, without their items.
pub(crate) async fn prepare(
    connection: &mut Connection,
    _cx: &Context,
    jobs: &[BatchFlush],
) -> Result<Vec<Option<Arc<Digest>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.digest_id).collect();
    let rows = store::digests::list_digests(connection, &ids).await?;
    Ok(lined_up(&ids, rows, |row| row.id))
}

pub(crate) async fn run(
    job: BatchFlush,
    loaded: Option<&Digest>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(digest) = loaded else {
        tracing::warn!(digest.id = %job.digest_id, "nothing to flush, the row is gone");
        return Ok(Outcome::cancelled());
    };
    Ok(match digest.status {
        DigestStatus::Open => Outcome::completed().with(digest.close(cx.clock.now())),
        DigestStatus::Closed | DigestStatus::Told | DigestStatus::Cancelled => Outcome::completed(),
    })
}

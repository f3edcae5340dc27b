//! `replay`: lets dead letters run again, batch by batch, until all that were meant are.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | an operator's request, and itself while there is more |
//! | Queue | `retry` |
//! | Attempts | 8 within about four minutes, then dead, and the replay is `failed` |
//! | Idempotency | each batch is written with how far the replay has come, under its lock |
//!
//! The one handler that writes by itself (ADR 9): a batch is a transaction of its own, which moves
//! the dead letters, opens what they were about, records what became of each and moves the cursor.
//! So it does not matter who runs it, nor how many at once: a worker that was taken over waits for
//! the lock, and then goes on from where its successor is. The command line runs the same batches
//! where no worker does.
//!
//! Each run ends after a few batches and plans the next as a job of its own, so that a process that
//! dies is counted against one run and not against the whole replay.

mod batch;
mod request;

use std::collections::BTreeSet;

use domain::{ReplayId, ReplayResult};
use queue::{Bell, Clock, Failure, JOBS_AVAILABLE, Job, JobId, Metrics, NewJob, Outcome, Priority};
use serde::{Deserialize, Serialize};
use store::{Effect, Store, StoreError};

pub use self::batch::{Advanced, Step, advance};
pub use self::request::{Begun, Request, begin, cancel};
use crate::queues;

/// Batches of one run: less than a second of work. A node that stops waits for it, and a run whose
/// process dies five times is buried, so that it had better be over soon.
const BATCHES_PER_RUN_MAX: usize = 4;

/// Payload of a `replay` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The replay that goes on.
    pub replay_id: ReplayId,
}

impl Job for Replay {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "replay";
}

impl Replay {
    /// The one job that runs the replay. An operator waits for it, so it goes before what is due
    /// without anybody looking.
    fn job(self, clock: &Clock) -> NewJob {
        NewJob::new(JobId::at(clock.now()), queues::RETRY, &self)
            .priority(Priority::High)
            .unique_key(self.unique_key())
    }

    fn unique_key(self) -> String {
        self.replay_id.to_string()
    }
}

/// Why dead letters could not be looked at or replayed. Of the batch nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("could not read or move dead letters")]
    Queue(#[source] queue::DatabaseError),
    #[error("could not replay dead letters")]
    Store(#[source] StoreError),
    /// Written by another version.
    #[error("the filter of the replay cannot be read")]
    Filter(#[source] serde_json::Error),
}

impl ReplayError {
    /// Whether the same batch may succeed when it is tried again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Queue(error) => queue::is_passing(error),
            Self::Store(error) => error.is_transient(),
            Self::Filter(_) => false,
        }
    }
}

/// What the handler runs batches with.
#[derive(Debug, Clone)]
pub(crate) struct Replayer {
    store: Store,
    bell: Bell,
    clock: Clock,
    metrics: Metrics,
}

impl Replayer {
    /// Every outcome is exported from here on, at zero.
    pub(crate) fn new(store: &Store, bell: &Bell, clock: &Clock, metrics: &Metrics) -> Self {
        for result in ReplayResult::ALL {
            metrics.replayed(result.as_str(), 0);
        }
        Self {
            store: store.clone(),
            bell: bell.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        }
    }

    pub(crate) async fn run(&self, job: Replay) -> Result<Outcome<Effect>, Failure> {
        for _ in 0..BATCHES_PER_RUN_MAX {
            let advanced = advance(&self.store, job.replay_id, self.clock.fixed())
                .await
                .map_err(|error| Failure::from_error(&error))?;
            for (result, count) in advanced.counts.iter() {
                self.metrics.replayed(result.as_str(), count as u64);
            }
            self.wake(&advanced.queues);
            match advanced.step {
                Step::More => {}
                Step::Wait { until, .. } => {
                    let next = job.job(&self.clock).run_at(Some(until));
                    return Ok(Outcome::completed().then(next));
                }
                Step::Over(_) => return Ok(Outcome::completed()),
            }
        }
        Ok(Outcome::completed().then(job.job(&self.clock)))
    }

    fn wake(&self, queues: &BTreeSet<String>) {
        self.bell
            .ring_all(JOBS_AVAILABLE, queues.iter().cloned().collect());
    }
}

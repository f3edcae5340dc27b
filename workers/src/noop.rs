//! `noop`: a job that does nothing, to measure what the queue itself costs.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | `postrider bench queue` |
//! | Queue | `bench` |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use queue::{Job, Outcome};
use serde::{Deserialize, Serialize};

/// Payload of a `noop` job: about 150 bytes, as the peers are measured with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noop {
    pub id: u64,
    /// Microseconds since 1970 when it was enqueued; 0 if nobody asks how long it waited.
    pub sent_at_us: i64,
    pub user: String,
    pub body: String,
}

impl Job for Noop {
    const KIND: &'static str = "noop";
}

impl Noop {
    /// The queue benchmarks use; no worker of `postrider work` serves it.
    pub const QUEUE: &'static str = "bench";

    pub fn new(id: u64, sent_at_us: i64) -> Self {
        Self {
            id,
            sent_at_us,
            user: format!("user{id}"),
            body: "x".repeat(90),
        }
    }
}

/// What has run, kept by the worker of [`Noop`].
#[derive(Debug, Default)]
pub struct Tally {
    ran: AtomicU64,
    waits_us: Mutex<Vec<u32>>,
}

impl Tally {
    /// Jobs that have run.
    pub fn ran(&self) -> u64 {
        self.ran.load(Ordering::Acquire)
    }

    /// From enqueue to start, of the jobs that said when they were enqueued.
    pub fn take_waits_us(&self) -> Vec<u32> {
        std::mem::take(&mut *self.waits_us.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn run(&self, job: &Noop, now_us: i64) -> Outcome<serde_json::Value> {
        if job.sent_at_us > 0 {
            let wait = u32::try_from((now_us - job.sent_at_us).max(0)).unwrap_or(u32::MAX);
            self.waits_us
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(wait);
        }
        self.ran.fetch_add(1, Ordering::AcqRel);
        Outcome::completed()
    }
}

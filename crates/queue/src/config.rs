//! How a node claims, holds and settles jobs.

use std::time::Duration;

use crate::backoff::Backoff;

/// Settings of one node. The defaults fit two cores with Postgres beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// Name of this process in `queue.workers`, for people.
    pub node: String,

    /// Most jobs taken in one claim. More means fewer round trips and longer row locks; beyond 500
    /// nothing was gained.
    pub claim_batch: u32,

    /// Most outcomes in one settlement.
    pub settle_batch: usize,

    /// How long a settlement waits for more outcomes while other jobs are still out. Nothing waits
    /// when it is alone.
    pub settle_wait: Duration,

    /// Settlements under way at once: one writes while the other waits for the disk.
    pub settlers: usize,

    /// Pause between claims while work keeps coming.
    pub poll_min: Duration,

    /// Longest pause between claims when idle. Bounds the delay of a lost wake-up.
    pub poll_max: Duration,

    /// Pause between heartbeats.
    pub heartbeat: Duration,

    /// Silence after which a node stops acting on what it holds. Must be shorter than `lease_ttl`.
    pub fence_after: Duration,

    /// Silence after which peers take over although the lock is still held (a lost host).
    pub lease_ttl: Duration,

    /// Silence after which peers take over once the lock is free (a dead process).
    pub silence: Duration,

    /// Delay of jobs that failed without naming one.
    pub backoff: Backoff,

    /// Longest a handler may run; then the attempt counts as failed.
    pub handler_timeout: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            node: "postrider".to_owned(),
            claim_batch: 500,
            settle_batch: 500,
            settle_wait: Duration::from_millis(2),
            settlers: 2,
            poll_min: Duration::from_millis(10),
            poll_max: Duration::from_millis(200),
            heartbeat: Duration::from_millis(500),
            fence_after: Duration::from_secs(6),
            lease_ttl: Duration::from_secs(10),
            silence: Duration::from_secs(2),
            backoff: Backoff::default(),
            handler_timeout: Duration::from_mins(1),
        }
    }
}

/// How many jobs of one queue a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Handlers at once.
    pub concurrency: usize,
    /// Jobs claimed ahead of free handlers, or waiting for their settlement.
    pub read_ahead: usize,
    /// Whether the claim is committed to disk before the handler starts, and nothing is read
    /// ahead: for channels where an unknown first attempt must never be repeated (sms, voice).
    pub is_careful: bool,
    /// Whether a lane leaves slots to others, because handlers wait for its destination: alone it
    /// gets two thirds of the slots.
    pub is_shared: bool,
}

impl Limits {
    pub fn new(concurrency: usize, read_ahead: usize) -> Self {
        Self {
            concurrency,
            read_ahead,
            is_careful: false,
            is_shared: false,
        }
    }

    /// Claims are durable and go into free handlers only.
    pub fn careful(concurrency: usize) -> Self {
        Self {
            concurrency,
            read_ahead: 0,
            is_careful: true,
            is_shared: false,
        }
    }

    /// Lets lanes spare each other. Nothing is read ahead then: a job that waits behind the handlers
    /// of another destination would not be spared.
    #[must_use]
    pub fn shared(self) -> Self {
        Self {
            read_ahead: 0,
            is_shared: true,
            ..self
        }
    }

    /// Jobs held at once, from claim to settlement.
    pub fn held_max(self) -> usize {
        self.concurrency + self.read_ahead
    }

    /// Of those, jobs that were claimed. Half of what is read ahead is left to follow-up jobs this
    /// node keeps: were claims to fill it, the next step of what is under way would have to be
    /// claimed too, and would wait behind its own backlog.
    pub(crate) fn claimed_max(self) -> usize {
        self.concurrency + self.read_ahead / 2
    }
}

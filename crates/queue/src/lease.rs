//! Leases: proof that this process owns one attempt of one job, and the guard that reports its end.
//!
//! Across processes the database decides: every ending is matched on (job, attempt, epoch), so a
//! worker that was taken over writes nothing. Inside the process a [`Held`] lease is consumed by its
//! outcome; one that is dropped instead (a panic, a timeout, an abort) reports that too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tracing::error;
use uuid::Uuid;

use crate::config::Limits;
use crate::epoch::Epoch;
use crate::job::{JobId, LANES, NewJob};
use crate::outcome::{Ending, Outcome};
use crate::room::Room;

/// Free slots that are worth a claim of jobs whose handlers only compute.
const WORTH_A_CLAIM: usize = 200;

/// One claimed attempt of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    pub job_id: JobId,
    /// Counts claims from 1. With `epoch` it is the fence.
    pub attempt: i16,
    pub epoch: Uuid,
    /// Attempts that failed before this one.
    pub failures: i16,
    /// Workers that died while they held the job.
    pub crashes: i16,
    pub max_attempts: i16,
    /// The destination's share of the queue, 0 to 31.
    pub lane: u8,
    pub queue: String,
    pub kind: String,
    pub payload: Value,
    /// From due to claimed, by the database clock.
    pub waited_seconds: f64,
}

impl Lease {
    /// The lease of a follow-up job that was inserted as running under `epoch`.
    pub(crate) fn of_kept(job: &NewJob, epoch: Uuid) -> Self {
        Self {
            job_id: job.job_id,
            attempt: 1,
            epoch,
            failures: 0,
            crashes: 0,
            max_attempts: i16::try_from(job.max_attempts).unwrap_or(i16::MAX),
            lane: job.lane,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            payload: job.payload.clone(),
            waited_seconds: 0.0,
        }
    }

    /// What a handler may know of its lease.
    pub fn info(&self) -> LeaseInfo {
        LeaseInfo {
            job_id: self.job_id,
            attempt: self.attempt.max(0).cast_unsigned(),
            failures: self.failures.max(0).cast_unsigned(),
            crashes: self.crashes.max(0).cast_unsigned(),
            max_attempts: self.max_attempts.max(0).cast_unsigned(),
        }
    }
}

/// What a handler may know of its lease; an extractor gives it as `Data<LeaseInfo>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseInfo {
    pub job_id: JobId,
    /// Counts claims from 1.
    pub attempt: u16,
    /// Attempts that failed before this one.
    pub failures: u16,
    /// Workers that died while they held the job.
    pub crashes: u16,
    pub max_attempts: u16,
}

impl LeaseInfo {
    /// Whether an earlier attempt may have acted without a record of it: its worker died, or it
    /// ended by an unexpected error.
    pub fn is_uncertain(self) -> bool {
        self.crashes > 0 || self.failures > 0
    }

    /// Whether a failure of this attempt is the last one.
    pub fn is_last(self) -> bool {
        self.failures + 1 >= self.max_attempts
    }
}

/// The slots of one queue on this node: how many jobs it holds, from claim to settlement.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) limits: Limits,
    held: AtomicUsize,
    /// Of these, per lane.
    lanes: [AtomicUsize; LANES as usize],
    /// All queues together, so that the settler knows whether more outcomes are to come.
    total: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

impl Slots {
    pub(crate) fn new(limits: Limits, total: Arc<AtomicUsize>, freed: Arc<Notify>) -> Self {
        Self {
            limits,
            held: AtomicUsize::new(0),
            lanes: [const { AtomicUsize::new(0) }; LANES as usize],
            total,
            freed,
        }
    }

    /// Slots left for claims.
    pub(crate) fn claimable(&self) -> Room {
        self.below(self.limits.claimed_max())
    }

    /// Whether enough slots are free for a claim to be worth its while.
    ///
    /// Of handlers that only compute so many must be free, or a quarter. Slots come back with
    /// settlements, and a claim for what each of them gave back keeps all batches as small as that:
    /// 103 jobs in a claim instead of 350, and a tenth of the pipeline's throughput.
    pub(crate) fn are_open(&self) -> bool {
        let least = if self.limits.read_ahead > 0 {
            (self.limits.claimed_max() / 4).min(WORTH_A_CLAIM)
        } else {
            1
        };
        self.claimable().free as usize >= least.max(1)
    }

    /// Slots left for follow-up jobs that this node keeps.
    pub(crate) fn keepable(&self) -> Room {
        let limits = self.limits;
        if limits.is_careful {
            Room::open(0)
        } else {
            self.below(limits.held_max())
        }
    }

    fn below(&self, most: usize) -> Room {
        let held = self.held.load(Ordering::Acquire);
        let free = u32::try_from(most.saturating_sub(held)).unwrap_or(u32::MAX);
        if self.limits.is_shared {
            let held = |lane: &AtomicUsize| lane.load(Ordering::Acquire) as u32;
            Room::shared(free, self.lanes.each_ref().map(held))
        } else {
            Room::open(free)
        }
    }

    fn lane(&self, lane: u8) -> &AtomicUsize {
        &self.lanes[usize::from(lane % LANES)]
    }

    pub(crate) fn take(self: &Arc<Self>, lane: u8) -> Slot {
        self.held.fetch_add(1, Ordering::AcqRel);
        self.lane(lane).fetch_add(1, Ordering::AcqRel);
        self.total.fetch_add(1, Ordering::AcqRel);
        Slot {
            slots: Arc::clone(self),
            lane,
        }
    }
}

/// One taken slot. Free again when dropped, after the settlement.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    lane: u8,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        slots.held.fetch_sub(1, Ordering::AcqRel);
        slots.lane(self.lane).fetch_sub(1, Ordering::AcqRel);
        slots.total.fetch_sub(1, Ordering::AcqRel);
        slots.freed.notify_one();
    }
}

/// An attempt that has ended and waits for its settlement.
#[derive(Debug)]
pub(crate) struct Ended<E> {
    pub(crate) lease: Lease,
    pub(crate) outcome: Outcome<E>,
    /// Whether the engine chose the ending; then the domain is asked what a burial means to it.
    pub(crate) is_by_engine: bool,
    /// Settlements of this outcome that the database refused.
    pub(crate) refusals: u8,
    /// Held until the ending is written: the slot, and the epoch, which beats meanwhile.
    _kept: (Slot, Arc<Epoch>),
}

/// A lease with its duty to report.
#[derive(Debug)]
pub(crate) struct Held<E> {
    inner: Option<Inner<E>>,
    is_started: bool,
}

#[derive(Debug)]
struct Inner<E> {
    lease: Lease,
    slot: Slot,
    epoch: Arc<Epoch>,
    settle: mpsc::Sender<Ended<E>>,
}

impl<E> Held<E> {
    pub(crate) fn new(
        lease: Lease,
        slot: Slot,
        epoch: Arc<Epoch>,
        settle: mpsc::Sender<Ended<E>>,
    ) -> Self {
        Self {
            inner: Some(Inner {
                lease,
                slot,
                epoch,
                settle,
            }),
            is_started: false,
        }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.parts().lease
    }

    pub(crate) fn epoch(&self) -> &Arc<Epoch> {
        &self.parts().epoch
    }

    /// Whether a half-done attempt must never be repeated unasked.
    pub(crate) fn is_careful(&self) -> bool {
        self.parts().slot.slots.limits.is_careful
    }

    fn parts(&self) -> &Inner<E> {
        self.inner
            .as_ref()
            .expect("only finishing takes the lease, and it consumes the guard")
    }

    /// Notes that the handler runs: from here on an unreported end is a failed attempt.
    pub(crate) fn start(&mut self) {
        self.is_started = true;
    }

    /// Hands the handler's answer to the settler.
    pub(crate) fn finish(mut self, outcome: Outcome<E>) {
        self.report(outcome, false);
    }

    /// Ends the attempt in the engine's name.
    pub(crate) fn end(mut self, ending: Ending) {
        self.report(Outcome::new(ending), true);
    }

    fn report(&mut self, outcome: Outcome<E>, is_by_engine: bool) {
        let Some(Inner {
            lease,
            slot,
            epoch,
            settle,
        }) = self.inner.take()
        else {
            return;
        };
        let ended = Ended {
            lease,
            outcome,
            is_by_engine,
            refusals: 0,
            _kept: (slot, epoch),
        };
        // The channel holds as many outcomes as there are slots, so it is never full. It is closed
        // only when the settler is gone; then the row stays ours until a peer takes over.
        if let Err(refused) = settle.try_send(ended) {
            let job_id = refused.into_inner().lease.job_id;
            error!(job.id = %job_id, "outcome could not be handed to the settler");
        }
    }
}

impl<E> Drop for Held<E> {
    fn drop(&mut self) {
        if self.inner.is_none() {
            return;
        }
        let ending = if self.is_started {
            Ending::Retry {
                after: None,
                error: "the attempt was dropped before it ended".into(),
            }
        } else {
            Ending::GiveBack
        };
        self.report(Outcome::new(ending), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(limits: Limits, held: usize) -> Slots {
        let slots = Slots::new(limits, Arc::default(), Arc::default());
        slots.held.store(held, Ordering::Release);
        slots
    }

    #[test]
    fn a_queue_that_computes_is_claimed_for_once_it_is_worth_it() {
        let many = Limits::new(256, 4000);
        assert!(slots(many, 2056).are_open());
        assert!(!slots(many, 2057).are_open());

        let few = Limits::new(4, 8);
        assert!(slots(few, 6).are_open());
        assert!(!slots(few, 7).are_open());
        assert!(slots(Limits::new(1, 1), 0).are_open());
    }

    #[test]
    fn a_sender_that_is_free_is_not_kept_waiting_for_others() {
        let senders = Limits::new(256, 0).shared();

        assert!(slots(senders, 255).are_open());
        assert!(!slots(senders, 256).are_open());
    }
}

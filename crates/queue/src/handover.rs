//! Handover: from a lease to the dispatcher of its kind, and follow-up jobs that never wait.
//!
//! The claimer hands over what it has claimed. The settler hands over what it has just inserted: a
//! follow-up job this node can work on is inserted as running, and starts right after the commit.
//! It is as durable as any other: if the process dies, its epoch is taken over with all it holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::Clock;
use crate::epoch::Epoch;
use crate::job::NewJob;
use crate::lease::{Ended, Held, Lease, Slot, Slots};
use crate::outcome::Ending;

/// How long a job of a kind this binary does not know waits: a newer node may take it.
const UNKNOWN_KIND_PAUSE: Duration = Duration::from_secs(10);

/// Where the jobs of one (queue, kind) go.
pub(crate) type Entry<E> = mpsc::Sender<Vec<Held<E>>>;

/// The dispatchers and slots of one node.
#[derive(Debug)]
pub(crate) struct Handover<E> {
    pub(crate) slots: HashMap<String, Arc<Slots>>,
    /// By queue, then kind.
    pub(crate) entries: HashMap<String, HashMap<&'static str, Entry<E>>>,
    pub(crate) settle: mpsc::Sender<Ended<E>>,
    pub(crate) clock: Clock,
}

impl<E> Handover<E> {
    /// Gives claimed jobs to the dispatchers of their kinds.
    pub(crate) fn claimed(&self, leases: Vec<Lease>, epoch: &Arc<Epoch>) {
        let held = leases.into_iter().filter_map(|lease| {
            let slot = self.slots.get(&lease.queue)?.take(lease.lane);
            Some(self.hold(lease, slot, epoch))
        });
        self.dispatch(held.collect());
    }

    /// A slot for a follow-up job, if this node works on its kind and has one left.
    pub(crate) fn reserve(&self, job: &NewJob) -> Option<Slot> {
        if job.run_at.is_some() || job.unique_key.is_some() {
            return None;
        }
        self.entries.get(&job.queue)?.get(job.kind.as_str())?;
        let slots = self.slots.get(&job.queue)?;
        slots
            .keepable()
            .admits(job.lane)
            .then(|| slots.take(job.lane))
    }

    /// Gives jobs that were inserted as running to the dispatchers of their kinds.
    pub(crate) fn kept(&self, kept: Vec<(&NewJob, Slot)>, epoch: &Arc<Epoch>) {
        let held = kept
            .into_iter()
            .map(|(job, slot)| self.hold(Lease::of_kept(job, epoch.id), slot, epoch));
        self.dispatch(held.collect());
    }

    /// Ends a job that never reaches a handler.
    pub(crate) fn end(&self, lease: Lease, epoch: &Arc<Epoch>, ending: Ending) {
        // Any slot will do: the job only passes through the settler.
        let slots = self.slots.get(&lease.queue).or(self.slots.values().next());
        if let Some(slots) = slots {
            let slot = slots.take(lease.lane);
            self.hold(lease, slot, epoch).end(ending);
        }
    }

    fn hold(&self, lease: Lease, slot: Slot, epoch: &Arc<Epoch>) -> Held<E> {
        Held::new(lease, slot, Arc::clone(epoch), self.settle.clone())
    }

    fn dispatch(&self, held: Vec<Held<E>>) {
        let mut batches: HashMap<(String, String), Vec<Held<E>>> = HashMap::new();
        for held in held {
            let key = (held.lease().queue.clone(), held.lease().kind.clone());
            batches.entry(key).or_default().push(held);
        }
        for ((queue, kind), batch) in batches {
            let entry = self
                .entries
                .get(&queue)
                .and_then(|kinds| kinds.get(kind.as_str()));
            let Some(entry) = entry else {
                warn!(
                    job.kind = kind,
                    queue.name = queue,
                    "no worker here knows this kind"
                );
                let until = self.clock.now() + UNKNOWN_KIND_PAUSE;
                for held in batch {
                    held.end(Ending::Snooze { until });
                }
                continue;
            };
            // Dropping the leases gives the jobs back: when the node stops and the channel is closed,
            // or when it is full, which takes more than 4096 slots, each of them a batch.
            drop(entry.try_send(batch));
        }
    }
}

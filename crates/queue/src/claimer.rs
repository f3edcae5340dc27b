//! The claim loop: one task per process claims for all its queues.
//!
//! Capacity is reserved before claiming, so a full queue never blocks the others, and a job is
//! claimed only where it can be held. Wake-ups only shorten the wait; polling, with jitter and
//! growing pauses, is the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::allot::{Share, Turns};
use crate::chance::Chance;
use crate::claim::{claim, claim_suspects, has_suspects, look_ahead};
use crate::clock::Clock;
use crate::config::QueueConfig;
use crate::database::EnginePool;
use crate::epoch::{Epoch, Epochs};
use crate::fault::describe;
use crate::handover::Handover;
use crate::lease::{Lease, Slots};
use crate::metrics::Metrics;
use crate::outcome::Ending;
use crate::room::Room;

/// Least time between two claims that were not full: lets a burst become one claim.
const SPACING: Duration = Duration::from_millis(2);

/// Pause between looks for jobs that saw two workers die.
const SUSPECTS_EVERY: Duration = Duration::from_secs(1);

/// Claims, and hands over to the dispatchers.
pub(crate) struct Claimer<E> {
    pub(crate) pool: EnginePool,
    pub(crate) config: QueueConfig,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) epochs: Arc<Epochs>,
    /// The settler has a weak one: it ends with the claims.
    pub(crate) handover: Arc<Handover<E>>,
    pub(crate) held: Arc<AtomicUsize>,
    /// Rung by this process.
    pub(crate) wake: Arc<Notify>,
    /// A slot became free.
    pub(crate) freed: Arc<Notify>,
    /// Rung by other processes.
    pub(crate) heard: Option<broadcast::Receiver<Arc<str>>>,
    pub(crate) doomed: mpsc::Receiver<Vec<Lease>>,
    /// A job that saw two workers die runs alone until nothing is held.
    pub(crate) is_quarantined: bool,
    pub(crate) metrics: Metrics,
}

/// What one look brought.
enum Cycle {
    /// As much as was asked for: there is more.
    Full,
    /// Some jobs, or room for none.
    Part { short_of: Shortage },
    /// Nothing due that may be taken; the next job in so many seconds, if any waits.
    Nothing {
        next_due_seconds: Option<f64>,
        short_of: Shortage,
    },
}

/// What a look could not take for want of slots.
enum Shortage {
    /// Nothing.
    Nothing,
    /// What waits in these queues.
    Queues(Vec<Arc<Slots>>),
    /// Jobs of lanes that hold their part of the slots already, or that are to run apart.
    Lanes,
}

impl<E: Send + Sync + 'static> Claimer<E> {
    /// Claims until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut turns = Turns::default();
        let mut idle = self.config.poll_min;
        let mut suspects_at = Instant::now();
        loop {
            self.bury_doomed();
            let (pause, short_of) = match self.look(&mut turns, &mut suspects_at).await {
                Ok(Cycle::Full) => {
                    if stop.is_cancelled() {
                        return;
                    }
                    continue;
                }
                Ok(Cycle::Part { short_of }) => {
                    idle = self.config.poll_min;
                    (idle, short_of)
                }
                Ok(Cycle::Nothing {
                    next_due_seconds,
                    short_of,
                }) => {
                    idle = (idle * 2).min(self.config.poll_max);
                    let jittered = idle.mul_f64(0.75 + self.chance.next() / 4.0);
                    let due = next_due_seconds.map_or(jittered, Duration::from_secs_f64);
                    (jittered.min(due), short_of)
                }
                Err(error) => {
                    warn!(error = describe(&error), "claim failed");
                    idle = self.config.poll_max;
                    (idle, Shortage::Nothing)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wait(pause, short_of) => {}
            }
        }
    }

    /// Waits for the poll interval, a wake-up, or, where slots were short, for enough of them.
    async fn wait(&mut self, pause: Duration, short_of: Shortage) {
        tokio::time::sleep(SPACING.min(pause)).await;
        let heard = async {
            match self.heard.as_mut() {
                // Lagged or closed: look, or leave it to polling.
                Some(heard) => match heard.recv().await {
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let freed = async {
            match &short_of {
                Shortage::Nothing => std::future::pending().await,
                Shortage::Lanes => self.freed.notified().await,
                Shortage::Queues(short) => {
                    while !short.iter().any(|slots| slots.are_open()) {
                        self.freed.notified().await;
                    }
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.wake.notified() => {}
            () = heard => {}
            () = freed => {}
        }
    }

    /// One cycle under the current epoch, if there is one that may claim.
    async fn look(
        &mut self,
        turns: &mut Turns,
        suspects_at: &mut Instant,
    ) -> Result<Cycle, sqlx::Error> {
        let Some(epoch) = self.epochs.claimable() else {
            return Ok(Cycle::Nothing {
                next_due_seconds: None,
                short_of: Shortage::Nothing,
            });
        };
        if self.is_quarantined && self.held.load(Ordering::Acquire) > 0 {
            return Ok(Cycle::Part {
                short_of: Shortage::Lanes,
            });
        }
        self.is_quarantined = false;
        let patience = self.config.lease_ttl;
        let cycle = self.cycle(&epoch, turns, suspects_at);
        let Ok(cycle) = timeout(patience, cycle).await else {
            // The connection is dead and does not know it; whether it carried a claim is unknown.
            epoch.abandon();
            return Err(sqlx::Error::PoolTimedOut);
        };
        cycle
    }

    async fn cycle(
        &mut self,
        epoch: &Arc<Epoch>,
        turns: &mut Turns,
        suspects_at: &mut Instant,
    ) -> Result<Cycle, sqlx::Error> {
        let (open, short): (Vec<_>, Vec<_>) = self
            .handover
            .slots
            .iter()
            .partition(|(_, slots)| slots.are_open());
        let queues: Vec<String> = open.into_iter().map(|(queue, _)| queue.clone()).collect();
        let short: Vec<_> = short
            .into_iter()
            .map(|(_, slots)| Arc::clone(slots))
            .collect();
        let short_of = if short.is_empty() {
            Shortage::Nothing
        } else {
            Shortage::Queues(short)
        };
        if queues.is_empty() {
            return Ok(Cycle::Part { short_of });
        }
        if suspects_at.elapsed() >= SUSPECTS_EVERY {
            *suspects_at = Instant::now();
            if self.quarantine(epoch).await? {
                *suspects_at = Instant::now()
                    .checked_sub(SUSPECTS_EVERY)
                    .unwrap_or(*suspects_at);
                return Ok(Cycle::Part {
                    short_of: Shortage::Lanes,
                });
            }
        }
        // A plain claim does not wait for the disk: if a Postgres crash loses it, nothing was sent
        // that a second attempt could not send again.
        let mut tx = self.pool.begin_quick().await?;
        let prospect = look_ahead(&mut tx, &queues, self.clock.fixed()).await?;
        if prospect.waiting.is_empty() {
            let next_due_seconds = prospect.next_due_seconds;
            tx.rollback().await?;
            return Ok(Cycle::Nothing {
                next_due_seconds,
                short_of,
            });
        }
        let room = |queue: &str| {
            let slots = self.handover.slots.get(queue);
            slots.map_or_else(|| Room::open(0), |slots| slots.claimable())
        };
        let shares = turns.allot(&prospect.waiting, room, self.config.claim_batch);
        if shares.is_empty() {
            tx.rollback().await?;
            return Ok(Cycle::Nothing {
                next_due_seconds: prospect.next_due_seconds,
                short_of: Shortage::Lanes,
            });
        }
        let asked: u32 = shares.iter().map(|share| share.jobs).sum();
        let (careful, plain): (Vec<Share>, Vec<Share>) = shares
            .into_iter()
            .partition(|share| self.handover.slots[&share.waiting.queue].limits.is_careful);
        let claimed = self.take(tx, &plain, epoch).await?;
        let carefully_claimed = if careful.is_empty() {
            0
        } else {
            self.take(self.pool.begin().await?, &careful, epoch).await?
        };
        let claimed = claimed + carefully_claimed;
        Ok(if claimed > 0 && claimed as u32 >= asked / 2 {
            Cycle::Full
        } else {
            Cycle::Part { short_of }
        })
    }

    /// Claims `shares` in `tx`, commits, and hands the jobs over.
    async fn take(
        &self,
        mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
        shares: &[Share],
        epoch: &Arc<Epoch>,
    ) -> Result<usize, sqlx::Error> {
        if shares.is_empty() {
            tx.rollback().await?;
            return Ok(0);
        }
        let leases = claim(&mut tx, shares, epoch.id, self.clock.fixed()).await?;
        commit(tx, epoch).await?;
        let count = leases.len();
        self.metrics.claimed(&leases);
        self.handover.claimed(leases, epoch);
        Ok(count)
    }

    /// Where jobs wait that saw two workers die: stops claiming until nothing else is held, then
    /// runs one of them alone. Answers whether the loop should hold still.
    async fn quarantine(&mut self, epoch: &Arc<Epoch>) -> Result<bool, sqlx::Error> {
        let queues: Vec<String> = self.handover.slots.keys().cloned().collect();
        let now = self.clock.fixed();
        let mut tx = self.pool.begin().await?;
        if !has_suspects(&mut tx, &queues, now).await? {
            return Ok(false);
        }
        if self.held.load(Ordering::Acquire) > 0 {
            return Ok(true);
        }
        let leases = claim_suspects(&mut tx, &queues, epoch.id, now).await?;
        commit(tx, epoch).await?;
        if leases.is_empty() {
            return Ok(false);
        }
        info!(
            jobs = leases.len(),
            "jobs that saw workers die are run apart"
        );
        self.is_quarantined = true;
        self.handover.claimed(leases, epoch);
        Ok(true)
    }

    /// Jobs taken over for the last time: buried through the settler, which asks the domain what
    /// that means.
    fn bury_doomed(&mut self) {
        while let Some(epoch) = self.epochs.claimable()
            && let Ok(leases) = self.doomed.try_recv()
        {
            for lease in leases {
                let error = format!("{} workers died while they held the job", lease.crashes);
                let reason = "crash_loop".to_owned();
                self.handover
                    .end(lease, &epoch, Ending::Bury { reason, error });
            }
        }
    }
}

/// Commits a claim. If the answer is lost, jobs may be running under `epoch` that nobody runs.
async fn commit(
    tx: sqlx::Transaction<'_, sqlx::Postgres>,
    epoch: &Epoch,
) -> Result<(), sqlx::Error> {
    tx.commit().await.inspect_err(|_| epoch.abandon())
}

//! The settler: one transaction for many outcomes.
//!
//! It gathers outcomes and commits endings, effects and follow-up jobs together, so that nothing is
//! half done and a job costs a hundredth of a commit instead of four. The endings come first: they
//! are the fence, and only what survives it is written (see [`finish`](crate::finish)).
//!
//! A settlement that fails by a passing fault is tried again until it succeeds: the batch is never
//! dropped, and a COMMIT whose answer was lost writes nothing twice, because the rows it ended are
//! no longer at their fence. Any other error is bisected, and the one job the database refuses is
//! buried alone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::bell::{Bell, JOBS_AVAILABLE};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::QueueConfig;
use crate::database::EnginePool;
use crate::effects::Effects;
use crate::enqueue::{enqueue, enqueue_running};
use crate::epoch::{Epoch, Epochs};
use crate::fault::{SettlementFault, describe, storable};
use crate::finish::{Due, Exit, write_exits};
use crate::handover::Handover;
use crate::job::NewJob;
use crate::lease::{Ended, Lease, Slot};
use crate::metrics::Metrics;
use crate::outcome::{Ending, Outcome};

/// Pauses between tries of a settlement the database could not take: doubling up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Refusals after which a job is left alone: its effects, what its burial means, the bare burial,
/// and putting it back.
const REFUSALS_MAX: u8 = 4;

/// How long a job waits that cannot be settled at all, not even buried.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);

/// Below this many outcomes a settlement waits a little for more, if more are out.
const WORTHWHILE: usize = 64;

/// What the settlements of one node share.
pub(crate) struct Settler<X: Effects> {
    pub(crate) pool: EnginePool,
    pub(crate) effects: Arc<X>,
    pub(crate) config: QueueConfig,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) bell: Bell,
    pub(crate) metrics: Metrics,
    /// Jobs held by this node, all queues.
    pub(crate) held: Arc<AtomicUsize>,
    pub(crate) epochs: Arc<Epochs>,
    /// Gone once the node stops claiming: then nothing is kept any more.
    pub(crate) handover: Weak<Handover<X::Effect>>,
}

/// An ended attempt with every choice made, so that trying again writes the same.
struct Settled<E> {
    ended: Ended<E>,
    exit: Exit,
}

/// Follow-up jobs of one settlement.
struct Next<'a, E> {
    keeper: Option<(Arc<Handover<E>>, Arc<Epoch>)>,
    /// Inserted as running here.
    kept: Vec<(&'a NewJob, Slot)>,
    /// For whoever claims them.
    waiting: Vec<&'a NewJob>,
}

impl<E> Default for Next<'_, E> {
    fn default() -> Self {
        Self {
            keeper: None,
            kept: Vec::new(),
            waiting: Vec::new(),
        }
    }
}

impl<E> Next<'_, E> {
    /// Commits. If the answer is lost, so is what was kept: the rows may be running under an epoch
    /// in which nobody runs them, which is therefore abandoned.
    async fn commit(&self, tx: Transaction<'static, Postgres>) -> Result<(), sqlx::Error> {
        let epoch = self.keeper.as_ref().filter(|_| !self.kept.is_empty());
        let doubt = Doubt(epoch.map(|(_, epoch)| Arc::clone(epoch)));
        tx.commit().await?;
        doubt.resolve();
        Ok(())
    }

    /// Starts what was kept and wakes others for the rest.
    fn start<X: Effects<Effect = E>>(self, settler: &Settler<X>) {
        if let Some((handover, epoch)) = self.keeper
            && !self.kept.is_empty()
        {
            settler
                .metrics
                .kept(self.kept.iter().map(|(job, _)| job.queue.as_str()));
            handover.kept(self.kept, &epoch);
        }
        let queues: HashSet<&str> = self.waiting.iter().map(|job| job.queue.as_str()).collect();
        for queue in queues {
            settler.bell.ring(JOBS_AVAILABLE, queue);
        }
    }
}

/// Abandons an epoch unless it is resolved, whether the commit failed, hung or was dropped.
struct Doubt(Option<Arc<Epoch>>);

impl Doubt {
    fn resolve(mut self) {
        self.0 = None;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some(epoch) = &self.0 {
            epoch.abandon();
        }
    }
}

impl<X: Effects> Settler<X> {
    /// Settles until the last sender is gone.
    pub(crate) async fn run(self, mut outcomes: mpsc::Receiver<Ended<X::Effect>>) {
        let settler = Arc::new(self);
        let permits = Arc::new(Semaphore::new(settler.config.settlers));
        let under_way = Arc::new(AtomicUsize::new(0));
        let tracker = TaskTracker::new();
        loop {
            // The permit comes first: while all settlements are busy, outcomes gather by
            // themselves, and no time is spent waiting that the disk does not ask for.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let mut batch = Vec::with_capacity(settler.config.settle_batch);
            if settler.gather(&mut outcomes, &under_way, &mut batch).await == 0 {
                break;
            }
            let settler = Arc::clone(&settler);
            let count = batch.len();
            under_way.fetch_add(count, Ordering::AcqRel);
            let under_way = Arc::clone(&under_way);
            tracker.spawn(async move {
                settler.settle(batch).await;
                under_way.fetch_sub(count, Ordering::AcqRel);
                drop(permit);
            });
        }
        tracker.close();
        tracker.wait().await;
    }

    /// Takes what is there, and waits a moment for more while other jobs are still out.
    async fn gather(
        &self,
        outcomes: &mut mpsc::Receiver<Ended<X::Effect>>,
        under_way: &AtomicUsize,
        batch: &mut Vec<Ended<X::Effect>>,
    ) -> usize {
        let most = self.config.settle_batch;
        if outcomes.recv_many(batch, most).await == 0 {
            return 0;
        }
        let deadline = Instant::now() + self.config.settle_wait;
        while batch.len() < most.min(WORTHWHILE) {
            let out = self.held.load(Ordering::Acquire);
            let known = batch.len() + under_way.load(Ordering::Acquire);
            if out <= known {
                break;
            }
            let room = most - batch.len();
            match timeout_at(deadline, outcomes.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        batch.len()
    }

    /// Commits a batch, whatever it takes.
    async fn settle(&self, batch: Vec<Ended<X::Effect>>) {
        let mut groups = vec![
            batch
                .into_iter()
                .map(|ended| self.decide(ended))
                .collect::<Vec<_>>(),
        ];
        let mut pause = Duration::from_millis(20);
        while let Some(mut group) = groups.pop() {
            match self.attempt(&group).await {
                Ok(()) => pause = Duration::from_millis(20),
                Err(SettlementFault::NotBegun(sqlx::Error::PoolClosed)) => {
                    error!(
                        jobs = group.len(),
                        "settlement given up, the pool is closed"
                    );
                }
                Err(fault)
                    if fault.is_passing() && !(fault.may_be_its_size() && group.len() > 1) =>
                {
                    warn!(
                        error = describe(&fault),
                        jobs = group.len(),
                        "settlement postponed"
                    );
                    self.metrics.settlement_retried();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    groups.push(group);
                }
                Err(fault) if group.len() > 1 => {
                    warn!(
                        error = describe(&fault),
                        jobs = group.len(),
                        "settlement bisected"
                    );
                    let half = group.split_off(group.len() / 2);
                    groups.push(half);
                    groups.push(group);
                }
                Err(fault) => {
                    let settled = group.pop();
                    let refused = settled.and_then(|one| self.refuse(one, &describe(&fault)));
                    groups.extend(refused.map(|settled| vec![settled]));
                }
            }
        }
    }

    /// Turns the ending of an attempt into what becomes of its row.
    fn decide(&self, mut ended: Ended<X::Effect>) -> Settled<X::Effect> {
        let lease = &ended.lease;
        let exit = match std::mem::replace(&mut ended.outcome.ending, Ending::Complete) {
            Ending::Complete | Ending::Cancel => Exit::Delete,
            Ending::Snooze { until } => Exit::Return {
                due: Due::At(until),
                is_charged: false,
                error: None,
            },
            Ending::GiveBack => Exit::Return {
                due: Due::After(Duration::ZERO),
                is_charged: false,
                error: None,
            },
            Ending::Retry { error, .. } if lease.info().is_last() => {
                ended.is_by_engine = true;
                Exit::Bury {
                    reason: "attempts_exhausted".to_owned(),
                    error: storable(&error),
                }
            }
            Ending::Retry { after, error } => {
                let failures = lease.info().failures + 1;
                let chance = self.chance.next();
                let delay = after.unwrap_or_else(|| self.config.backoff.delay(failures, chance));
                Exit::Return {
                    due: Due::After(delay),
                    is_charged: true,
                    error: Some(storable(&error)),
                }
            }
            Ending::Bury { reason, error } => Exit::Bury {
                reason,
                error: storable(&error),
            },
        };
        if let (Exit::Bury { error, .. }, true) = (&exit, ended.is_by_engine) {
            let effects = self.effects.on_bury(&ended.lease, error);
            ended.outcome.effects.extend(effects);
        }
        Settled { ended, exit }
    }

    /// The database will never take this outcome: bury the job with that error instead. If even
    /// that is refused, without effects; if that is, put it back for later. `None` once nothing is
    /// left to try: the row stays as it is until this epoch ends.
    fn refuse(&self, mut settled: Settled<X::Effect>, error: &str) -> Option<Settled<X::Effect>> {
        let ended = &mut settled.ended;
        error!(job.id = %ended.lease.job_id, job.kind = ended.lease.kind, error,
            "settlement refused");
        ended.refusals += 1;
        ended.outcome = Outcome::completed();
        if ended.refusals == 1 {
            ended.outcome.effects = self.effects.on_bury(&ended.lease, error);
        }
        let error = storable(error);
        settled.exit = match ended.refusals {
            REFUSALS_MAX.. => return None,
            3 => Exit::Return {
                due: Due::After(REFUSED_PAUSE),
                is_charged: false,
                error: Some(error),
            },
            _ => Exit::Bury {
                reason: "refused".to_owned(),
                error,
            },
        };
        Some(settled)
    }

    /// Inserts follow-up jobs: those this node has room for as its own, the others for anybody.
    async fn enqueue_next<'a>(
        &self,
        db: &mut PgConnection,
        jobs: Vec<&'a NewJob>,
    ) -> Result<Next<'a, X::Effect>, sqlx::Error> {
        let mut next = Next::default();
        if jobs.is_empty() {
            return Ok(next);
        }
        let now = self.clock.fixed();
        next.keeper = self.handover.upgrade().zip(self.epochs.claimable());
        for job in jobs {
            let keeper = next.keeper.as_ref();
            match keeper.and_then(|(handover, _)| handover.reserve(job)) {
                Some(slot) => next.kept.push((job, slot)),
                None => next.waiting.push(job),
            }
        }
        if !next.waiting.is_empty() {
            enqueue(&mut *db, next.waiting.iter().copied(), now)
                .await
                .map_err(|refused| refused.source)?;
        }
        if let (Some((_, epoch)), false) = (&next.keeper, next.kept.is_empty()) {
            let jobs: Vec<&NewJob> = next.kept.iter().map(|(job, _)| *job).collect();
            let running = enqueue_running(db, &jobs, epoch.id, now).await?;
            next.kept.retain(|(job, _)| running.contains(&job.job_id));
        }
        Ok(next)
    }

    /// Tries to commit once. Getting a connection and the transaction each have a lease's time: one
    /// that hangs longer is on a connection that is dead and does not know it.
    async fn attempt(&self, group: &[Settled<X::Effect>]) -> Result<(), SettlementFault> {
        let patience = self.config.lease_ttl;
        let tx = timeout(patience, self.pool.begin())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(SettlementFault::NotBegun)?;
        timeout(patience, self.commit(tx, group))
            .await
            .map_err(|_elapsed| SettlementFault::Hung)?
            .map_err(SettlementFault::Failed)
    }

    /// One transaction: endings, effects of the survivors, follow-up jobs of the survivors.
    async fn commit(
        &self,
        mut tx: Transaction<'static, Postgres>,
        group: &[Settled<X::Effect>],
    ) -> Result<(), sqlx::Error> {
        let started = Instant::now();
        let now = self.clock.fixed();
        let exits: Vec<(&Lease, &Exit)> = group
            .iter()
            .map(|settled| (&settled.ended.lease, &settled.exit))
            .collect();
        let survivors = write_exits(&mut tx, &exits, now).await?;
        let mut effects = Vec::new();
        let mut jobs = Vec::new();
        let mut lost = 0_usize;
        for settled in group {
            if survivors.contains(&settled.ended.lease.job_id) {
                effects.extend(&settled.ended.outcome.effects);
                jobs.extend(&settled.ended.outcome.jobs);
            } else {
                lost += 1;
            }
        }
        let applied = if effects.is_empty() {
            X::Applied::default()
        } else {
            self.effects.apply(&mut tx, &effects).await?
        };
        let follow_ups = self.effects.follow_ups(&applied);
        jobs.extend(&follow_ups);
        let next = self.enqueue_next(&mut tx, jobs).await?;
        next.commit(tx).await?;

        self.effects.committed(applied);
        next.start(self);
        if lost > 0 {
            warn!(jobs = lost, "outcomes discarded, their leases were lost");
        }
        self.metrics.settled(group.len(), lost, started.elapsed());
        for settled in group {
            if survivors.contains(&settled.ended.lease.job_id) {
                self.metrics.finished(&settled.ended.lease, &settled.exit);
            }
        }
        Ok(())
    }
}

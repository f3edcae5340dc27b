//! The pulse: one task that keeps this process's epochs alive and watches those of its peers.
//!
//! It owns one direct connection: the session whose advisory lock says that the process lives.
//! Behind a transaction pooler it borrows connections instead, and leases alone decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::bell::{Bell, JOBS_AVAILABLE};
use crate::clock::{Clock, uuid_at};
use crate::config::QueueConfig;
use crate::database::{Database, EnginePool};
use crate::epoch::{Epoch, Epochs, beat, lock, register, retire};
use crate::fault::describe;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::takeover::{Observer, Takeover, orphans, sight, take_back, take_over};

/// A step on the session that takes longer than this means that the session is lost.
const STEP: Duration = Duration::from_secs(5);

/// Everything the pulse needs.
pub(crate) struct Pulse {
    pub(crate) pool: EnginePool,
    pub(crate) database: Database,
    pub(crate) config: QueueConfig,
    pub(crate) clock: Clock,
    pub(crate) queues: Vec<String>,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) bell: Bell,
    pub(crate) metrics: Metrics,
    /// Jobs to bury: they have crashed too often.
    pub(crate) doomed: mpsc::Sender<Vec<Lease>>,
}

/// What one observer has seen on one connection.
#[derive(Default)]
struct Watch {
    observer: Observer,
    swept: Option<Instant>,
    /// Orphaned epochs and when they were first seen.
    orphaned: HashMap<Uuid, Instant>,
}

impl Pulse {
    /// Beats until `stop`; then removes the rows of this process.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let pulse = Arc::new(self);
        let guard = {
            let pulse = Arc::clone(&pulse);
            let stop = stop.clone();
            // In a task of its own: a session that hangs must not delay the fence.
            tokio_util::task::AbortOnDropHandle::new(
                tokio_util::task::TaskTracker::new()
                    .spawn(async move { pulse.fence_when_silent(&stop).await }),
            )
        };
        let mut pause = Duration::from_millis(100);
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = pulse.session() => ended,
            };
            let Err(error) = ended;
            warn!(
                error = describe(&error),
                "liveness session lost, starting another"
            );
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
            }
            if pulse.epochs.claimable().is_some() {
                pause = Duration::from_millis(100);
            }
        }
        drop(guard);
        pulse.sign_off().await;
    }

    async fn fence_when_silent(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if self.epochs.fence_if_silent(self.config.fence_after) {
                warn!("no heartbeat for too long, fenced: running jobs are dropped");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Removes our rows, so that no peer has to wait for our silence.
    async fn sign_off(&self) {
        let ids = self.epochs.ids();
        let signed_off = async {
            let mut tx = self.pool.begin().await?;
            retire(&mut tx, &ids).await?;
            tx.commit().await
        };
        match timeout(STEP, signed_off).await {
            Ok(Ok(())) => info!("signed off"),
            Ok(Err(error)) => warn!(error = describe(&error), "could not sign off"),
            Err(_) => warn!("could not sign off in time"),
        }
    }

    /// One session, from connecting to its loss.
    async fn session(&self) -> Result<std::convert::Infallible, sqlx::Error> {
        let mut watch = Watch::default();
        let mut line = if self.database.is_lease_only {
            Line::Pooled(self.pool.clone())
        } else {
            Line::Direct(Box::new(within(self.database.session()).await?))
        };
        within(self.begin(&mut line)).await?;
        loop {
            within(self.step(&mut line, &mut watch)).await?;
            if self.epochs.has_ended() && !self.epochs.is_stopping() {
                // Fenced, taken over or abandoned: a fresh epoch begins with a fresh session.
                return Err(sqlx::Error::WorkerCrashed);
            }
            tokio::time::sleep(self.config.heartbeat).await;
        }
    }

    /// Starts an epoch; older ones whose jobs are still out get their lock back.
    async fn begin(&self, line: &mut Line) -> Result<(), sqlx::Error> {
        let epoch = Arc::new(Epoch::new(uuid_at(self.clock.now())));
        let (node, queues) = (&self.config.node, &self.queues);
        if let Line::Direct(db) = line {
            for older in self.epochs.ids() {
                // Postgres may not have noticed yet that our old session is gone and still hold
                // its lock there; the heartbeat protects the epoch meanwhile.
                lock(db, older).await?;
            }
        }
        let is_locked = matches!(line, Line::Direct(_));
        let mut tx = line.begin().await?;
        register(&mut tx, epoch.id, node, queues, is_locked).await?;
        tx.commit().await?;
        info!(epoch = %epoch.id, node, "epoch begun");
        self.epochs.begin(epoch);
        self.bell.ring(JOBS_AVAILABLE, "");
        Ok(())
    }

    /// One heartbeat, and one look at the peers. What others or other tasks may rely on is
    /// committed before they hear of it.
    async fn step(&self, line: &mut Line, watch: &mut Watch) -> Result<(), sqlx::Error> {
        // Peers count our silence from when the beat is written, which is not before now.
        let sent = Instant::now();
        let mut tx = line.begin().await?;
        let alive = beat(&mut tx, &self.epochs.ids()).await?;
        tx.commit().await?;
        self.epochs.beaten(&alive, sent);
        let finished = self.epochs.take_finished();
        let mut tx = line.begin().await?;
        if !finished.is_empty() {
            retire(&mut tx, &finished).await?;
        }
        let peers = sight(&mut tx, &self.epochs.ids()).await?;
        tx.commit().await?;
        let (silence, ttl) = (self.config.silence, self.config.lease_ttl);
        let now = Instant::now();
        for suspect in watch.observer.observe(&peers, now, silence, ttl) {
            self.take_over_from(line, &suspect).await?;
        }
        if watch
            .swept
            .is_none_or(|swept| swept.elapsed() >= self.config.silence)
        {
            watch.swept = Some(now);
            self.sweep(line, watch).await?;
        }
        Ok(())
    }

    async fn take_over_from(
        &self,
        line: &mut Line,
        suspect: &crate::takeover::Suspect,
    ) -> Result<(), sqlx::Error> {
        let Some(own) = self.epochs.claimable() else {
            return Ok(());
        };
        let mut tx = line.begin().await?;
        let mut taken = take_over(&mut tx, suspect, own.id).await?;
        tx.commit().await?;
        while let Some(takeover) = taken.take() {
            let jobs: u64 = takeover.freed.values().sum();
            warn!(epoch = %suspect.epoch, jobs, "took over from a dead node");
            if takeover.has_more {
                let mut tx = line.begin().await?;
                taken = Some(take_back(&mut tx, suspect.epoch, own.id).await?);
                tx.commit().await?;
            }
            self.announce(takeover).await;
        }
        Ok(())
    }

    /// Takes back jobs that run nowhere: claimed by a statement that was committed after its epoch
    /// had been taken over, or skipped by a takeover because they were locked.
    async fn sweep(&self, line: &mut Line, watch: &mut Watch) -> Result<(), sqlx::Error> {
        let mut tx = line.begin().await?;
        let orphans = orphans(&mut tx).await?;
        tx.commit().await?;
        watch.orphaned.retain(|epoch, _| orphans.contains(epoch));
        for epoch in orphans {
            let first_seen = *watch.orphaned.entry(epoch).or_insert_with(Instant::now);
            // A living owner notices within a heartbeat that its row is gone and fences itself.
            if first_seen.elapsed() < self.config.silence {
                continue;
            }
            let Some(own) = self.epochs.claimable() else {
                return Ok(());
            };
            let mut tx = line.begin().await?;
            let takeover = take_back(&mut tx, epoch, own.id).await?;
            tx.commit().await?;
            if !takeover.has_more {
                watch.orphaned.remove(&epoch);
            }
            warn!(%epoch, jobs = takeover.freed.values().sum::<u64>(), "orphaned jobs taken back");
            self.announce(takeover).await;
        }
        Ok(())
    }

    async fn announce(&self, takeover: Takeover) {
        for (queue, jobs) in &takeover.freed {
            self.metrics.taken_over(queue, *jobs);
            self.bell.ring(JOBS_AVAILABLE, queue);
        }
        if !takeover.doomed.is_empty() {
            // Closed only at shutdown; then the rows stay with our epoch and a peer buries them.
            drop(self.doomed.send(takeover.doomed).await);
        }
    }
}

/// Where the transactions of the pulse run.
enum Line {
    /// The session whose lock says that the process lives.
    Direct(Box<PgConnection>),
    /// Any session: leases alone decide.
    Pooled(EnginePool),
}

impl Line {
    async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        match self {
            Self::Direct(db) => db.begin().await,
            Self::Pooled(pool) => pool.begin().await,
        }
    }
}

async fn within<T>(step: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(STEP, step)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

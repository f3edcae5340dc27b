//! Epochs: one boot of one process, kept alive by a heartbeat and a session lock.
//!
//! A lost session starts a fresh epoch, because a Postgres crash may have lost asynchronous claims
//! and would hand out their attempt numbers again. Epochs whose jobs are still out go on beating
//! until those are settled, so that nobody takes over what is being worked on.
//!
//! A node that cannot reach Postgres fences itself before peers may take over: it starts nothing
//! more, and what runs is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One boot of one process.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) id: Uuid,
    /// Cancelled when this process may no longer act on what it claimed under this epoch: it was
    /// silent for too long, or a peer has taken over.
    pub(crate) fenced: CancellationToken,
    /// Cancelled when a newer epoch has begun: claims not yet started are given back.
    pub(crate) superseded: CancellationToken,
    /// Set when the process stops: what is dropped now was not the job's fault.
    stopping: AtomicBool,
    /// Until when the last heartbeat counts.
    healthy_until: Mutex<Instant>,
}

impl Epoch {
    pub(crate) fn new(id: Uuid) -> Self {
        Self {
            id,
            fenced: CancellationToken::new(),
            superseded: CancellationToken::new(),
            stopping: AtomicBool::new(false),
            healthy_until: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a claimed job of this epoch may still be started. Without a recent heartbeat it may
    /// not: a peer may be taking over at this moment.
    pub(crate) fn may_start(&self) -> bool {
        let is_healthy = Instant::now() < *self.healthy_until();
        is_healthy && !self.fenced.is_cancelled() && !self.superseded.is_cancelled()
    }

    /// Makes room for a newer epoch, because rows may be running under this one that nobody here
    /// knows of: a claim was sent and its answer lost. Once what is known has ended, the row of
    /// this epoch goes, and the rest is found to be orphaned.
    pub(crate) fn abandon(&self) {
        self.superseded.cancel();
    }

    fn healthy_until(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.healthy_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of its advisory lock: the random half of the id.
    pub(crate) fn lock_key(id: Uuid) -> i64 {
        id.as_u64_pair().1.cast_signed()
    }
}

/// The epochs of this process, oldest first, and when they last beat.
#[derive(Debug)]
pub(crate) struct Epochs {
    inner: Mutex<Inner>,
    current: watch::Sender<Option<Arc<Epoch>>>,
    /// A claim, and the start of a handler, need a heartbeat younger than this.
    healthy_within: Duration,
}

#[derive(Debug)]
struct Inner {
    all: Vec<Arc<Epoch>>,
    beat: Instant,
}

impl Epochs {
    pub(crate) fn new(heartbeat: Duration) -> Self {
        Self {
            inner: Mutex::new(Inner {
                all: Vec::new(),
                beat: Instant::now(),
            }),
            current: watch::Sender::new(None),
            healthy_within: heartbeat * 3,
        }
    }

    /// The epoch to claim under, if its heartbeat is healthy.
    pub(crate) fn claimable(&self) -> Option<Arc<Epoch>> {
        let inner = self.lock();
        let epoch = inner.all.last()?;
        epoch.may_start().then(|| Arc::clone(epoch))
    }

    /// Announces each change of the current epoch.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Epoch>>> {
        self.current.subscribe()
    }

    pub(crate) fn begin(&self, epoch: Arc<Epoch>) {
        let mut inner = self.lock();
        for older in &inner.all {
            older.superseded.cancel();
        }
        inner.all.push(Arc::clone(&epoch));
        inner.beat = Instant::now();
        *epoch.healthy_until() = inner.beat + self.healthy_within;
        drop(inner);
        self.current.send_replace(Some(epoch));
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.lock().all.iter().map(|epoch| epoch.id).collect()
    }

    /// Whether [`stop_starting`](Self::stop_starting) was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock()
            .all
            .last()
            .is_some_and(|epoch| epoch.is_stopping())
    }

    /// The process stops: nothing more is started, what is claimed ahead is given back.
    pub(crate) fn stop_starting(&self) {
        for epoch in &self.lock().all {
            epoch.stopping.store(true, Ordering::Release);
            epoch.superseded.cancel();
        }
    }

    /// The deadline has passed: what still runs is dropped and given back.
    pub(crate) fn drop_running(&self) {
        for epoch in &self.lock().all {
            epoch.fenced.cancel();
        }
    }

    /// Takes note of a heartbeat: those not in `alive` were taken over.
    ///
    /// `sent` is when it was sent, not when it was answered: peers may count from then.
    pub(crate) fn beaten(&self, alive: &[Uuid], sent: Instant) {
        let mut inner = self.lock();
        inner.beat = sent;
        inner.all.retain(|epoch| {
            let is_alive = alive.contains(&epoch.id);
            if is_alive {
                *epoch.healthy_until() = sent + self.healthy_within;
            } else {
                epoch.fenced.cancel();
            }
            is_alive
        });
        let is_gone = inner.all.is_empty();
        drop(inner);
        if is_gone {
            self.current.send_replace(None);
        }
    }

    /// Whether a fresh epoch is needed: the current one is fenced, abandoned, or was taken over. One
    /// that merely has not beaten for a moment goes on with its next heartbeat.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock()
            .all
            .last()
            .is_none_or(|epoch| epoch.fenced.is_cancelled() || epoch.superseded.is_cancelled())
    }

    /// Older epochs that hold nothing any more: their row can go.
    pub(crate) fn take_finished(&self) -> Vec<Uuid> {
        let mut inner = self.lock();
        let Some(current) = inner.all.pop() else {
            return Vec::new();
        };
        let (finished, mut kept): (Vec<_>, Vec<_>) = inner
            .all
            .drain(..)
            .partition(|epoch| Arc::strong_count(epoch) == 1);
        kept.push(current);
        inner.all = kept;
        finished.into_iter().map(|epoch| epoch.id).collect()
    }

    /// Fences every epoch once the last heartbeat is older than `after`.
    pub(crate) fn fence_if_silent(&self, after: Duration) -> bool {
        let mut inner = self.lock();
        if inner.all.is_empty() || inner.beat.elapsed() < after {
            return false;
        }
        for epoch in inner.all.drain(..) {
            epoch.fenced.cancel();
        }
        drop(inner);
        self.current.send_replace(None);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the row of a boot, and takes its lock where the session lasts.
pub(crate) async fn register(
    db: &mut PgConnection,
    id: Uuid,
    node: &str,
    queues: &[String],
    is_locked: bool,
) -> Result<(), sqlx::Error> {
    if is_locked {
        lock(db, id).await?;
    }
    sqlx::query!(
        "insert into queue.workers (epoch, locked, pid, node, queues) values ($1, $2, $3, $4, $5)",
        id,
        is_locked,
        std::process::id().cast_signed(),
        node,
        queues,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the lock of an epoch for this session; `false` if another session still has it.
pub(crate) async fn lock(db: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_lock($1) as "is_locked!""#,
        Epoch::lock_key(id)
    )
    .fetch_one(db)
    .await
}

/// Beats for `ids` and answers which of them still have their row.
pub(crate) async fn beat(db: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update queue.workers set beats = beats + 1, heartbeat_at = now()
         where epoch = any($1) returning epoch",
        ids,
    )
    .fetch_all(db)
    .await
}

/// Removes the rows of epochs that hold nothing any more.
pub(crate) async fn retire(db: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from queue.workers where epoch = any($1)", ids)
        .execute(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(n: u128) -> Arc<Epoch> {
        Arc::new(Epoch::new(Uuid::from_u128(n)))
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_claimed_without_a_recent_heartbeat() {
        let epochs = Epochs::new(Duration::from_millis(500));
        epochs.begin(epoch(1));
        assert!(epochs.claimable().is_some());

        tokio::time::advance(Duration::from_millis(1600)).await;

        assert!(epochs.claimable().is_none());
        epochs.beaten(&[Uuid::from_u128(1)], Instant::now());
        assert!(epochs.claimable().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_fences_itself() {
        let epochs = Epochs::new(Duration::from_millis(500));
        let held = epoch(1);
        epochs.begin(Arc::clone(&held));

        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!epochs.fence_if_silent(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(1)).await;

        assert!(epochs.fence_if_silent(Duration::from_secs(6)));
        assert!(held.fenced.is_cancelled());
        assert!(epochs.claimable().is_none());
    }

    #[test]
    fn an_older_epoch_beats_until_its_jobs_are_settled() {
        let epochs = Epochs::new(Duration::from_millis(500));
        let held = epoch(1);
        epochs.begin(Arc::clone(&held));
        epochs.begin(epoch(2));

        assert!(
            !held.may_start(),
            "claims of an older epoch are not started any more"
        );
        assert!(!held.fenced.is_cancelled(), "but what runs goes on");
        assert!(epochs.take_finished().is_empty());
        drop(held);
        assert_eq!(epochs.take_finished(), [Uuid::from_u128(1)]);
        assert_eq!(epochs.ids(), [Uuid::from_u128(2)]);
    }

    #[test]
    fn an_epoch_that_was_taken_over_is_fenced() {
        let epochs = Epochs::new(Duration::from_millis(500));
        let held = epoch(1);
        epochs.begin(Arc::clone(&held));

        epochs.beaten(&[], Instant::now());

        assert!(held.fenced.is_cancelled());
    }
}

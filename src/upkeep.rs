//! Upkeep: what the tables need from time to time, done by one process at a time.
//!
//! Months are made ahead and dropped behind; expired keys, old entries of feeds, old replays, digests
//! whose notification is gone, old versions of templates, counters of rate limits that count nothing
//! any more, tickets that nobody used and sessions of the console that are over are removed; schedules
//! whose chain broke are begun again; counts are folded into hours. Every step is a short transaction
//! of its own under one advisory lock, so any process may run this, may die in it, and leaves the
//! rest to the next run.
//!
//! A month is dropped only when nothing open leads into it: the ids that open jobs and dead letters
//! name are followed to their notifications and events, all seen at one moment. A later reference
//! can only come from one of those.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::Clock;
use store::retention::{Due, Kept, Month};
use store::{Store, StoreError, Tx};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use workers::Catalog;

/// How often the tables are looked after.
const INTERVAL: Duration = Duration::from_hours(1);

/// The longest month.
const MONTH: TimeDelta = TimeDelta::days(31);

/// For how long things are kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Tables of which months are dropped whole.
    pub months: Vec<Kept>,
    /// Entries of feeds.
    pub inbox: TimeDelta,
    /// Replays that have ended.
    pub replays: TimeDelta,
    /// Counts.
    pub stats: TimeDelta,
    /// Versions of templates that another one followed.
    pub versions: TimeDelta,
}

/// Looks after the tables of one installation.
#[derive(Debug, Clone)]
pub struct Upkeep {
    pub store: Store,
    pub catalog: Catalog,
    pub clock: Clock,
    pub keeping: Keeping,
    /// Nothing begins once this is cancelled.
    pub stopping: CancellationToken,
}

impl Upkeep {
    /// Runs every hour for as long as the process lives.
    pub async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.run_once().await {
                warn!(
                    error = queue::describe(&error),
                    "upkeep of the tables failed"
                );
            }
        }
    }

    /// Does what is due, unless another process is at it.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        store::partitions::ensure(&mut tx, now).await?;
        tx.commit().await?;

        self.prune_keys(now).await?;
        self.prune_feeds(now).await?;
        self.prune_replays(now).await?;
        self.prune_digests(now).await?;
        self.prune_versions(now).await?;
        self.prune_counters(now).await?;
        self.prune_sessions(now).await?;
        self.prune_pulse(now).await?;
        self.prune_tickets(now).await?;
        self.mend_schedules(now).await?;
        self.fold_counts(now).await?;
        self.drop_months(now).await
    }

    /// A transaction for one step; `None` if another process is at work, or this one stops.
    async fn step(&self) -> Result<Option<Tx>, StoreError> {
        if self.stopping.is_cancelled() {
            return Ok(None);
        }
        let mut tx = self.store.begin().await?;
        Ok(store::retention::try_lock(&mut tx).await?.then_some(tx))
    }

    async fn prune_keys(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::keys::prune_expired(&mut tx, now).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_feeds(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(mut tx) = self.step().await? {
            let cutoff = now - self.keeping.inbox;
            let pruned = store::feed_pruning::prune(&mut tx, after.as_ref(), cutoff).await?;
            tx.commit().await?;
            if pruned.is_unfinished {
                continue;
            }
            let Some(next) = pruned.next else { break };
            after = Some(next);
        }
        Ok(())
    }

    async fn prune_replays(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::replays::prune(&mut tx, now - self.keeping.replays).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_counters(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::limits::prune_counters(&mut tx, now).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_sessions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::console::prune_sessions(&mut tx, now).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_pulse(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::pulse::prune(&mut tx, now - store::pulse::KEPT).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_tickets(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let pruned = store::tickets::prune(&mut tx, now).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune_versions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let cutoff = now - self.keeping.versions;
            let pruned = store::templates::prune_versions(&mut tx, cutoff).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn mend_schedules(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Some(mut tx) = self.step().await? else {
            return Ok(());
        };
        workers::mend_schedules(&mut tx, &self.catalog, now).await?;
        tx.commit().await
    }

    /// A digest is kept until the month of its notification is dropped. Before that none is looked
    /// for: most would be there.
    async fn prune_digests(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let notifications = |kept: &&Kept| kept.table == "notifications";
        let Some(kept) = self.keeping.months.iter().find(notifications) else {
            return Ok(());
        };
        while let Some(mut tx) = self.step().await? {
            let pruned = store::digests::prune(&mut tx, now - kept.age - MONTH).await?;
            tx.commit().await?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn fold_counts(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        while let Some(mut tx) = self.step().await? {
            let folded = store::stats::fold(&mut tx, now).await?;
            let pruned = store::stats::prune(&mut tx, now - self.keeping.stats).await?;
            tx.commit().await?;
            if folded + pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn drop_months(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Some(mut tx) = self.step().await? else {
            return Ok(());
        };
        let due = store::retention::due(&mut tx, &self.keeping.months, now).await?;
        tx.commit().await?;
        if due.is_empty() {
            return Ok(());
        }
        let needed = self.needed(&due).await?;
        for due in due.iter().filter(|due| !needed.contains(&due.month)) {
            if !self.drop_month(due).await? {
                let (table, month) = (due.table, due.month.to_string());
                info!(
                    table,
                    month, "a month is in use; it is dropped another time"
                );
            }
        }
        Ok(())
    }

    /// The months among these that open jobs and dead letters lead into.
    async fn needed(&self, due: &[Due]) -> Result<HashSet<Month>, StoreError> {
        let mut over: HashSet<Month> = due.iter().map(|due| due.month).collect();
        let mut needed = HashSet::new();
        let mut tx = self.store.begin().await?;
        store::retention::freeze(&mut tx).await?;
        for is_dead in [true, false] {
            let mut after = None;
            // Once every month is needed, nothing more can be learned.
            while !over.is_empty() {
                let named = if is_dead {
                    queue::inspect::named_by_dead_letters(&mut tx, after).await
                } else {
                    queue::inspect::named_by_jobs(&mut tx, after).await
                };
                let named = named.map_err(|source| StoreError::Database {
                    operation: "see what jobs name",
                    source,
                })?;
                for month in store::retention::months_behind(&mut tx, &named.ids).await? {
                    if over.remove(&month) {
                        needed.insert(month);
                    }
                }
                after = named.next;
                if after.is_none() {
                    break;
                }
            }
        }
        tx.rollback().await?;
        Ok(needed)
    }

    /// False if somebody was using it.
    async fn drop_month(&self, due: &Due) -> Result<bool, StoreError> {
        // Two transactions: the lock on the whole table ends before any file is removed.
        let Some(mut tx) = self.step().await? else {
            return Ok(false);
        };
        if !store::retention::take_off(&mut tx, due).await? {
            return Ok(false);
        }
        tx.commit().await?;
        let Some(mut tx) = self.step().await? else {
            return Ok(false);
        };
        if !store::retention::drop_month(&mut tx, due).await? {
            return Ok(false);
        }
        tx.commit().await?;
        info!(
            table = due.table,
            month = due.month.to_string(),
            "month dropped"
        );
        Ok(true)
    }
}

//! A node: the engine of one process. It claims, keeps itself alive, and settles, for every kind
//! that is registered with it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::backend::JobBackend;
use crate::bell::Bell;
use crate::chance::Chance;
use crate::claimer::Claimer;
use crate::clock::Clock;
use crate::config::{Limits, QueueConfig};
use crate::database::{Database, EnginePool};
use crate::dispatch::dispatch;
use crate::effects::Effects;
use crate::epoch::Epochs;
use crate::handover::{Entry, Handover};
use crate::job::Job;
use crate::lease::Slots;
use crate::metrics::Metrics;
use crate::outcome::Failure;
use crate::pulse::Pulse;
use crate::settle::Settler;

/// Claims handed to a dispatcher that has not taken them yet.
const CLAIMS_MAX: usize = 4096;

/// What a node is made of.
pub struct NodeParts<X: Effects> {
    pub database: Database,
    pub config: QueueConfig,
    pub clock: Clock,
    pub effects: X,
    pub bell: Bell,
    /// Wake-ups of other processes, from [`Listener::subscribe`](crate::Listener::subscribe).
    pub heard: Option<broadcast::Receiver<Arc<str>>>,
    pub metrics: Metrics,
}

/// A node that is being put together. Register every kind, then [`start`](Self::start).
pub struct Node<X: Effects> {
    parts: NodeParts<X>,
    slots: HashMap<String, Arc<Slots>>,
    entries: HashMap<String, HashMap<&'static str, Entry<X::Effect>>>,
    dispatchers: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    held: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

impl<X: Effects> Node<X> {
    pub fn new(parts: NodeParts<X>) -> Self {
        Self {
            parts,
            slots: HashMap::new(),
            entries: HashMap::new(),
            dispatchers: Vec::new(),
            held: Arc::default(),
            freed: Arc::default(),
        }
    }

    /// Registers kind `J` on `queue` and answers the backend for its apalis worker.
    ///
    /// `prepare` loads what a whole claim needs: one `L` per job, in order. The handler extracts it
    /// as `Data<L>`. A queue that has several kinds takes its limits from the first.
    pub fn kind<J, L, P, F>(
        &mut self,
        queue: &str,
        limits: Limits,
        prepare: P,
    ) -> JobBackend<J, X::Effect>
    where
        J: Job,
        L: Clone + Send + Sync + 'static,
        P: Fn(Vec<J>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<L>, Failure>> + Send + 'static,
    {
        let slots = self.slots.entry(queue.to_owned()).or_insert_with(|| {
            Arc::new(Slots::new(
                limits,
                Arc::clone(&self.held),
                Arc::clone(&self.freed),
            ))
        });
        let (claims, claims_out) = mpsc::channel(CLAIMS_MAX);
        let (tasks, tasks_out) = mpsc::channel(slots.limits.held_max());
        self.entries
            .entry(queue.to_owned())
            .or_default()
            .insert(J::KIND, claims);
        self.dispatchers.push(Box::pin(dispatch(
            claims_out,
            tasks,
            prepare,
            self.parts.clock.clone(),
        )));
        self.parts.metrics.expect(queue, J::KIND);
        let run_seconds = self.parts.metrics.run_seconds(queue, J::KIND);
        JobBackend::new(tasks_out, self.parts.config.handler_timeout, run_seconds)
    }

    /// Starts claiming. The apalis workers may be started before or after.
    pub fn start(self) -> RunningNode {
        let Self {
            parts,
            slots,
            entries,
            dispatchers,
            held,
            freed,
        } = self;
        let NodeParts {
            database,
            config,
            clock,
            effects,
            bell,
            heard,
            metrics,
        } = parts;
        let chance = Chance::system();
        let epochs = Arc::new(Epochs::new(config.heartbeat));
        let capacity: usize = slots.values().map(|slots| slots.limits.held_max()).sum();
        // Doomed jobs borrow slots beyond the limits, so there is a little more room than slots.
        let (settle, outcomes) = mpsc::channel(capacity + 65_536);
        let (doomed, doomed_out) = mpsc::channel(64);
        let claiming = database.pool(2);
        let settling = database.pool(config.settlers as u32 + 1);
        let queues: Vec<String> = slots.keys().cloned().collect();

        let handover = Arc::new(Handover {
            slots,
            entries,
            settle,
            clock: clock.clone(),
        });
        let settler = Settler {
            pool: settling.clone(),
            effects: Arc::new(effects),
            config: config.clone(),
            clock: clock.clone(),
            chance: chance.clone(),
            bell: bell.clone(),
            metrics: metrics.clone(),
            held: Arc::clone(&held),
            epochs: Arc::clone(&epochs),
            handover: Arc::downgrade(&handover),
        };
        let pulse = Pulse {
            pool: settling.clone(),
            database,
            config: config.clone(),
            clock: clock.clone(),
            queues,
            epochs: Arc::clone(&epochs),
            bell: bell.clone(),
            metrics: metrics.clone(),
            doomed,
        };
        let claimer = Claimer {
            pool: claiming.clone(),
            config,
            clock,
            chance,
            epochs: Arc::clone(&epochs),
            handover,
            held: Arc::clone(&held),
            wake: bell.local(),
            freed,
            heard,
            doomed: doomed_out,
            is_quarantined: false,
            metrics,
        };
        let running = RunningNode {
            claims: TaskTracker::new(),
            settlement: TaskTracker::new(),
            liveness: TaskTracker::new(),
            stop_claiming: CancellationToken::new(),
            stop_beating: CancellationToken::new(),
            epochs,
            held,
            pools: [claiming, settling],
        };
        running.settlement.spawn(settler.run(outcomes));
        running
            .liveness
            .spawn(pulse.run(running.stop_beating.clone()));
        running
            .claims
            .spawn(claimer.run(running.stop_claiming.clone()));
        for dispatcher in dispatchers {
            running.claims.spawn(dispatcher);
        }
        running
    }
}

/// A node at work.
#[must_use = "a node that is dropped leaves its jobs to a takeover"]
pub struct RunningNode {
    claims: TaskTracker,
    settlement: TaskTracker,
    liveness: TaskTracker,
    stop_claiming: CancellationToken,
    stop_beating: CancellationToken,
    epochs: Arc<Epochs>,
    held: Arc<AtomicUsize>,
    pools: [EnginePool; 2],
}

impl RunningNode {
    /// Jobs held now, from claim to settlement.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Waits until an epoch has begun, which is when jobs can be claimed.
    pub async fn ready(&self) {
        let mut current = self.epochs.watch();
        // An error means that the node is gone; there is nothing to wait for then.
        drop(current.wait_for(Option::is_some).await);
    }

    /// Stops in order: claim nothing more, give back what is not started, let what runs end until
    /// `deadline`, drop and give back the rest uncharged, settle, sign off.
    pub async fn stop(self, deadline: Duration) {
        let by = Instant::now() + deadline;
        self.stop_claiming.cancel();
        self.epochs.stop_starting();
        self.drain(by).await;
        if self.held() > 0 {
            warn!(
                jobs = self.held(),
                "deadline reached, running jobs are given back"
            );
            self.epochs.drop_running();
            self.drain(Instant::now() + Duration::from_secs(2)).await;
        }
        self.claims.close();
        self.settlement.close();
        let wait = async {
            self.claims.wait().await;
            self.settlement.wait().await;
        };
        if tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .is_err()
        {
            warn!(
                jobs = self.held(),
                "not everything could be settled; a peer takes over"
            );
        }
        self.stop_beating.cancel();
        self.liveness.close();
        self.liveness.wait().await;
        for pool in &self.pools {
            pool.close().await;
        }
        info!("node stopped");
    }

    async fn drain(&self, by: Instant) {
        while self.held() > 0 && Instant::now() < by {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

//! The runtime: one apalis worker per kind and queue, over one node of the queue.
//!
//! The only file here that names apalis. Handlers are plain async functions; what they are given is
//! extracted from the task.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Data, Monitor, WorkerBuilder, WorkerBuilderExt};
use queue::{
    Bell, Clock, Database, Failure, LeaseInfo, Limits, Metrics, NoEffects, Node, NodeParts,
    Outcome, QueueConfig, RunningNode,
};
use store::{Effect, Store};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::batch_flush::{self, BatchFlush};
use crate::context::Context;
use crate::deliver::Deliver;
use crate::ledger::Ledger;
use crate::limits::WorkerLimits;
use crate::noop::{Noop, Tally};
use crate::quiet_hours::{self, QuietHours};
use crate::render::{self, Render};
use crate::replay::{Replay, Replayer};
use crate::retry::{self, Retry};
use crate::route::{self, Route};
use crate::schedule::{self, Schedule};
use crate::{at_once, loading, queues, throttle};

/// How long workers may take to notice that there is nothing more to do.
const MONITOR_GRACE: Duration = Duration::from_secs(2);

/// What the workers of one process are made of.
pub struct Parts {
    pub database: Database,
    pub store: Store,
    pub context: Context,
    pub clock: Clock,
    pub bell: Bell,
    /// Wake-ups of other processes about [`queue::JOBS_AVAILABLE`].
    pub heard: Option<broadcast::Receiver<Arc<str>>>,
    pub queue: QueueConfig,
    pub limits: WorkerLimits,
    /// Queues to work on; empty means all.
    pub queues: Vec<String>,
    pub metrics: Metrics,
}

/// Starts the workers of one process.
pub fn start(parts: Parts) -> Running {
    let Parts {
        store,
        mut context,
        limits,
        queues: wanted,
        ..
    } = parts;
    let is_wanted = |queue: &str| wanted.is_empty() || wanted.iter().any(|name| name == queue);
    context.arrives_at_once = at_once::SPARED.into_iter().all(is_wanted);
    let replayer = Replayer::new(&store, &parts.bell, &parts.clock, &parts.metrics);
    let mut node = Node::new(NodeParts {
        database: parts.database,
        config: parts.queue,
        clock: parts.clock.clone(),
        effects: Ledger {
            bell: parts.bell.clone(),
            clock: parts.clock,
            metrics: context.metrics.clone(),
            limits: context.limits,
        },
        bell: parts.bell,
        heard: parts.heard,
        metrics: parts.metrics,
    });
    let mut monitor = Monitor::new();
    for queue in queues::all() {
        if is_wanted(queue) {
            monitor = register(
                monitor,
                &mut node,
                queue,
                limits.of(queue),
                &store,
                &context,
            );
        }
        if is_wanted(queue) && queue == queues::RETRY {
            monitor = register_replay(monitor, &mut node, limits.of(queue), &replayer);
        }
    }
    Running::new(node.start(), monitor)
}

/// Adds a worker to the monitor: kind `$job` on `$queue`, loaded by `$prepare` over a connection or
/// by `$load` as it likes, run by `$handler`.
///
/// A macro, because apalis's bounds on a worker are too long to be worth repeating in a function.
macro_rules! worker {
    ($monitor:expr, $node:expr, $queue:expr, $limits:expr, $store:expr, $context:expr,
     $job:ty, $prepare:path, $handler:path) => {
        worker!(
            $monitor,
            $node,
            $queue,
            $limits,
            $store,
            $context,
            $job,
            |store, cx, jobs| {
                loading::with_connection(&store, async |db| $prepare(db, &cx, &jobs).await)
            },
            $handler
        )
    };
    ($monitor:expr, $node:expr, $queue:expr, $limits:expr, $store:expr, $context:expr,
     $job:ty, |$the_store:ident, $cx:ident, $jobs:ident| $load:expr, $handler:path) => {{
        let store = $store.clone();
        let context = $context.clone();
        let preparing = context.clone();
        let backend = $node.kind::<$job, _, _, _>($queue, $limits, move |$jobs: Vec<$job>| {
            let $the_store = store.clone();
            let $cx = preparing.clone();
            async move { $load.await }
        });
        let name = format!("{}-{}", $queue, <$job as queue::Job>::KIND);
        $monitor.register(move |restarts| {
            // apalis wants a name of its own for every restart.
            WorkerBuilder::new(format!("{name}-{restarts}"))
                .backend(backend.clone())
                .data(context.clone())
                .concurrency($limits.concurrency)
                .build($handler)
        })
    }};
}

/// Every worker, registered in one function.
fn register(
    monitor: Monitor,
    node: &mut Node<Ledger>,
    queue: &str,
    limits: Limits,
    store: &Store,
    context: &Context,
) -> Monitor {
    match queue {
        queues::ROUTE => {
            let monitor = worker!(
                monitor,
                node,
                queue,
                limits,
                store,
                context,
                Schedule,
                schedule::prepare,
                on_schedule
            );
            worker!(
                monitor,
                node,
                queue,
                limits,
                store,
                context,
                Route,
                |store, cx, jobs| at_once::load(&store, &cx, &jobs),
                on_route
            )
        }
        queues::RENDER => worker!(
            monitor,
            node,
            queue,
            limits,
            store,
            context,
            Render,
            render::prepare,
            on_render
        ),
        queues::RETRY => worker!(
            monitor,
            node,
            queue,
            limits,
            store,
            context,
            Retry,
            retry::prepare,
            on_retry
        ),
        queues::QUIET_HOURS => worker!(
            monitor,
            node,
            queue,
            limits,
            store,
            context,
            QuietHours,
            quiet_hours::prepare,
            on_quiet_hours
        ),
        queues::BATCH_FLUSH => worker!(
            monitor,
            node,
            queue,
            limits,
            store,
            context,
            BatchFlush,
            batch_flush::prepare,
            on_batch_flush
        ),
        channel => worker!(
            monitor,
            node,
            channel,
            limits,
            store,
            context,
            Deliver,
            |store, cx, jobs| throttle::load(&store, &cx, &jobs),
            on_deliver
        ),
    }
}

/// Adds the worker of replays, which share the queue of retries and load nothing beforehand.
fn register_replay(
    monitor: Monitor,
    node: &mut Node<Ledger>,
    limits: Limits,
    replayer: &Replayer,
) -> Monitor {
    let backend = node.kind::<Replay, _, _, _>(queues::RETRY, limits, |jobs: Vec<Replay>| {
        let nothing = vec![(); jobs.len()];
        async move { Ok(nothing) }
    });
    let replayer = replayer.clone();
    monitor.register(move |restarts| {
        WorkerBuilder::new(format!("replay-{restarts}"))
            .backend(backend.clone())
            .data(replayer.clone())
            .concurrency(limits.concurrency)
            .build(on_replay)
    })
}

async fn on_replay(job: Replay, replayer: Data<Replayer>) -> Result<Outcome<Effect>, Failure> {
    replayer.run(job).await
}

/// What `prepare` loaded for one job: its row, if there still is one.
type Loaded<R> = Data<Option<Arc<R>>>;

async fn on_route(
    job: Route,
    row: Loaded<route::Loaded>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    route::run(job, row.as_deref(), &context, *lease).await
}

async fn on_render(
    job: Render,
    row: Loaded<render::Loaded>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    render::run(job, row.as_deref(), &context, *lease).await
}

async fn on_deliver(
    job: Deliver,
    row: Loaded<throttle::Admitted>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    throttle::run(job, row.as_deref(), &context, *lease).await
}

async fn on_retry(
    job: Retry,
    row: Loaded<store::prepare::ToDeliver>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    retry::run(job, row.as_deref(), &context, *lease).await
}

async fn on_quiet_hours(
    job: QuietHours,
    row: Loaded<store::prepare::ToDeliver>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    quiet_hours::run(job, row.as_deref(), &context, *lease).await
}

async fn on_schedule(
    job: Schedule,
    rule: Loaded<domain::Rule>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    schedule::run(job, rule.as_deref(), &context, *lease).await
}

async fn on_batch_flush(
    job: BatchFlush,
    row: Loaded<batch_flush::Flush>,
    context: Data<Context>,
    lease: Data<LeaseInfo>,
) -> Result<Outcome<Effect>, Failure> {
    batch_flush::run(job, row.as_deref(), &context, *lease).await
}

/// Starts workers for [`Noop`] jobs on queue `bench`: the whole stack without any work of ours.
pub fn start_noop(
    database: Database,
    config: QueueConfig,
    limits: Limits,
    bell: Bell,
    metrics: Metrics,
    tally: &Arc<Tally>,
) -> Running {
    let clock = Clock::system();
    let mut node = Node::new(NodeParts {
        database,
        config,
        clock: clock.clone(),
        effects: NoEffects,
        bell,
        heard: None,
        metrics,
    });
    let backend = node.kind::<Noop, _, _, _>(Noop::QUEUE, limits, |jobs: Vec<Noop>| {
        let nothing = vec![(); jobs.len()];
        async move { Ok(nothing) }
    });
    let tally = Arc::clone(tally);
    let monitor = Monitor::new().register(move |restarts| {
        WorkerBuilder::new(format!("noop-{restarts}"))
            .backend(backend.clone())
            .data(Arc::clone(&tally))
            .data(clock.clone())
            .concurrency(limits.concurrency)
            .build(on_noop)
    });
    Running::new(node.start(), monitor)
}

async fn on_noop(
    job: Noop,
    tally: Data<Arc<Tally>>,
    clock: Data<Clock>,
) -> Result<Outcome<serde_json::Value>, Failure> {
    Ok(tally.run(&job, clock.now().timestamp_micros()))
}

/// Workers at work.
#[must_use = "workers that are dropped leave their jobs to a takeover"]
pub struct Running {
    node: RunningNode,
    monitor: JoinHandle<()>,
    stop_monitor: CancellationToken,
}

impl Running {
    fn new(node: RunningNode, monitor: Monitor) -> Self {
        let stop_monitor = CancellationToken::new();
        let stopped = stop_monitor.clone().cancelled_owned();
        let monitor = TaskTracker::new().spawn(async move {
            let signal = async move {
                stopped.await;
                Ok(())
            };
            if let Err(error) = monitor.run_with_signal(signal).await {
                warn!(%error, "workers ended with an error");
            }
        });
        Self {
            node,
            monitor,
            stop_monitor,
        }
    }

    /// Waits until jobs can be claimed.
    pub async fn ready(&self) {
        self.node.ready().await;
    }

    /// Jobs held now, from claim to settlement.
    pub fn held(&self) -> usize {
        self.node.held()
    }

    /// Claims nothing more, lets running jobs end until `deadline`, gives the rest back.
    pub async fn stop(self, deadline: Duration) {
        self.node.stop(deadline).await;
        self.stop_monitor.cancel();
        if tokio::time::timeout(MONITOR_GRACE, self.monitor)
            .await
            .is_err()
        {
            warn!("a worker did not end in time");
        }
    }
}

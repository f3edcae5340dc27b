//! Nodes for tests: with a closure as their handler, through a proxy or a pooler, and mortal ones.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Data, Monitor, WorkerBuilder, WorkerBuilderExt};
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use queue::{
    Backoff, Bell, Clock, Database, Failure, LeaseInfo, Limits, Metrics, Node, NodeParts,
    QueueConfig, RunningNode,
};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::kit::{Answer, Ledger, QUEUE, SOON, Work};
use crate::proxy::Proxy;

type Handler =
    Arc<dyn Fn(i64, LeaseInfo) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The handler apalis knows: it passes on to the test's closure.
async fn on_work(job: Work, lease: Data<LeaseInfo>, handler: Data<Handler>) -> Answer {
    (*handler)(job.n, *lease).await
}

/// Short pauses where the real timing is not the subject. A heartbeat may be seconds late on a busy
/// machine without a lease running out.
pub(crate) fn swift() -> QueueConfig {
    QueueConfig {
        poll_min: Duration::from_millis(5),
        poll_max: Duration::from_millis(50),
        heartbeat: Duration::from_millis(150),
        silence: Duration::from_millis(600),
        fence_after: Duration::from_secs(8),
        lease_ttl: Duration::from_secs(12),
        backoff: Backoff {
            base: Duration::from_millis(10),
            factor: 2.0,
            cap: Duration::from_millis(40),
        },
        ..QueueConfig::default()
    }
}

/// What a node is to be.
#[derive(Clone)]
pub(crate) struct NodeSpec {
    url: String,
    is_pooled: bool,
    config: QueueConfig,
    queues: Vec<(String, Limits)>,
    bell: Bell,
    heard: Option<broadcast::Sender<Arc<str>>>,
}

impl NodeSpec {
    /// A node on the database at `url`, with the timing of [`swift`].
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            is_pooled: false,
            config: swift(),
            queues: Vec::new(),
            bell: Bell::new(),
            heard: None,
        }
    }

    /// Adds a queue. A node without any has [`QUEUE`], with eight handlers.
    pub(crate) fn queue(mut self, name: &str, limits: Limits) -> Self {
        self.queues.push((name.to_owned(), limits));
        self
    }

    pub(crate) fn configured(mut self, change: impl FnOnce(&mut QueueConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Reaches the database through `proxy`.
    pub(crate) fn through(mut self, proxy: &Proxy) -> Self {
        let options = PgConnectOptions::from_str(&self.url).unwrap();
        let options = options.host("127.0.0.1").port(proxy.port);
        self.url = options.to_url_lossy().to_string();
        self
    }

    /// Reaches the database at `url`, which leads through a transaction pooler.
    pub(crate) fn pooled(mut self, url: String) -> Self {
        self.url = url;
        self.is_pooled = true;
        self
    }

    /// Rings `bell` and hears what `heard` passes on.
    pub(crate) fn wired(mut self, bell: &Bell, heard: &broadcast::Sender<Arc<str>>) -> Self {
        self.bell = bell.clone();
        self.heard = Some(heard.clone());
        self
    }

    /// Starts the node and waits until it can claim.
    pub(crate) async fn start<H, F>(self, handler: H) -> TestNode
    where
        H: Fn(i64, LeaseInfo) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.start_prepared(|_| Ok(()), handler).await
    }

    /// Like [`start`](Self::start), with `prepare` asked about each job of a claim before.
    pub(crate) async fn start_prepared<P, H, F>(self, prepare: P, handler: H) -> TestNode
    where
        P: Fn(i64) -> Result<(), Failure> + Clone + Send + Sync + 'static,
        H: Fn(i64, LeaseInfo) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |n, lease| Box::pin(handler(n, lease)));
        let registry = Registry::new();
        let mut queues = self.queues;
        if queues.is_empty() {
            queues.push((QUEUE.to_owned(), Limits::new(8, 100)));
        }
        let mut node = Node::new(NodeParts {
            database: Database::parse(&self.url, None, self.is_pooled).unwrap(),
            config: self.config,
            clock: Clock::system(),
            effects: Ledger,
            bell: self.bell,
            heard: self.heard.map(|heard| heard.subscribe()),
            metrics: Metrics::register(&registry).unwrap(),
        });
        let mut monitor = Monitor::new();
        for (name, limits) in queues {
            let prepare = prepare.clone();
            let backend = node.kind::<Work, (), _, _>(&name, limits, move |jobs: Vec<Work>| {
                let prepare = prepare.clone();
                async move { jobs.into_iter().map(|job| prepare(job.n)).collect() }
            });
            let handler = Arc::clone(&handler);
            monitor = monitor.register(move |restarts| {
                WorkerBuilder::new(format!("{name}-{restarts}"))
                    .backend(backend.clone())
                    .data(Arc::clone(&handler))
                    .concurrency(limits.concurrency)
                    .build(on_work)
            });
        }
        let running = node.start();
        let stop_monitor = CancellationToken::new();
        let stopped = stop_monitor.clone().cancelled_owned();
        tokio::spawn(async move {
            let signal = async move {
                stopped.await;
                Ok(())
            };
            monitor.run_with_signal(signal).await.unwrap();
        });
        tokio::time::timeout(SOON, running.ready()).await.unwrap();
        TestNode {
            running,
            registry,
            _stop_monitor: stop_monitor.drop_guard(),
        }
    }

    /// Starts the node in a runtime of its own, where it can die.
    pub(crate) async fn start_mortal<H, F>(self, handler: H) -> Mortal
    where
        H: Fn(i64, LeaseInfo) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        // One thread: nothing of the node runs any more while its tasks are being dropped.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let node = runtime.spawn(self.start(handler)).await.unwrap();
        Mortal {
            node: Some(node),
            runtime: Some(runtime),
        }
    }
}

/// A node at work.
pub(crate) struct TestNode {
    running: RunningNode,
    registry: Registry,
    _stop_monitor: tokio_util::sync::DropGuard,
}

impl TestNode {
    /// Stops as a process does on SIGTERM.
    pub(crate) async fn stop(self, deadline: Duration) {
        self.running.stop(deadline).await;
    }

    /// Jobs held now.
    pub(crate) fn held(&self) -> usize {
        self.running.held()
    }

    /// The sum of a counter over its labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.registry
            .gather()
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(MetricFamily::get_metric)
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }
}

/// A node whose death is that of a process: no task of it runs on, and its sockets close.
pub(crate) struct Mortal {
    node: Option<TestNode>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    pub(crate) fn kill(mut self) {
        self.die();
    }

    fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        drop(self.node.take());
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.die();
    }
}

//! A database with a table for effects, and nodes that work on it with a closure as their handler.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apalis::prelude::{Data, Monitor, WorkerBuilder, WorkerBuilderExt};
use prometheus::Registry;
use queue::dead_letter::{self, DeadLetter};
use queue::{
    Backoff, Bell, Clock, Connection, Database, Effects, Failure, Job, JobId, Lease, LeaseInfo,
    Limits, Metrics, NewJob, Node, NodeParts, Outcome, QueueConfig, RunningNode,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use testkit::{TestDatabase, eventually};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The queue of a node that names none.
pub(crate) const QUEUE: &str = "work";

/// The payload of every job here: a number that the handler decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) n: i64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// A job of number `n`, due now.
pub(crate) fn job(n: i64) -> NewJob {
    NewJob::new(JobId::at(Clock::system().now()), QUEUE, &Work { n })
}

pub(crate) fn jobs(numbers: std::ops::Range<i64>) -> Vec<NewJob> {
    numbers.map(job).collect()
}

/// One effect: a row of the table `effects`, which refuses n < 0 and, like any, U+0000.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) n: i64,
    pub(crate) note: String,
}

pub(crate) fn row(n: i64, note: &str) -> Row {
    Row {
        n,
        note: note.to_owned(),
    }
}

/// Completes and writes one row.
pub(crate) fn written(n: i64) -> Answer {
    Ok(Outcome::completed().with(row(n, "done")))
}

/// Writes the rows, and one that says "buried" for each job the engine buries.
struct Ledger;

impl Effects for Ledger {
    type Effect = Row;
    type Applied = ();

    async fn apply(&self, db: &mut Connection, effects: &[&Row]) -> Result<(), sqlx::Error> {
        let numbers: Vec<i64> = effects.iter().map(|row| row.n).collect();
        let notes: Vec<&str> = effects.iter().map(|row| row.note.as_str()).collect();
        sqlx::query("insert into effects select * from unnest($1::bigint[], $2::text[])")
            .bind(numbers)
            .bind(notes)
            .execute(db)
            .await?;
        Ok(())
    }

    fn committed(&self, (): ()) {}

    fn on_bury(&self, lease: &Lease, _: &str) -> Vec<Row> {
        let n = lease.payload["n"].as_i64().unwrap_or(999);
        vec![row(n, "buried")]
    }
}

pub(crate) type Answer = Result<Outcome<Row>, Failure>;

type Handler =
    Arc<dyn Fn(i64, LeaseInfo) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The handler apalis knows: it passes on to the test's closure.
async fn on_work(job: Work, lease: Data<LeaseInfo>, handler: Data<Handler>) -> Answer {
    (*handler)(job.n, *lease).await
}

/// A database of its own, with the table `effects`.
pub(crate) struct Kit {
    pub(crate) pool: PgPool,
    pub(crate) database: TestDatabase,
}

impl Kit {
    pub(crate) async fn fresh() -> Self {
        let database = TestDatabase::create().await;
        let pool = database.pool().await;
        let kit = Self { pool, database };
        kit.execute("create table effects (n bigint not null check (n >= 0), note text not null)")
            .await;
        kit
    }

    /// Runs a statement of the test's own.
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    /// Asks for one number.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn enqueue(&self, jobs: &[NewJob]) {
        let mut tx = self.pool.begin().await.unwrap();
        queue::enqueue(&mut tx, jobs, None).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Numbers and notes of all effects, sorted.
    pub(crate) async fn effects(&self) -> Vec<(i64, String)> {
        sqlx::query_as("select n, note from effects order by n, note")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until no job is open.
    pub(crate) async fn idle(&self) {
        self.idle_within(SOON).await;
    }

    pub(crate) async fn idle_within(&self, deadline: Duration) {
        eventually(deadline, async || self.open().await == 0).await;
    }

    /// Jobs that are available or running.
    pub(crate) async fn open(&self) -> i64 {
        self.count("select count(*) from queue.jobs").await
    }

    pub(crate) async fn dead_letter(&self, id: JobId) -> Option<DeadLetter> {
        let mut db = self.pool.acquire().await.unwrap();
        dead_letter::find(&mut db, id).await.unwrap()
    }

    /// Waits until the job is a dead letter.
    pub(crate) async fn buried(&self, id: JobId) -> DeadLetter {
        eventually(SOON, async || self.dead_letter(id).await).await
    }

    pub(crate) async fn dead_letters(&self) -> i64 {
        self.count("select count(*) from queue.dead_letters").await
    }

    /// One node with the timing of [`swift`] and one queue, not started yet.
    pub(crate) fn node(&self) -> NodeSpec {
        NodeSpec {
            url: self.database.url().to_owned(),
            is_pooled: false,
            config: swift(),
            queues: Vec::new(),
            bell: Bell::new(),
            heard: None,
        }
    }

    /// A proxy before the server of this database.
    pub(crate) async fn proxy(&self) -> Proxy {
        let options = PgConnectOptions::from_str(self.database.url()).unwrap();
        Proxy::start(options.get_host(), options.get_port()).await
    }

    /// Ends sessions of the engine: those whose last statement matches `pattern`.
    pub(crate) async fn terminate(&self, pattern: &str) -> i64 {
        sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and application_name = 'postrider'
               and query like $1",
        )
        .bind(pattern)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }
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
        self.url = sqlx::ConnectOptions::to_url_lossy(&options.host("127.0.0.1").port(proxy.port))
            .to_string();
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
            .flat_map(|family| family.get_metric())
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

/// Notes in order what happened, from handlers that run at once.
#[derive(Debug, Clone)]
pub(crate) struct Journal<T = i64>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Journal<T> {
    pub(crate) fn note(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there are `count` entries.
    pub(crate) async fn reaches(&self, count: usize) {
        eventually(SOON, async || self.0.lock().unwrap().len() >= count).await;
    }
}

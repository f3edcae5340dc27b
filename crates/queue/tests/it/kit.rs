//! A database with a table for effects, jobs that are a number, and looking at what became of them.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue::dead_letter::{self, DeadLetter};
use queue::{Clock, Connection, Effects, Failure, Job, JobId, Lease, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use testkit::{TestDatabase, eventually};

use crate::nodes::NodeSpec;
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
#[expect(clippy::unnecessary_wraps, reason = "it is what a handler answers")]
pub(crate) fn written(n: i64) -> Answer {
    Ok(Outcome::completed().with(row(n, "done")))
}

/// What a handler answers.
pub(crate) type Answer = Result<Outcome<Row>, Failure>;

/// Writes the rows, and one that says "buried" for each job the engine buries.
pub(crate) struct Ledger;

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

    /// A node on this database, not started yet.
    pub(crate) fn node(&self) -> NodeSpec {
        NodeSpec::new(self.database.url())
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

//! The pool, its limits, and transactions that cross crate boundaries.

use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::timeout;

use crate::error::during;
use crate::{StoreError, partitions};

/// The schema, as of this build.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// What our sessions are told: above all the planner, about statements that touch few rows by key.
///
/// Prepared statements keep their plan. One made while a table was small would scan all of it, and
/// go on doing so when it has grown: see [`settlement`](crate::settlement). Compiling a plan costs
/// more than running it, and the number of partitions alone can set that off.
///
/// Behind a pooler settings of a session do not hold, but no plan is kept there either, so every
/// execution is planned for the table as it is.
const SESSION_SETTINGS: [(&str, &str); 5] = [
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // A process that is cut off in a transaction must not keep its locks until TCP gives up.
    ("idle_in_transaction_session_timeout", "15000"),
];

/// How long a connection may take to answer when it comes back to the pool.
const RELEASE: Duration = Duration::from_secs(5);

/// How long a connection that came back is taken to be alive: long enough for one that is in use all the
/// time, short enough that few requests meet one which a restart of the server has ended.
const FRESH: Duration = Duration::from_millis(200);

/// How a transaction begins behind a pooler, for writing and for reading.
///
/// The driver names its statements by counting, and clears none away. Another client of the pooler
/// may have left the same name on this server connection, and then ours would be refused.
const BEGIN_POOLED: &str = "begin; deallocate all";
const BEGIN_POOLED_READ: &str = "begin read only; deallocate all";

/// How the database is reached.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Most connections of this process. More do not make two cores faster; fewer make bursts wait.
    pub connections_max: u32,
    /// How long to wait for a free connection before giving up on the request.
    pub acquire_timeout: Duration,
    /// Whether a pooler in transaction mode stands between: outside a transaction two messages may
    /// reach two server connections there, so nothing prepared and no setting holds.
    pub is_pooled: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections_max: 16,
            acquire_timeout: Duration::from_secs(10),
            is_pooled: false,
        }
    }
}

/// The database, shared by everything in a process. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    is_pooled: bool,
}

impl Store {
    /// Opens a pool on `url` and makes sure that the server answers.
    pub async fn connect(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let mut connect = PgConnectOptions::from_str(url)
            .map_err(during("read the database URL"))?
            .application_name("postrider");
        if options.is_pooled {
            // PgBouncer refuses start-up parameters it does not know.
            connect = connect.statement_cache_capacity(0).extra_float_digits(None);
        } else {
            connect = connect.options(SESSION_SETTINGS);
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            // One that was in use a moment ago is not asked again whether it answers: that was a
            // round trip before every statement.
            .test_before_acquire(false)
            .before_acquire(|db, seen| {
                Box::pin(async move {
                    if seen.idle_for < FRESH {
                        return Ok(true);
                    }
                    db.ping().await.map(|()| true)
                })
            })
            // A query that was given up because it hung leaves a connection that hangs too.
            .after_release(|db, _| {
                Box::pin(async {
                    let alive = timeout(RELEASE, db.ping()).await;
                    alive
                        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                        .map(|()| true)
                })
            })
            .connect_with(connect)
            .await
            .map_err(during("connect to the database"))?;
        Ok(Self {
            pool,
            is_pooled: options.is_pooled,
        })
    }

    /// The pool itself, for the queue, which shares it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a connection for reading.
    ///
    /// Behind a pooler it is a read-only transaction. What writes goes through
    /// [`begin`](Self::begin).
    pub async fn acquire(&self) -> Result<Reader, StoreError> {
        let reader = if self.is_pooled {
            self.pool
                .begin_with(BEGIN_POOLED_READ)
                .await
                .map(Reader::Transaction)
        } else {
            self.pool.acquire().await.map(Reader::Connection)
        };
        reader.map_err(during("get a connection"))
    }

    /// Begins a transaction, which rolls back unless it is committed.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let transaction = if self.is_pooled {
            self.pool.begin_with(BEGIN_POOLED).await
        } else {
            self.pool.begin().await
        };
        Ok(Tx {
            transaction: transaction.map_err(during("begin a transaction"))?,
        })
    }

    /// Brings the schema up to date and makes the partitions that `now` needs.
    ///
    /// Safe to run from several processes at once, and again. Takes a lock of the session, so it
    /// must reach the database directly, not through a pooler.
    pub async fn migrate(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(during("get a connection"))?;
        MIGRATOR
            .run(&mut *connection)
            .await
            .map_err(|source| StoreError::Migration { source })?;
        partitions::ensure(&mut connection, now).await
    }

    /// Answers whether the server does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query_scalar!("select 1 as \"one!\"")
            .fetch_one(&mut *connection)
            .await
            .map_err(during("ask the database for a sign of life"))?;
        Ok(())
    }

    /// Closes the pool, waiting for connections in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection for reading, given back when dropped. Dereferences to what the functions take.
#[derive(Debug)]
pub enum Reader {
    Connection(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Connection(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Connection(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

/// An open transaction: what a caller above may hold without naming the driver.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Tx {
    transaction: Transaction<'static, Postgres>,
}

impl Tx {
    /// Makes everything written through it durable.
    ///
    /// An error leaves it open whether that happened: the connection may have broken after the
    /// server committed.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction
            .commit()
            .await
            .map_err(during("commit a transaction"))
    }

    /// Undoes everything written through it. Dropping does so too, a little later.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction
            .rollback()
            .await
            .map_err(during("roll a transaction back"))
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

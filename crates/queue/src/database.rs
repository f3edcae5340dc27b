//! Where the database is, and the connections the engine opens to it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::timeout;

/// Session settings of the engine's connections.
///
/// Every statement here joins a few hundred ids to their rows by an index. With stale statistics
/// (an empty table that has just been filled) the planner prefers a sequential scan, which turned a
/// claim of 2 ms into one of seconds; so it is not given the choice. Planning once saves a tenth of
/// a settlement's time.
///
/// A connection whose network vanished goes on existing in Postgres, with the row locks of its
/// transaction: it is ended there, so that another connection gets at the rows. No statement of the
/// engine takes seconds, and none has its transaction wait.
pub const SESSION: &str = "set enable_seqscan = off; set enable_hashjoin = off; \
     set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan; \
     set idle_in_transaction_session_timeout = '5s'; set statement_timeout = '15s'";

/// What a transaction behind a pooler begins with: the driver names its statements even when it does
/// not cache them, and another client may have left one of that name in this session; and settings
/// hold for the transaction only.
macro_rules! fresh_session {
    () => {
        "deallocate all; set local enable_seqscan = off; set local enable_hashjoin = off; \
         set local enable_mergejoin = off; set local jit = off; \
         set local idle_in_transaction_session_timeout = '5s'; set local statement_timeout = '15s'"
    };
}

/// Longest a connection may take to answer when it goes back to its pool.
const RELEASE: Duration = Duration::from_secs(5);

/// Why a database URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the database URL cannot be read")]
pub struct DatabaseUrlError(#[source] sqlx::Error);

/// How the database is reached. Does not print its URL, which carries a password.
#[derive(Clone)]
pub struct Database {
    main: PgConnectOptions,
    pub(crate) direct: PgConnectOptions,
    /// Whether `main` leads through a pooler in transaction mode and there is no direct URL: no
    /// session lock and no LISTEN then; leases and polling decide.
    pub(crate) is_lease_only: bool,
    is_pooled: bool,
}

impl Database {
    /// `direct_url` is the same database without the pooler, where there is one.
    ///
    /// # Errors
    ///
    /// If either is not a Postgres URL.
    pub fn parse(
        url: &str,
        direct_url: Option<&str>,
        is_pooled: bool,
    ) -> Result<Self, DatabaseUrlError> {
        let parse = |url| {
            PgConnectOptions::from_str(url)
                .map(|options| {
                    options
                        .application_name("postrider")
                        .disable_statement_logging()
                })
                .map_err(DatabaseUrlError)
        };
        Ok(Self {
            main: parse(url)?,
            direct: parse(direct_url.unwrap_or(url))?,
            is_lease_only: is_pooled && direct_url.is_none(),
            is_pooled,
        })
    }

    /// A pool that only the engine uses, so that the API can never starve the settler.
    pub(crate) fn pool(&self, connections: u32) -> EnginePool {
        EnginePool {
            pool: self.connect(connections),
            is_pooled: self.is_pooled,
        }
    }

    /// A direct connection outside of any pool, whose session lasts.
    pub(crate) async fn session(&self) -> Result<PgConnection, sqlx::Error> {
        let mut db = PgConnection::connect_with(&self.direct).await?;
        db.execute(sqlx::raw_sql(SESSION)).await?;
        Ok(db)
    }

    fn connect(&self, connections: u32) -> PgPool {
        let options = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(None)
            .max_lifetime(None)
            // A transaction that was dropped because it hung leaves a connection that hangs too.
            .after_release(|db, _| {
                Box::pin(async {
                    let alive = timeout(RELEASE, db.ping()).await;
                    alive
                        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                        .map(|()| true)
                })
            });
        if self.is_pooled {
            // Session settings do not survive a transaction pooler, nor do prepared statements, and
            // PgBouncer refuses a start-up parameter it does not know.
            let pooled = self
                .main
                .clone()
                .statement_cache_capacity(0)
                .extra_float_digits(None);
            return options.connect_lazy_with(pooled);
        }
        options
            .test_before_acquire(false)
            .after_connect(|db, _| {
                Box::pin(async move {
                    db.execute(sqlx::raw_sql(SESSION)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(self.main.clone())
    }
}

/// Connections of the engine. Everything runs in a transaction: a transaction pooler may change the
/// session between two messages outside of one.
#[derive(Debug, Clone)]
pub(crate) struct EnginePool {
    pool: PgPool,
    is_pooled: bool,
}

impl EnginePool {
    /// A transaction whose commit waits for the disk.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        if self.is_pooled {
            return self
                .pool
                .begin_with(concat!("begin; ", fresh_session!()))
                .await;
        }
        self.pool.begin().await
    }

    /// A transaction whose commit does not wait for the disk, and may be lost in a Postgres crash.
    pub(crate) async fn begin_quick(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        const QUICK: &str = "begin; set local synchronous_commit = off";
        if self.is_pooled {
            let statements = concat!(
                "begin; set local synchronous_commit = off; ",
                fresh_session!()
            );
            return self.pool.begin_with(statements).await;
        }
        self.pool.begin_with(QUICK).await
    }

    /// The connections as they are, for a statement that is a transaction of its own; `None` behind
    /// a pooler, where the session has to be cleared first.
    pub(crate) fn plain(&self) -> Option<&PgPool> {
        (!self.is_pooled).then_some(&self.pool)
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("is_pooled", &self.is_pooled)
            .finish_non_exhaustive()
    }
}

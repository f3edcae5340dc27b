//! Gauges of the database, for benchmarks: what a run cost, and the conditions it ran under.

use sqlx::{Connection, PgConnection};

use crate::database::Database;

/// Counters of the database at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Bytes of write-ahead log since the cluster was made.
    pub wal_bytes: f64,
    /// Transactions committed in this database. Sessions report with up to a second's delay.
    pub commits: i64,
}

/// Reads the counters.
pub async fn read(db: &mut PgConnection) -> Result<Reading, sqlx::Error> {
    sqlx::query_as!(
        Reading,
        r#"
        select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as "wal_bytes!",
               xact_commit as "commits!"
        from pg_stat_database where datname = current_database()
        "#,
    )
    .fetch_one(db)
    .await
}

/// Refreshes the planner's statistics of the queue, as autovacuum would after a while.
pub async fn analyze(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("analyze queue.jobs").execute(db).await?;
    Ok(())
}

/// Adds `count` jobs of queue `idle` that are due in a week: what lies beside.
pub async fn schedule_idle(db: &mut PgConnection, count: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into queue.jobs (job_id, run_at, lane, queue, kind, payload)
         select gen_random_uuid(), now() + interval '7 days', n % 32, 'idle', 'noop', '{}'
         from generate_series(1, $1::bigint) as n",
        count,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An open `repeatable read` transaction: rows that die while it lives cannot be removed.
#[derive(Debug)]
pub struct HeldSnapshot(PgConnection);

impl HeldSnapshot {
    /// Takes a snapshot and keeps it until [`release`](Self::release) or drop.
    pub async fn take(database: &Database) -> Result<Self, sqlx::Error> {
        let mut db = PgConnection::connect_with(&database.direct).await?;
        sqlx::raw_sql("begin isolation level repeatable read; select 1")
            .execute(&mut db)
            .await?;
        Ok(Self(db))
    }

    pub async fn release(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}

//! Enqueue: inserts jobs inside the caller's transaction.
//!
//! A job exists for others once the caller commits, together with whatever it is about. Ring the
//! [`Bell`](crate::Bell) after the commit, never before: the wake-up only shortens the wait.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::job::{JobId, NewJob};

/// Most jobs one statement inserts; more are inserted in several. Bounds the memory of a statement.
const ROWS_MAX: usize = 2000;

/// Why jobs could not be enqueued. Nothing of the call is in the transaction's favour: roll back.
#[derive(Debug, thiserror::Error)]
#[error("could not enqueue {count} jobs")]
pub struct EnqueueError {
    pub count: usize,
    /// Kept as it came: intake and settler tell a passing fault from a refused row by it.
    #[source]
    pub source: sqlx::Error,
}

/// Inserts `jobs` in the caller's transaction.
///
/// A job whose unique key is already open is dropped silently. `now` is `None` in production: the
/// database clock decides.
pub async fn enqueue(
    db: &mut PgConnection,
    jobs: impl IntoIterator<Item = &NewJob>,
    now: Option<DateTime<Utc>>,
) -> Result<(), EnqueueError> {
    let (mut unique, plain): (Vec<&NewJob>, Vec<&NewJob>) =
        jobs.into_iter().partition(|job| job.unique_key.is_some());
    // Two transactions that insert the same keys wait for each other's rows: in one order, or they
    // deadlock.
    unique.sort_by(|left, right| {
        (&left.kind, &left.unique_key).cmp(&(&right.kind, &right.unique_key))
    });
    for rows in plain.chunks(ROWS_MAX) {
        insert(db, rows, now).await?;
    }
    for rows in unique.chunks(ROWS_MAX) {
        insert_unique(db, rows, now).await?;
    }
    Ok(())
}

/// Inserts follow-up jobs as running under `epoch`, and answers which are: one whose queue is paused
/// is available instead.
pub(crate) async fn enqueue_running(
    db: &mut PgConnection,
    jobs: &[&NewJob],
    epoch: Uuid,
    now: Option<DateTime<Utc>>,
) -> Result<HashSet<JobId>, sqlx::Error> {
    let columns = Columns::of(jobs);
    let rows = sqlx::query_file!(
        "sql/enqueue_running.sql",
        &columns.job_ids,
        &columns.priorities,
        &columns.lanes,
        &columns.max_attempts,
        &columns.queues,
        &columns.kinds,
        epoch,
        now,
        &columns.payloads,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.is_running)
        .map(|row| row.job_id)
        .collect())
}

/// The columns of a batch, one array each.
struct Columns {
    job_ids: Vec<Uuid>,
    run_ats: Vec<Option<DateTime<Utc>>>,
    priorities: Vec<i16>,
    lanes: Vec<i16>,
    max_attempts: Vec<i16>,
    queues: Vec<String>,
    kinds: Vec<String>,
    payloads: Vec<serde_json::Value>,
}

impl Columns {
    fn of(rows: &[&NewJob]) -> Self {
        Self {
            job_ids: rows.iter().map(|job| job.job_id.0).collect(),
            run_ats: rows.iter().map(|job| job.run_at).collect(),
            priorities: rows.iter().map(|job| job.priority.as_i16()).collect(),
            lanes: rows.iter().map(|job| i16::from(job.lane)).collect(),
            max_attempts: rows
                .iter()
                .map(|job| stored_attempts(job.max_attempts))
                .collect(),
            queues: rows.iter().map(|job| job.queue.clone()).collect(),
            kinds: rows.iter().map(|job| job.kind.clone()).collect(),
            payloads: rows.iter().map(|job| job.payload.clone()).collect(),
        }
    }
}

/// A budget above `smallint` is as good as endless.
fn stored_attempts(max_attempts: u16) -> i16 {
    i16::try_from(max_attempts).unwrap_or(i16::MAX)
}

async fn insert(
    db: &mut PgConnection,
    rows: &[&NewJob],
    now: Option<DateTime<Utc>>,
) -> Result<(), EnqueueError> {
    let columns = Columns::of(rows);
    sqlx::query_file!(
        "sql/enqueue.sql",
        &columns.job_ids,
        &columns.run_ats as &[Option<DateTime<Utc>>],
        &columns.priorities,
        &columns.lanes,
        &columns.max_attempts,
        &columns.queues,
        &columns.kinds,
        &columns.payloads,
        now,
    )
    .execute(db)
    .await
    .map_err(|source| EnqueueError {
        count: rows.len(),
        source,
    })?;
    Ok(())
}

async fn insert_unique(
    db: &mut PgConnection,
    rows: &[&NewJob],
    now: Option<DateTime<Utc>>,
) -> Result<(), EnqueueError> {
    let columns = Columns::of(rows);
    let keys: Vec<Option<String>> = rows.iter().map(|job| job.unique_key.clone()).collect();
    sqlx::query_file!(
        "sql/enqueue_unique.sql",
        &columns.job_ids,
        &columns.run_ats as &[Option<DateTime<Utc>>],
        &columns.priorities,
        &columns.lanes,
        &columns.max_attempts,
        &columns.queues,
        &columns.kinds,
        &columns.payloads,
        &keys as &[Option<String>],
        now,
    )
    .execute(db)
    .await
    .map_err(|source| EnqueueError {
        count: rows.len(),
        source,
    })?;
    Ok(())
}

//! An operator's hands: pause and resume a queue, look at a job, cancel it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::job::JobId;

/// An open job, as an operator sees it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OpenJob {
    pub job_id: JobId,
    pub queue: String,
    pub kind: String,
    pub state: String,
    pub payload: Value,
    pub errors: Option<Value>,
    pub attempt: i16,
    pub failures: i16,
    pub max_attempts: i16,
    pub crashes: i16,
    pub run_at: DateTime<Utc>,
    pub enqueued_at: DateTime<Utc>,
    /// When the running attempt was claimed.
    pub claimed_at: Option<DateTime<Utc>>,
    /// The process that runs it, as `queue.workers` names it; none if it is being taken over.
    pub node: Option<String>,
    pub pid: Option<i32>,
}

/// Finds an open job.
pub async fn find_job(
    db: &mut PgConnection,
    job_id: JobId,
) -> Result<Option<OpenJob>, sqlx::Error> {
    sqlx::query_as!(
        OpenJob,
        r#"
        select job.job_id as "job_id: JobId", job.queue, job.kind, job.state::text as "state!",
               job.payload, job.errors, job.attempt, job.failures, job.max_attempts, job.crashes,
               job.run_at, job.enqueued_at, job.claimed_at,
               (select node from queue.workers as worker where worker.epoch = job.epoch) as node,
               (select pid from queue.workers as worker where worker.epoch = job.epoch) as pid
        from queue.jobs as job
        where job.job_id = $1
        "#,
        job_id.0,
    )
    .fetch_optional(db)
    .await
}

/// Which of `ids` are running now: what `sending` means for their deliveries.
pub async fn running(db: &mut PgConnection, ids: &[JobId]) -> Result<Vec<JobId>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"select job_id as "job_id: JobId" from queue.jobs
           where job_id = any($1) and state = 'running'"#,
        &ids,
    )
    .fetch_all(db)
    .await
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The row is gone; it will not run.
    Done,
    /// It runs now; too late.
    Running,
    /// It has ended, or never was.
    Absent,
}

/// Cancels a job that is not running, in the caller's transaction.
pub async fn cancel(db: &mut PgConnection, job_id: JobId) -> Result<Cancelled, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from queue.jobs where job_id = $1 and state = 'available'",
        job_id.0
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if deleted > 0 {
        return Ok(Cancelled::Done);
    }
    let is_open = find_job(db, job_id).await?.is_some();
    Ok(if is_open {
        Cancelled::Running
    } else {
        Cancelled::Absent
    })
}

/// An open job as it stands under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    pub job_id: JobId,
    pub is_running: bool,
}

/// Locks those of `ids` that are open, in the order of their ids: until the caller's transaction
/// ends none of them is claimed, and none that runs is settled.
///
/// Jobs are locked before what they are about, as a settlement does it.
pub async fn lock(db: &mut PgConnection, ids: &[JobId]) -> Result<Vec<Locked>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Locked,
        r#"select job_id as "job_id: JobId", (state = 'running') as "is_running!"
           from queue.jobs where job_id = any($1)
           order by job_id
           for update"#,
        &ids,
    )
    .fetch_all(db)
    .await
}

/// Makes those of `ids` that wait and are of `kind` due now. Ring
/// [`JOBS_AVAILABLE`](crate::JOBS_AVAILABLE) after the commit.
pub async fn hasten(db: &mut PgConnection, ids: &[JobId], kind: &str) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "with waiting as materialized (
             select job_id
             from queue.jobs
             where job_id = any($1) and kind = $2 and state = 'available' and run_at > now()
             order by job_id
             for update
         )
         update queue.jobs as job
         set run_at = now()
         from waiting
         where job.job_id = waiting.job_id",
        &ids,
        kind,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A job that waits for its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub job_id: JobId,
    pub run_at: DateTime<Utc>,
    pub payload: Value,
}

/// Lists jobs of `kind` that wait in `queue` for a moment until `until`, in that order, up to
/// `limit` of those after the job `after`.
pub async fn list_waiting(
    db: &mut PgConnection,
    queue: &str,
    kind: &str,
    after: (DateTime<Utc>, JobId),
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Waiting>, sqlx::Error> {
    sqlx::query_file_as!(
        Waiting,
        "sql/list_waiting.sql",
        queue,
        kind,
        after.0,
        after.1.0,
        until,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Removes the job that waits under a unique key, if one does.
pub async fn remove_unique(
    db: &mut PgConnection,
    kind: &str,
    unique_key: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from queue.jobs where kind = $1 and unique_key = $2 and state = 'available'",
        kind,
        unique_key,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stops claims of `queue` on every node. What runs goes on.
pub async fn pause(
    db: &mut PgConnection,
    queue: &str,
    now: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into queue.queues (queue, paused_at) values ($1, coalesce($2, now()))
         on conflict (queue) do update
         set paused_at = coalesce(queues.paused_at, excluded.paused_at)",
        queue,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether none of `queues` is paused.
pub async fn are_open(db: &mut PgConnection, queues: &[&str]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select not exists (
            select from queue.queues where queue = any($1::text[]) and paused_at is not null
        ) as "are_open!"
        "#,
        queues as &[&str],
    )
    .fetch_one(db)
    .await
}

/// Lets nodes claim from `queue` again. Ring [`JOBS_AVAILABLE`](crate::JOBS_AVAILABLE) afterwards.
pub async fn resume(db: &mut PgConnection, queue: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update queue.queues set paused_at = null where queue = $1",
        queue
    )
    .execute(db)
    .await?;
    Ok(())
}

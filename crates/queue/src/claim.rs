//! Claim: looks ahead at what waits, and takes jobs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::allot::{Share, Waiting};
use crate::job::{JobId, Priority};
use crate::lease::Lease;

/// What the look-ahead found.
#[derive(Debug, Default)]
pub(crate) struct Prospect {
    /// Where jobs are due now.
    pub(crate) waiting: Vec<Waiting>,
    /// Seconds until the next job that is not due yet, if one was seen.
    pub(crate) next_due_seconds: Option<f64>,
}

/// Looks at what waits in `queues`; paused queues are left out.
pub(crate) async fn look_ahead(
    db: &mut PgConnection,
    queues: &[String],
    now: Option<DateTime<Utc>>,
) -> Result<Prospect, sqlx::Error> {
    let rows = sqlx::query_file!("sql/look_ahead.sql", queues, now)
        .fetch_all(db)
        .await?;
    let mut prospect = Prospect::default();
    for row in rows {
        if row.due_in_seconds <= 0.0 {
            prospect.waiting.push(Waiting {
                queue: row.queue,
                priority: Priority::from_i16(row.priority),
                lane: row.lane as u8,
            });
        } else {
            let sooner = prospect
                .next_due_seconds
                .map_or(row.due_in_seconds, |next| next.min(row.due_in_seconds));
            prospect.next_due_seconds = Some(sooner);
        }
    }
    Ok(prospect)
}

/// A row as `claim.sql` returns it.
struct ClaimedRow {
    job_id: JobId,
    attempt: i16,
    failures: i16,
    crashes: i16,
    max_attempts: i16,
    lane: i16,
    queue: String,
    kind: String,
    payload: Value,
    waited_seconds: f64,
}

impl ClaimedRow {
    fn into_lease(self, epoch: Uuid) -> Lease {
        Lease {
            job_id: self.job_id,
            attempt: self.attempt,
            epoch,
            failures: self.failures,
            crashes: self.crashes,
            max_attempts: self.max_attempts,
            lane: self.lane as u8,
            queue: self.queue,
            kind: self.kind,
            payload: self.payload,
            waited_seconds: self.waited_seconds,
        }
    }
}

/// Claims the jobs of `shares` for `epoch`.
///
/// # Cancel safety
///
/// Not cancel safe: jobs claimed by a dropped call stay with the epoch until it ends.
pub(crate) async fn claim(
    db: &mut PgConnection,
    shares: &[Share],
    epoch: Uuid,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<Lease>, sqlx::Error> {
    let queues: Vec<String> = shares
        .iter()
        .map(|share| share.waiting.queue.clone())
        .collect();
    let priorities: Vec<i16> = shares
        .iter()
        .map(|share| share.waiting.priority.as_i16())
        .collect();
    let lanes: Vec<i16> = shares
        .iter()
        .map(|share| i16::from(share.waiting.lane))
        .collect();
    let jobs: Vec<i32> = shares.iter().map(|share| share.jobs as i32).collect();
    let rows = sqlx::query_file_as!(
        ClaimedRow,
        "sql/claim.sql",
        &queues,
        &priorities,
        &lanes,
        &jobs,
        epoch,
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_lease(epoch)).collect())
}

/// Jobs that saw two workers die and run in one group.
///
/// The death of a worker that held thousands raises the count of all of them. To run each alone would
/// hold up everything for minutes; of a group, one more death leaves these few to be run alone.
const SUSPECTS_MAX: i64 = 64;

/// Claims jobs that have seen two workers die, or one that saw more. Ask only while nothing else is
/// held.
pub(crate) async fn claim_suspects(
    db: &mut PgConnection,
    queues: &[String],
    epoch: Uuid,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<Lease>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        ClaimedRow,
        "sql/claim_suspect.sql",
        queues,
        epoch,
        now,
        SUSPECTS_MAX
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_lease(epoch)).collect())
}

/// Whether any job that has seen two workers die waits in those of `queues` that are not paused.
pub(crate) async fn has_suspects(
    db: &mut PgConnection,
    queues: &[String],
    now: Option<DateTime<Utc>>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from queue.jobs
            where state = 'available' and crashes >= 2
              and queue = any($1) and run_at <= coalesce($2, now())
              and not exists (
                  select from queue.queues as switch
                  where switch.queue = jobs.queue and switch.paused_at is not null
              )
        ) as "exists!"
        "#,
        queues,
        now,
    )
    .fetch_one(db)
    .await
}

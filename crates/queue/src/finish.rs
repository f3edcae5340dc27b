//! Finish: writes how attempts ended, fenced by (job, attempt, epoch).
//!
//! The statement that ends a job is its fence: it touches only a row that is still running at the
//! lease's attempt and epoch and answers which ones those were. Effects of the others are not
//! written. Ending first and writing effects after, in one transaction, saves a `select for update`
//! of every row.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::job::JobId;
use crate::lease::Lease;

/// How a row leaves its running state, once every choice has been made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exit {
    /// The row goes.
    Delete,
    /// Available again. `error` is kept in the history; `is_charged` counts against the budget.
    Return {
        due: Due,
        is_charged: bool,
        error: Option<String>,
    },
    /// To the dead letters.
    Bury { reason: String, error: String },
}

/// When a returned job is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Due {
    /// By the database clock.
    After(Duration),
    At(DateTime<Utc>),
}

/// Writes the exits of `leases` and answers which jobs were still ours.
pub(crate) async fn write_exits(
    db: &mut PgConnection,
    leases: &[(&Lease, &Exit)],
    now: Option<DateTime<Utc>>,
) -> Result<HashSet<JobId>, sqlx::Error> {
    let mut survivors = HashSet::with_capacity(leases.len());
    let mut deleted = Fence::default();
    let mut returned = Returned::default();
    let mut buried = Buried::default();
    for (lease, exit) in leases {
        match exit {
            Exit::Delete => deleted.push(lease),
            Exit::Return {
                due,
                is_charged,
                error,
            } => {
                returned.push(lease, *due, *is_charged, error.clone());
            }
            Exit::Bury { reason, error } => buried.push(lease, reason.clone(), error.clone()),
        }
    }
    if !deleted.job_ids.is_empty() {
        survivors.extend(delete(db, &deleted).await?);
    }
    if !returned.fence.job_ids.is_empty() {
        survivors.extend(put_back(db, &returned, now).await?);
    }
    if !buried.fence.job_ids.is_empty() {
        survivors.extend(bury(db, &buried, now).await?);
    }
    Ok(survivors)
}

#[derive(Default)]
struct Fence {
    job_ids: Vec<Uuid>,
    attempts: Vec<i16>,
    epochs: Vec<Uuid>,
}

impl Fence {
    fn push(&mut self, lease: &Lease) {
        self.job_ids.push(lease.job_id.0);
        self.attempts.push(lease.attempt);
        self.epochs.push(lease.epoch);
    }
}

#[derive(Default)]
struct Returned {
    fence: Fence,
    delay_seconds: Vec<f64>,
    charged: Vec<i16>,
    errors: Vec<Option<String>>,
    run_ats: Vec<Option<DateTime<Utc>>>,
}

impl Returned {
    fn push(&mut self, lease: &Lease, due: Due, is_charged: bool, error: Option<String>) {
        let (delay, run_at) = match due {
            Due::After(delay) => (delay.as_secs_f64(), None),
            Due::At(moment) => (0.0, Some(moment)),
        };
        self.fence.push(lease);
        self.delay_seconds.push(delay);
        self.charged.push(i16::from(is_charged));
        self.errors.push(error);
        self.run_ats.push(run_at);
    }
}

#[derive(Default)]
struct Buried {
    fence: Fence,
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Buried {
    fn push(&mut self, lease: &Lease, reason: String, error: String) {
        self.fence.push(lease);
        self.reasons.push(reason);
        self.errors.push(error);
    }
}

async fn delete(db: &mut PgConnection, fence: &Fence) -> Result<Vec<JobId>, sqlx::Error> {
    let rows = sqlx::query_file!(
        "sql/finish_delete.sql",
        &fence.job_ids,
        &fence.attempts,
        &fence.epochs
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.job_id).collect())
}

async fn put_back(
    db: &mut PgConnection,
    returned: &Returned,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<JobId>, sqlx::Error> {
    let rows = sqlx::query_file!(
        "sql/finish_return.sql",
        &returned.fence.job_ids,
        &returned.fence.attempts,
        &returned.fence.epochs,
        &returned.delay_seconds,
        &returned.charged,
        &returned.errors as &[Option<String>],
        &returned.run_ats as &[Option<DateTime<Utc>>],
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.job_id).collect())
}

async fn bury(
    db: &mut PgConnection,
    buried: &Buried,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<JobId>, sqlx::Error> {
    let rows = sqlx::query_file!(
        "sql/finish_bury.sql",
        &buried.fence.job_ids,
        &buried.fence.attempts,
        &buried.fence.epochs,
        &buried.reasons,
        &buried.errors,
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.job_id).collect())
}

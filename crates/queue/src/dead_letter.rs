//! Dead letters: list, inspect, replay.
//!
//! A replay is an operator's word that the job shall run again: the row moves back in the caller's
//! transaction with its history, a fresh budget and no crashes. The attempt goes on counting, for it
//! is the fence.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::job::JobId;

/// Most dead letters one call lists or replays.
pub const DEAD_LETTERS_MAX: i64 = 1000;

/// A job that will not run again unless it is replayed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeadLetter {
    pub job_id: JobId,
    pub queue: String,
    pub kind: String,
    pub payload: Value,
    /// A stable word: `attempts_exhausted`, `permanent`, `crash_loop`, `bad_payload`, `refused`, …
    pub reason: String,
    /// `[{attempt, at, error}]`, oldest first.
    pub errors: Value,
    pub attempt: i16,
    pub failures: i16,
    pub max_attempts: i16,
    pub crashes: i16,
    pub enqueued_at: DateTime<Utc>,
    pub died_at: DateTime<Utc>,
}

impl DeadLetter {
    /// The error that killed it.
    pub fn last_error(&self) -> &str {
        self.errors
            .as_array()
            .and_then(|errors| errors.last())
            .and_then(|entry| entry["error"].as_str())
            .unwrap_or_default()
    }
}

/// Which dead letters are meant. Empty means all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeadLetterFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<JobId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Part of the last error, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Died at this moment or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Died before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// A place in the order in which jobs died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub died_at: DateTime<Utc>,
    pub job_id: JobId,
}

/// Which end of that order comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

/// A dead letter that was passed on the way, without its errors.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Passed {
    pub job_id: JobId,
    pub died_at: DateTime<Utc>,
    pub queue: String,
    pub kind: String,
    pub payload: Value,
    /// Whether it is one of those that are meant.
    pub is_match: bool,
}

impl Passed {
    pub fn place(&self) -> Place {
        Place {
            died_at: self.died_at,
            job_id: self.job_id,
        }
    }
}

/// Passes the next `limit` dead letters after a place, those that are meant and those between them.
///
/// Ids, queue and times are found by an index; kind and error are looked at in each one passed. So
/// a call costs what it passes, however rare a match is, and whoever wants more calls again.
pub async fn pass(
    db: &mut PgConnection,
    filter: &DeadLetterFilter,
    after: Option<Place>,
    order: Order,
    limit: i64,
) -> Result<Vec<Passed>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select job_id, died_at, queue, kind, payload, ");
    push_looked_at(&mut query, filter);
    query.push(" as is_match from queue.dead_letters where true");
    push_found(&mut query, filter);
    if let Some(after) = after {
        query.push(match order {
            Order::OldestFirst => " and (died_at, job_id) > (",
            Order::NewestFirst => " and (died_at, job_id) < (",
        });
        query.push_bind(after.died_at).push(", ");
        query.push_bind(after.job_id.0).push(")");
    }
    query.push(match order {
        Order::OldestFirst => " order by died_at, job_id limit ",
        Order::NewestFirst => " order by died_at desc, job_id desc limit ",
    });
    query.push_bind(limit.clamp(1, DEAD_LETTERS_MAX));
    query.build_query_as().fetch_all(db).await
}

/// The conditions that an index can find.
fn push_found(query: &mut QueryBuilder<Postgres>, filter: &DeadLetterFilter) {
    if let Some(ids) = &filter.ids {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        query.push(" and job_id = any(").push_bind(ids).push(")");
    }
    if let Some(queue) = &filter.queue {
        query.push(" and queue = ").push_bind(queue.clone());
    }
    if let Some(since) = filter.since {
        query.push(" and died_at >= ").push_bind(since);
    }
    if let Some(until) = filter.until {
        query.push(" and died_at < ").push_bind(until);
    }
}

/// The conditions that are looked at row by row.
fn push_looked_at(query: &mut QueryBuilder<Postgres>, filter: &DeadLetterFilter) {
    query.push("(true");
    if let Some(kind) = &filter.kind {
        query.push(" and kind = ").push_bind(kind.clone());
    }
    if let Some(error) = &filter.error {
        query.push(" and strpos(lower(coalesce(errors -> -1 ->> 'error', '')), lower(");
        query.push_bind(error.clone()).push(")) > 0");
    }
    query.push(")");
}

/// Lists up to `limit` dead letters, oldest first, after `cursor` (the last one's moment and id).
pub async fn list(
    db: &mut PgConnection,
    filter: &DeadLetterFilter,
    cursor: Option<(DateTime<Utc>, JobId)>,
    limit: i64,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let ids: Option<Vec<Uuid>> = filter
        .ids
        .as_ref()
        .map(|ids| ids.iter().map(|id| id.0).collect());
    let (after_at, after_id) = cursor.map_or((None, None), |(at, id)| (Some(at), Some(id.0)));
    sqlx::query_as!(
        DeadLetter,
        r#"
        select job_id as "job_id: JobId", queue, kind, payload, reason, errors, attempt, failures,
               max_attempts, crashes, enqueued_at, died_at
        from queue.dead_letters
        where ($1::uuid[] is null or job_id = any($1))
          and ($2::text is null or queue = $2)
          and ($3::text is null or kind = $3)
          and ($4::text is null or strpos(lower(errors -> -1 ->> 'error'), lower($4)) > 0)
          and ($5::timestamptz is null or died_at >= $5)
          and ($6::timestamptz is null or died_at < $6)
          and ($7::timestamptz is null or (died_at, job_id) > ($7, $8::uuid))
        order by died_at, job_id
        limit $9
        "#,
        ids.as_deref(),
        filter.queue,
        filter.kind,
        filter.error,
        filter.since,
        filter.until,
        after_at,
        after_id,
        limit.clamp(1, DEAD_LETTERS_MAX),
    )
    .fetch_all(db)
    .await
}

/// Finds one dead letter.
pub async fn find(db: &mut PgConnection, job_id: JobId) -> Result<Option<DeadLetter>, sqlx::Error> {
    let filter = DeadLetterFilter {
        ids: Some(vec![job_id]),
        ..DeadLetterFilter::default()
    };
    Ok(list(db, &filter, None, 1).await?.pop())
}

/// Finds those of `ids` that are dead letters, with their errors, in no order.
pub async fn find_all(
    db: &mut PgConnection,
    ids: &[JobId],
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let filter = DeadLetterFilter {
        ids: Some(ids.to_vec()),
        ..DeadLetterFilter::default()
    };
    list(db, &filter, None, DEAD_LETTERS_MAX).await
}

/// How many dead letters there are.
pub async fn count(db: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from queue.dead_letters"#)
        .fetch_one(db)
        .await
}

/// How many dead letters are meant, counting no further than `most`.
pub async fn count_matching(
    db: &mut PgConnection,
    filter: &DeadLetterFilter,
    most: i64,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select count(*) from (select from queue.dead_letters where ",
    );
    push_looked_at(&mut query, filter);
    push_found(&mut query, filter);
    query.push(" limit ").push_bind(most).push(") as meant");
    query.build_query_scalar().fetch_one(db).await
}

/// A job that was replayed: what the domain needs to move its own rows along.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    pub job_id: JobId,
    pub queue: String,
    pub kind: String,
    pub payload: Value,
}

/// Makes dead letters available again, in the caller's transaction, and answers which there were.
///
/// Two operators who replay the same id at once get it once: the row lock decides. A dead letter
/// whose unique key is open again stays where it is.
pub async fn replay(
    db: &mut PgConnection,
    ids: &[JobId],
    now: Option<DateTime<Utc>>,
) -> Result<Vec<Replayed>, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Replayed,
        r#"
        with meant as (
            select job_id, enqueued_at, priority, lane, attempt, max_attempts, queue, kind,
                   unique_key, payload, errors
            from queue.dead_letters
            where job_id = any($1)
            order by job_id
            for update
        ), raised as (
            insert into queue.jobs
                (job_id, run_at, enqueued_at, priority, lane, attempt, max_attempts, queue, kind,
                 unique_key, payload, errors)
            select job_id, coalesce($2, now()), enqueued_at, priority, lane, attempt, max_attempts,
                   queue, kind, unique_key, payload, errors
            from meant
            on conflict (kind, unique_key) where unique_key is not null do nothing
            returning job_id, queue, kind, payload
        )
        delete from queue.dead_letters as letter
        using raised
        where letter.job_id = raised.job_id
        returning letter.job_id as "job_id: JobId", letter.queue, letter.kind, letter.payload
        "#,
        &ids,
        now,
    )
    .fetch_all(db)
    .await
}

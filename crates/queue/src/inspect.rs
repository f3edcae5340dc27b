//! Counts and ages of what waits, for metrics, health and the command line.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// What one queue holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct QueueDepth {
    pub queue: String,
    /// Due and waiting.
    pub available: i64,
    /// Waiting for their moment: scheduled, snoozed, to be tried again.
    pub scheduled: i64,
    pub running: i64,
    /// How long the oldest due job has waited; 0 if none is.
    pub oldest_available_seconds: f64,
    pub paused_at: Option<DateTime<Utc>>,
}

impl QueueDepth {
    /// The queues of `names` in their order, idle ones too, and after them what else has jobs.
    pub fn of_all<'a>(names: impl Iterator<Item = &'a str>, mut depths: Vec<Self>) -> Vec<Self> {
        let mut all: Vec<Self> = names
            .map(|queue| {
                let place = depths.iter().position(|depth| depth.queue == queue);
                place.map_or_else(|| Self::idle(queue), |place| depths.remove(place))
            })
            .collect();
        all.append(&mut depths);
        all
    }

    fn idle(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            available: 0,
            scheduled: 0,
            running: 0,
            oldest_available_seconds: 0.0,
            paused_at: None,
        }
    }
}

/// Depth and age of every queue that has jobs or a switch. Reads every open job: ask it every few
/// seconds, not per request.
pub async fn depths(
    db: &mut PgConnection,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<QueueDepth>, sqlx::Error> {
    sqlx::query_as!(
        QueueDepth,
        r#"
        select coalesce(depth.queue, switch.queue) as "queue!",
               coalesce(depth.available, 0) as "available!",
               coalesce(depth.scheduled, 0) as "scheduled!",
               coalesce(depth.running, 0) as "running!",
               coalesce(extract(epoch from coalesce($1, now()) - depth.oldest), 0)::float8
                   as "oldest_available_seconds!",
               switch.paused_at
        from (
            select queue,
                   count(*) filter (where state = 'available' and run_at <= coalesce($1, now()))
                       as available,
                   count(*) filter (where state = 'available' and run_at > coalesce($1, now()))
                       as scheduled,
                   count(*) filter (where state = 'running') as running,
                   min(run_at) filter (where state = 'available'
                                         and run_at <= coalesce($1, now())) as oldest
            from queue.jobs
            group by queue
        ) as depth
        full join queue.queues as switch using (queue)
        order by 1
        limit 1000
        "#,
        now,
    )
    .fetch_all(db)
    .await
}

/// A live process boot.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Worker {
    pub epoch: Uuid,
    pub node: String,
    pub pid: i32,
    pub queues: Vec<String>,
    pub started_at: DateTime<Utc>,
    pub heartbeat_at: DateTime<Utc>,
    /// How long ago that was, by the clock of the database.
    pub silent_seconds: f64,
}

/// The processes that work, oldest first.
pub async fn workers(db: &mut PgConnection) -> Result<Vec<Worker>, sqlx::Error> {
    sqlx::query_as!(
        Worker,
        r#"
        select epoch, node, pid, queues, started_at, heartbeat_at,
               extract(epoch from clock_timestamp() - heartbeat_at)::float8 as "silent_seconds!"
        from queue.workers
        order by epoch
        limit 1000
        "#,
    )
    .fetch_all(db)
    .await
}

/// Most jobs that one call of [`named_by_jobs`] or [`named_by_dead_letters`] reads.
const NAMING_MAX: i64 = 5000;

/// What some jobs name in their payloads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// Every text in a payload that is a UUID, whatever it stands for. Each once.
    pub ids: Vec<Uuid>,
    /// Where to go on; `None` after the last job.
    pub next: Option<Uuid>,
}

impl Named {
    fn of(rows: Vec<(Uuid, Vec<String>)>) -> Self {
        let is_last = (rows.len() as i64) < NAMING_MAX;
        let next = rows.last().map(|(job_id, _)| *job_id).filter(|_| !is_last);
        let texts = rows.iter().flat_map(|(_, texts)| texts);
        let mut ids: Vec<_> = texts
            .filter_map(|text| Uuid::parse_str(text).ok())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Self { ids, next }
    }
}

/// The ids in the payloads of the next open jobs after `after`, in the order of job ids.
///
/// Read them all in one transaction that sees one moment, and no reference is missed: a job that is
/// enqueued later names what an open one led to, or what is new.
pub async fn named_by_jobs(
    db: &mut PgConnection,
    after: Option<Uuid>,
) -> Result<Named, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select job_id,
               array(
                   select named.text #>> '{}'
                   from jsonb_path_query(payload, '$.** ? (@.type() == "string")')
                       as named (text)
               ) as "texts!"
        from queue.jobs
        where $1::uuid is null or job_id > $1
        order by job_id
        limit $2
        "#,
        after,
        NAMING_MAX,
    )
    .fetch_all(db)
    .await?;
    Ok(Named::of(
        rows.into_iter()
            .map(|row| (row.job_id, row.texts))
            .collect(),
    ))
}

/// The same for dead letters.
pub async fn named_by_dead_letters(
    db: &mut PgConnection,
    after: Option<Uuid>,
) -> Result<Named, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select job_id,
               array(
                   select named.text #>> '{}'
                   from jsonb_path_query(payload, '$.** ? (@.type() == "string")')
                       as named (text)
               ) as "texts!"
        from queue.dead_letters
        where $1::uuid is null or job_id > $1
        order by job_id
        limit $2
        "#,
        after,
        NAMING_MAX,
    )
    .fetch_all(db)
    .await?;
    Ok(Named::of(
        rows.into_iter()
            .map(|row| (row.job_id, row.texts))
            .collect(),
    ))
}

/// How much waits in a queue, counted up to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    pub queue: String,
    /// Jobs that wait: due now, or later.
    pub waiting: i64,
    pub dead_letters: i64,
}

/// Counts what waits in each of `queues`, and its dead letters, up to `most` of either: unlike
/// [`depths`] it may be asked per request, however long the queues are.
pub async fn backlogs(
    db: &mut PgConnection,
    queues: &[&str],
    most: i64,
) -> Result<Vec<Backlog>, sqlx::Error> {
    sqlx::query_as!(
        Backlog,
        r#"
        select asked.queue as "queue!", available.count as "waiting!", dead.count as "dead_letters!"
        from unnest($1::text[]) with ordinality as asked (queue, place)
        cross join lateral (
            select count(*) from (
                select from queue.jobs as job
                where job.queue = asked.queue and job.state = 'available' and job.crashes < 2
                limit $2
            ) as counted
        ) as available
        left join (
            select queue, count(*) from (
                select queue from queue.dead_letters limit $2
            ) as counted
            group by queue
        ) as found on found.queue = asked.queue
        cross join lateral (select coalesce(found.count, 0) as count) as dead
        order by asked.place
        "#,
        queues as &[&str],
        most,
    )
    .fetch_all(db)
    .await
}

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

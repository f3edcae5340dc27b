//! What this process knows of its own health and of what it depends on.
//!
//! The short answer is for balancers: ready or not. The long one is for people; it names queues and
//! nodes, and never a host, an address, a tenant or a secret. It reads every open job, so it is
//! worked out at most once a second, however many ask.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Channel;
use queue::Clock;
use queue::inspect::{QueueDepth, Worker, depths, workers};
use serde::Serialize;
use store::Store;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::config::Config;
use crate::shutdown::Lifetime;

/// How long a report is good for.
const FRESH: Duration = Duration::from_secs(1);

/// How long Postgres may take for it. After that it counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Seconds that the oldest due job of a queue may wait before that is late.
pub(crate) const LATE_SECONDS: f64 = 60.0;

/// Seconds without a heartbeat after which a node counts as gone.
pub(crate) const SILENT_SECONDS: f64 = 10.0;

/// One word for each part, and for the whole: the worst of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HealthWord)]
pub(crate) enum State {
    /// It works.
    Ok,
    /// It works, and something wants to be looked at.
    Degraded,
    /// It does not work, or the process is stopping.
    Down,
}

/// The long answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = HealthReport)]
pub(crate) struct Report {
    pub(crate) status: State,
    version: &'static str,
    /// Whether the process has been told to stop.
    stopping: bool,
    pub(crate) database: DatabaseHealth,
    pub(crate) wake_ups: WakeUpHealth,
    workers: WorkerHealth,
    /// Every queue that has jobs, or is paused.
    queues: Vec<QueueHealth>,
    /// Who carries each channel, as this process is configured.
    channels: BTreeMap<&'static str, ChannelHealth>,
}

/// Postgres, and the schema in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DatabaseHealth {
    status: State,
    /// How long it took to answer.
    #[schema(required)]
    latency_ms: Option<f64>,
    /// Migrations that are applied.
    #[schema(required)]
    migrations_applied: Option<usize>,
    /// Migrations that `postrider migrate` would apply.
    #[schema(required)]
    pub(crate) migrations_missing: Option<usize>,
}

/// LISTEN and NOTIFY, and NATS: without, jobs and feeds are found by polling, a little later.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WakeUpHealth {
    pub(crate) status: State,
    /// Whether this process listens.
    listening: bool,
    /// Whether the connection to NATS stands; null where none is configured.
    #[schema(required)]
    nats: Option<bool>,
}

/// The processes that work.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WorkerHealth {
    status: State,
    nodes: Vec<NodeHealth>,
    /// Queues with due jobs that no living node serves.
    unserved: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NodeHealth {
    status: State,
    /// `work.node` of that process.
    node: String,
    queues: Vec<String>,
    heartbeat_age_seconds: f64,
}

/// What waits in a queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct QueueHealth {
    status: State,
    queue: String,
    available: i64,
    scheduled: i64,
    running: i64,
    oldest_available_seconds: f64,
    paused: bool,
}

/// Who carries a channel.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChannelHealth {
    /// Null where nobody does: messages of this channel fail.
    #[schema(required)]
    provider: Option<&'static str>,
}

/// The ways of wake-ups to this process, and whether they stand.
#[derive(Debug, Clone)]
pub struct Hearing {
    pub postgres: watch::Receiver<bool>,
    /// Where there is one.
    pub nats: Option<watch::Receiver<bool>>,
}

/// Where a report comes from, and the last one.
pub(crate) struct Examiner {
    store: Store,
    clock: Clock,
    hearing: Hearing,
    lifetime: Lifetime,
    channels: BTreeMap<&'static str, ChannelHealth>,
    last: Mutex<Option<(Instant, Report)>>,
}

impl Examiner {
    pub(crate) fn new(
        config: &Config,
        store: Store,
        clock: Clock,
        hearing: Hearing,
        lifetime: Lifetime,
    ) -> Self {
        Self {
            store,
            clock,
            hearing,
            lifetime,
            channels: channels(config),
            last: Mutex::default(),
        }
    }

    /// Whether requests may be sent here: not while the process stops.
    pub(crate) fn is_leaving(&self) -> bool {
        self.lifetime.draining.is_cancelled() || self.lifetime.stopping.is_cancelled()
    }

    /// The long answer, a second old at most.
    pub(crate) async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH
            && report.stopping == self.is_leaving()
        {
            return report.clone();
        }
        let report = self.examine().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn examine(&self) -> Report {
        let seen = timeout(PATIENCE, self.look())
            .await
            .ok()
            .and_then(Result::ok);
        let (database, workers, queues) = seen.unwrap_or_else(|| {
            let away = DatabaseHealth {
                status: State::Down,
                latency_ms: None,
                migrations_applied: None,
                migrations_missing: None,
            };
            let unknown = WorkerHealth {
                status: State::Degraded,
                nodes: Vec::new(),
                unserved: Vec::new(),
            };
            (away, unknown, Vec::new())
        });
        let listening = *self.hearing.postgres.borrow();
        let nats = self.hearing.nats.as_ref().map(|nats| *nats.borrow());
        let wake_ups = WakeUpHealth {
            status: if listening && nats != Some(false) {
                State::Ok
            } else {
                State::Degraded
            },
            listening,
            nats,
        };
        let stopping = self.is_leaving();
        let queue = queues.iter().map(|queue| queue.status).max();
        let worst = [
            if stopping { State::Down } else { State::Ok },
            database.status,
            wake_ups.status,
            workers.status,
            queue.unwrap_or(State::Ok),
        ];
        Report {
            status: worst.into_iter().max().unwrap_or(State::Ok),
            version: env!("CARGO_PKG_VERSION"),
            stopping,
            database,
            wake_ups,
            workers,
            queues,
            channels: self.channels.clone(),
        }
    }

    /// What Postgres has to say.
    async fn look(
        &self,
    ) -> Result<(DatabaseHealth, WorkerHealth, Vec<QueueHealth>), store::StoreError> {
        let mut conn = self.store.acquire().await?;
        let asked = Instant::now();
        let migrations = store::server::migrations(&mut conn).await?;
        let latency = asked.elapsed();
        let during = |operation| move |source| store::StoreError::Database { operation, source };
        let nodes = workers(&mut conn).await.map_err(during("read the nodes"))?;
        let queues = depths(&mut conn, self.clock.fixed())
            .await
            .map_err(during("read the depths of the queues"))?;
        let database = DatabaseHealth {
            status: if migrations.missing.is_empty() {
                State::Ok
            } else {
                State::Degraded
            },
            latency_ms: Some(latency.as_secs_f64() * 1e3),
            migrations_applied: Some(migrations.applied),
            migrations_missing: Some(migrations.missing.len()),
        };
        let workers = worker_health(nodes, &queues);
        let queues = queues.into_iter().map(queue_health).collect();
        Ok((database, workers, queues))
    }
}

fn worker_health(nodes: Vec<Worker>, queues: &[QueueDepth]) -> WorkerHealth {
    let is_alive = |node: &Worker| node.silent_seconds < SILENT_SECONDS;
    let unserved: Vec<String> = queues
        .iter()
        .filter(|queue| queue.available > 0 && queue.paused_at.is_none())
        .filter(|queue| {
            let mut alive = nodes.iter().filter(|node| is_alive(node));
            !alive.any(|node| node.queues.contains(&queue.queue))
        })
        .map(|queue| queue.queue.clone())
        .collect();
    let nodes: Vec<NodeHealth> = nodes
        .into_iter()
        .map(|node| NodeHealth {
            status: if is_alive(&node) {
                State::Ok
            } else {
                State::Degraded
            },
            node: node.node,
            queues: node.queues,
            heartbeat_age_seconds: node.silent_seconds,
        })
        .collect();
    let silent = nodes.iter().any(|node| node.status != State::Ok);
    let is_well = unserved.is_empty() && !silent && !nodes.is_empty();
    WorkerHealth {
        status: if is_well { State::Ok } else { State::Degraded },
        nodes,
        unserved,
    }
}

fn queue_health(queue: QueueDepth) -> QueueHealth {
    let paused = queue.paused_at.is_some();
    let is_late = queue.oldest_available_seconds > LATE_SECONDS;
    QueueHealth {
        // Somebody paused it, and knows.
        status: if is_late && !paused {
            State::Degraded
        } else {
            State::Ok
        },
        queue: queue.queue,
        available: queue.available,
        scheduled: queue.scheduled,
        running: queue.running,
        oldest_available_seconds: queue.oldest_available_seconds,
        paused,
    }
}

/// Who carries each channel.
fn channels(config: &Config) -> BTreeMap<&'static str, ChannelHealth> {
    let outbox = config.work.outbox.then_some("outbox");
    let provider = |channel| match channel {
        Channel::InApp => Some("feed"),
        Channel::Webhook => Some("http"),
        Channel::Email if config.smtp.url.is_some() => Some("smtp"),
        _ => outbox,
    };
    Channel::ALL
        .into_iter()
        .map(|channel| {
            let provider = provider(channel);
            (channel.as_str(), ChannelHealth { provider })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn node(queues: &[&str], silent_seconds: f64) -> Worker {
        Worker {
            epoch: uuid::Uuid::nil(),
            node: "n".to_owned(),
            pid: 1,
            queues: queues.iter().map(|&queue| queue.to_owned()).collect(),
            started_at: DateTime::UNIX_EPOCH,
            heartbeat_at: DateTime::UNIX_EPOCH,
            silent_seconds,
        }
    }

    fn queue(name: &str, available: i64, oldest: f64, is_paused: bool) -> QueueDepth {
        QueueDepth {
            queue: name.to_owned(),
            available,
            scheduled: 0,
            running: 0,
            oldest_available_seconds: oldest,
            paused_at: is_paused.then_some(DateTime::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_queue_that_waits_for_nobody_is_named() {
        let queues = [
            queue("route", 1, 0.1, false),
            queue("email", 1, 0.1, false),
            queue("sms", 1, 0.1, true),
            queue("push", 0, 0.0, false),
        ];

        let health = worker_health(vec![node(&["route"], 1.0), node(&["email"], 11.0)], &queues);

        assert_eq!(health.unserved, ["email"], "its node is silent");
        assert_eq!(health.status, State::Degraded);
        let health = worker_health(vec![node(&["route", "email"], 1.0)], &queues);
        assert_eq!((health.status, health.unserved.len()), (State::Ok, 0));
        assert_eq!(worker_health(Vec::new(), &[]).status, State::Degraded);
    }

    #[test]
    fn a_late_queue_is_degraded_unless_somebody_paused_it() {
        let status = |is_paused| queue_health(queue("email", 1, 61.0, is_paused)).status;

        assert_eq!((status(false), status(true)), (State::Degraded, State::Ok));
        assert_eq!(
            queue_health(queue("email", 1, 59.0, false)).status,
            State::Ok
        );
    }
}

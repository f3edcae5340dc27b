//! The pulse of one process: what it did, added to the row of each minute, and now and then a look
//! at the queues.
//!
//! What it did is read from its own metrics, so counting costs nothing more, and the rows of a minute
//! are the sum over all processes. A process that dies loses what it did in the last seconds; the
//! counts of `/v1/stats` are exact, these are for charts.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use queue::Clock;
use queue::inspect::QueueDepth;
use store::pulse::What;
use store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often what was done is added.
const BEAT_INTERVAL: Duration = Duration::from_secs(10);

/// How often the queues are looked at, whoever does it: it reads every open job.
const LOOK_INTERVAL: TimeDelta = TimeDelta::seconds(9);

const LATENCY: &str = "notification_delivery_latency_seconds";
const ATTEMPTS: &str = "postrider_attempts_total";
const FINISHED: &str = "postrider_jobs_finished_total";

/// Outcomes of attempts that went out.
const WENT_OUT: [&str; 2] = ["sent", "delivered"];

/// What this process has done since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Done {
    /// Deliveries by the bounds of their latency; the last place is beyond all bounds.
    went_out: Vec<u64>,
    counts: BTreeMap<(What, String), u64>,
}

/// The pulse of one process.
#[derive(Debug)]
pub struct Pulse {
    store: Store,
    clock: Clock,
    registry: Registry,
    /// What is in the rows already.
    told: Done,
}

impl Pulse {
    pub fn new(store: Store, clock: Clock, registry: Registry) -> Self {
        Self {
            store,
            clock,
            registry,
            told: Done::default(),
        }
    }

    /// Beats until `stop`, and then once more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(BEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            if let Err(error) = self.beat().await {
                warn!(
                    error = queue::describe(&error),
                    "what was done in this minute was not noted"
                );
            }
            if is_over {
                return;
            }
        }
    }

    /// Adds what was done since the last beat, and looks at the queues if nobody has lately.
    pub async fn beat(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        self.add(minute).await?;
        let mut conn = self.store.acquire().await?;
        if store::pulse::was_looked(&mut conn, now - LOOK_INTERVAL).await? {
            return Ok(());
        }
        let depths = queue::inspect::depths(&mut conn, self.clock.fixed())
            .await
            .map_err(|source| StoreError::Database {
                operation: "read the depths of the queues",
                source,
            })?;
        drop(conn);
        let mut tx = self.store.begin().await?;
        let (waiting, oldest) = waiting(&depths);
        store::pulse::look(&mut tx, minute, now, waiting, oldest).await?;
        tx.commit().await
    }

    async fn add(&mut self, minute: DateTime<Utc>) -> Result<(), StoreError> {
        let done = Done::read(&self.registry.gather());
        let since = done.since(&self.told);
        if since == Done::default() {
            return Ok(());
        }
        let counts: Vec<_> = since
            .counts
            .into_iter()
            .map(|((what, label), count)| (what, label, count.cast_signed()))
            .collect();
        let went_out: Vec<_> = since
            .went_out
            .iter()
            .map(|count| count.cast_signed())
            .collect();
        let mut tx = self.store.begin().await?;
        store::pulse::add(&mut tx, minute, &went_out, &counts).await?;
        tx.commit().await?;
        self.told = done;
        Ok(())
    }
}

/// Jobs that are due or running, and how long the oldest waits. What a paused queue keeps is late
/// because somebody said so.
fn waiting(depths: &[QueueDepth]) -> (i64, f64) {
    let waiting = depths.iter().map(|depth| depth.available + depth.running);
    let oldest = depths
        .iter()
        .filter(|depth| depth.paused_at.is_none())
        .map(|depth| depth.oldest_available_seconds);
    (waiting.sum(), oldest.fold(0.0, f64::max))
}

impl Done {
    /// Reads the metrics of a process; one that does not work has none of these.
    fn read(families: &[MetricFamily]) -> Self {
        let mut done = Self::default();
        for family in families {
            for metric in family.get_metric() {
                let label = |name: &str| {
                    let mut labels = metric.get_label().iter();
                    let label = labels.find(|label| label.name() == name);
                    label
                        .map(|label| label.value().to_owned())
                        .unwrap_or_default()
                };
                let count = metric.get_counter().get_value() as u64;
                match family.name() {
                    LATENCY => done.went_out = buckets(metric.get_histogram()),
                    ATTEMPTS if !WENT_OUT.contains(&label("outcome").as_str()) => {
                        let label = format!("{}/{}", label("channel"), label("outcome"));
                        *done.counts.entry((What::Failures, label)).or_default() += count;
                    }
                    FINISHED => {
                        let key = (What::Finished, label("queue"));
                        *done.counts.entry(key).or_default() += count;
                    }
                    _ => {}
                }
            }
        }
        done
    }

    /// What was done since it was `before`. Nothing, if there is nothing to tell.
    fn since(&self, before: &Self) -> Self {
        let was = |place: usize| before.went_out.get(place).copied().unwrap_or_default();
        let went_out = self.went_out.iter().enumerate();
        let went_out: Vec<_> = went_out
            .map(|(place, count)| count.saturating_sub(was(place)))
            .collect();
        let counts = self.counts.iter().map(|(key, count)| {
            let was = before.counts.get(key).copied().unwrap_or_default();
            (key.clone(), count.saturating_sub(was))
        });
        let counts: BTreeMap<_, _> = counts.filter(|(_, count)| *count > 0).collect();
        let is_idle = counts.is_empty() && went_out.iter().all(|count| *count == 0);
        if is_idle {
            return Self::default();
        }
        Self { went_out, counts }
    }
}

/// How many lie within each bound and above the one before, and at last beyond all.
fn buckets(histogram: &prometheus::proto::Histogram) -> Vec<u64> {
    let mut below = 0;
    let mut counts: Vec<u64> = histogram
        .get_bucket()
        .iter()
        .filter(|bucket| bucket.upper_bound().is_finite())
        .map(|bucket| {
            let count = bucket.cumulative_count().saturating_sub(below);
            below = bucket.cumulative_count();
            count
        })
        .collect();
    counts.push(histogram.get_sample_count().saturating_sub(below));
    counts
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};

    use super::*;

    fn registry() -> (Registry, Histogram, IntCounterVec) {
        let registry = Registry::new();
        let buckets = HistogramOpts::new(LATENCY, "…").buckets(vec![0.1, 1.0]);
        let latency = Histogram::with_opts(buckets).unwrap();
        let labels = ["channel", "outcome"];
        let attempts = IntCounterVec::new(Opts::new(ATTEMPTS, "…"), &labels).unwrap();
        registry.register(Box::new(latency.clone())).unwrap();
        registry.register(Box::new(attempts.clone())).unwrap();
        (registry, latency, attempts)
    }

    #[test]
    fn what_was_done_since_the_last_beat_is_told_once() {
        let (registry, latency, attempts) = registry();
        let before = Done::read(&registry.gather());
        assert_eq!(before.since(&Done::default()), Done::default());
        for seconds in [0.05, 0.5, 0.6, 7.0] {
            latency.observe(seconds);
        }
        attempts.with_label_values(&["email", "sent"]).inc_by(9);
        attempts.with_label_values(&["email", "bounced"]).inc_by(2);

        let after = Done::read(&registry.gather());
        let since = after.since(&before);

        assert_eq!(since.went_out, [1, 2, 1]);
        let bounced = (What::Failures, "email/bounced".to_owned());
        assert_eq!(since.counts, BTreeMap::from([(bounced, 2)]));
        assert_eq!(after.since(&after), Done::default());
    }

    #[test]
    fn a_paused_queue_is_not_late() {
        let queue = |oldest, is_paused| QueueDepth {
            queue: "q".to_owned(),
            available: 2,
            scheduled: 5,
            running: 1,
            oldest_available_seconds: oldest,
            paused_at: if is_paused {
                Some(DateTime::UNIX_EPOCH)
            } else {
                None
            },
        };

        assert_eq!(waiting(&[queue(3.0, false), queue(900.0, true)]), (6, 3.0));
        assert_eq!(waiting(&[]), (0, 0.0));
    }
}

//! Every metric of this crate. The only file where their names appear.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use crate::finish::Exit;
use crate::lease::Lease;
use crate::rate::Rates;

/// Seconds: from a millisecond to a minute.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0,
];

/// Counters and histograms of one process.
#[derive(Debug, Clone)]
pub struct Metrics {
    claimed: IntCounterVec,
    finished: IntCounterVec,
    wait_seconds: HistogramVec,
    run_seconds: HistogramVec,
    settlement_seconds: Histogram,
    settlement_jobs: Histogram,
    settlements_retried: IntCounter,
    leases_lost: IntCounter,
    taken_over: IntCounterVec,
    rates: Rates,
    replayed: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// If `registry` already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            claimed: IntCounterVec::new(
                Opts::new("postrider_jobs_claimed_total", "Attempts started."),
                &["queue"],
            )?,
            finished: IntCounterVec::new(
                Opts::new(
                    "postrider_jobs_finished_total",
                    "Attempts ended, by what became.",
                ),
                &["queue", "kind", "outcome"],
            )?,
            wait_seconds: HistogramVec::new(
                HistogramOpts::new("postrider_job_wait_seconds", "From due to claimed.")
                    .buckets(SECONDS.into()),
                &["queue"],
            )?,
            run_seconds: HistogramVec::new(
                HistogramOpts::new("postrider_job_run_seconds", "Time in the handler.")
                    .buckets(SECONDS.into()),
                &["queue", "kind"],
            )?,
            settlement_seconds: Histogram::with_opts(
                HistogramOpts::new("postrider_settlement_seconds", "Time of one settlement.")
                    .buckets(SECONDS.into()),
            )?,
            settlement_jobs: Histogram::with_opts(
                HistogramOpts::new("postrider_settlement_jobs", "Outcomes in one settlement.")
                    .buckets(vec![1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0]),
            )?,
            settlements_retried: IntCounter::new(
                "postrider_settlements_retried_total",
                "Settlements tried again after a passing database fault.",
            )?,
            leases_lost: IntCounter::new(
                "postrider_leases_lost_total",
                "Outcomes discarded because the job had been taken over.",
            )?,
            taken_over: IntCounterVec::new(
                Opts::new(
                    "postrider_leases_expired_total",
                    "Jobs taken over from dead nodes.",
                ),
                &["queue"],
            )?,
            rates: Rates::new(
                "notification_queue_processing_rate",
                "Attempts of a queue that this process ended per second, over the last minute.",
            )?,
            replayed: IntCounterVec::new(
                Opts::new(
                    "postrider_replayed_jobs_total",
                    "Dead letters that replays looked at, by what became of them.",
                ),
                &["outcome"],
            )?,
        };
        registry.register(Box::new(metrics.claimed.clone()))?;
        registry.register(Box::new(metrics.finished.clone()))?;
        registry.register(Box::new(metrics.wait_seconds.clone()))?;
        registry.register(Box::new(metrics.run_seconds.clone()))?;
        registry.register(Box::new(metrics.settlement_seconds.clone()))?;
        registry.register(Box::new(metrics.settlement_jobs.clone()))?;
        registry.register(Box::new(metrics.settlements_retried.clone()))?;
        registry.register(Box::new(metrics.leases_lost.clone()))?;
        registry.register(Box::new(metrics.taken_over.clone()))?;
        registry.register(Box::new(metrics.rates.clone()))?;
        registry.register(Box::new(metrics.replayed.clone()))?;
        Ok(metrics)
    }

    /// Exports the labels of a queue and kind at zero, from the start.
    pub(crate) fn expect(&self, queue: &str, kind: &str) {
        self.claimed.with_label_values(&[queue]);
        self.wait_seconds.with_label_values(&[queue]);
        self.run_seconds.with_label_values(&[queue, kind]);
        self.taken_over.with_label_values(&[queue]);
        self.rates.expect(queue);
        for outcome in ["completed", "returned", "buried"] {
            self.finished.with_label_values(&[queue, kind, outcome]);
        }
    }

    pub(crate) fn claimed(&self, leases: &[Lease]) {
        for chunk in leases.chunk_by(|left, right| left.queue == right.queue) {
            self.claimed
                .with_label_values(&[&chunk[0].queue])
                .inc_by(chunk.len() as u64);
            let waits = self.wait_seconds.with_label_values(&[&chunk[0].queue]);
            for lease in chunk {
                waits.observe(lease.waited_seconds);
            }
        }
    }

    /// Follow-up jobs that started without a claim: they have not waited.
    pub(crate) fn kept<'a>(&self, queues: impl Iterator<Item = &'a str>) {
        for queue in queues {
            self.claimed.with_label_values(&[queue]).inc();
        }
    }

    /// The histogram of one queue and kind, looked up once instead of per job.
    pub(crate) fn run_seconds(&self, queue: &str, kind: &str) -> Histogram {
        self.run_seconds.with_label_values(&[queue, kind])
    }

    pub(crate) fn finished(&self, lease: &Lease, exit: &Exit) {
        let outcome = match exit {
            Exit::Delete => "completed",
            Exit::Return { .. } => "returned",
            Exit::Bury { .. } => "buried",
        };
        self.finished
            .with_label_values(&[lease.queue.as_str(), &lease.kind, outcome])
            .inc();
        self.rates.ended(&lease.queue, 1);
    }

    pub(crate) fn settled(&self, jobs: usize, lost: usize, elapsed: Duration) {
        self.settlement_seconds.observe(elapsed.as_secs_f64());
        self.settlement_jobs.observe(jobs as f64);
        self.leases_lost.inc_by(lost as u64);
    }

    pub(crate) fn settlement_retried(&self) {
        self.settlements_retried.inc();
    }

    /// Counts dead letters that a replay has looked at. With 0 an outcome is exported from the start.
    pub fn replayed(&self, outcome: &str, jobs: u64) {
        self.replayed.with_label_values(&[outcome]).inc_by(jobs);
    }

    pub(crate) fn taken_over(&self, queue: &str, jobs: u64) {
        self.taken_over.with_label_values(&[queue]).inc_by(jobs);
    }
}

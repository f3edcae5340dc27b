//! Every metric of the front, and the page that shows those of all crates.
//!
//! All are exported from the start, at zero: a dashboard that asks for a rate must not find a hole.
//! Labels have few values and never name a person or a tenant.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::lookout;

/// Seconds: from a local commit to a client's patience.
const SECONDS_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Rows of a group commit.
const ROWS_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 5000.0];

/// What became of a submitted row.
const INTAKE_OUTCOMES: [&str; 3] = ["accepted", "duplicate", "refused"];

/// How answers are counted.
const ANSWER_OUTCOMES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why the edge turned a request away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its caller asks too often.
    Caller,
    /// Its address asks too often.
    Address,
    /// Too many bad credentials came from its address.
    Failures,
    /// There were too many connections, in all or from its address.
    Connections,
    /// Too many bytes of bodies were being read.
    Bodies,
    /// Its path or its header was too long.
    Shape,
    /// It was at work for too long.
    Time,
}

impl Refused {
    const ALL: [Self; 7] = [
        Self::Caller,
        Self::Address,
        Self::Failures,
        Self::Connections,
        Self::Bodies,
        Self::Shape,
        Self::Time,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Caller => "caller_rate",
            Self::Address => "address_rate",
            Self::Failures => "bad_credentials",
            Self::Connections => "connections",
            Self::Bodies => "bodies",
            Self::Shape => "shape",
            Self::Time => "time",
        }
    }
}

/// What the front counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub websocket_connections: IntGauge,
    pub live_streams: IntGauge,
    pub websocket_messages_sent: IntCounter,
    pub websocket_errors: IntCounter,
    pub intake_rows: IntCounterVec,
    pub intake_group_rows: Histogram,
    pub intake_commit_seconds: Histogram,
    pub http_connections: IntGauge,
    http_requests: IntCounterVec,
    http_seconds: Histogram,
    http_refused: IntCounterVec,
    queue_depth: IntGaugeVec,
    queue_oldest: GaugeVec,
    legacy: Option<LegacyNames>,
}

/// Names that break today's conventions, kept for dashboards of the systems before.
#[derive(Debug, Clone)]
struct LegacyNames {
    connections: IntGauge,
    queue_depth: IntGaugeVec,
}

impl Metrics {
    /// Makes and registers everything, at zero. `with_legacy_names` adds the old names.
    ///
    /// # Errors
    ///
    /// If `registry` already has metrics of these names.
    pub fn register(
        registry: &Registry,
        with_legacy_names: bool,
    ) -> Result<Self, prometheus::Error> {
        let legacy = if with_legacy_names {
            Some(LegacyNames::register(registry)?)
        } else {
            None
        };
        let metrics = Self {
            websocket_connections: add(
                registry,
                IntGauge::new(
                    "notification_websocket_connections",
                    "Sockets open in this process.",
                ),
            )?,
            live_streams: add(
                registry,
                IntGauge::new(
                    "postrider_live_streams",
                    "Streams (SSE) and polls that follow a feed in this process.",
                ),
            )?,
            websocket_messages_sent: add(
                registry,
                IntCounter::new(
                    "notification_websocket_messages_sent_total",
                    "Notifications written to sockets.",
                ),
            )?,
            websocket_errors: add(
                registry,
                IntCounter::new(
                    "notification_websocket_errors_total",
                    "Sockets that we had to close: bad credential, too slow, too big.",
                ),
            )?,
            intake_rows: add(
                registry,
                IntCounterVec::new(
                    Opts::new("postrider_intake_rows_total", "Rows submitted, by outcome."),
                    &["outcome"],
                ),
            )?,
            intake_group_rows: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new("postrider_intake_group_rows", "Rows per group commit.")
                        .buckets(ROWS_BUCKETS.to_vec()),
                ),
            )?,
            intake_commit_seconds: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "postrider_intake_commit_seconds",
                        "Time of one group commit.",
                    )
                    .buckets(SECONDS_BUCKETS.to_vec()),
                ),
            )?,
            http_connections: add(
                registry,
                IntGauge::new(
                    "postrider_http_connections",
                    "Connections open in this process, sockets among them.",
                ),
            )?,
            http_requests: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "postrider_http_requests_total",
                        "Requests answered, by outcome.",
                    ),
                    &["outcome"],
                ),
            )?,
            http_seconds: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "postrider_http_request_seconds",
                        "From a request's header to the beginning of its answer.",
                    )
                    .buckets(SECONDS_BUCKETS.to_vec()),
                ),
            )?,
            http_refused: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "postrider_http_refused_total",
                        "Requests and connections turned away by a limit.",
                    ),
                    &["reason"],
                ),
            )?,
            queue_depth: add(registry, queue_depth("notification_queue_depth"))?,
            queue_oldest: add(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "postrider_queue_oldest_available_seconds",
                        "How long the oldest due job of a queue has waited.",
                    ),
                    &["queue"],
                ),
            )?,
            legacy,
        };
        for outcome in ANSWER_OUTCOMES {
            metrics
                .http_requests
                .with_label_values(&[outcome])
                .inc_by(0);
        }
        for why in Refused::ALL {
            metrics
                .http_refused
                .with_label_values(&[why.word()])
                .inc_by(0);
        }
        for outcome in INTAKE_OUTCOMES {
            metrics.intake_rows.with_label_values(&[outcome]).inc_by(0);
        }
        metrics.show_queues(workers::queues::all().map(|queue| (queue, 0, 0.0)));
        Ok(metrics)
    }

    /// Counts an answer, and why the edge gave it, if it did.
    pub(crate) fn answered(&self, status: StatusCode, refused: Option<Refused>, took: Duration) {
        let class = usize::from(status.as_u16() / 100);
        let outcome = ANSWER_OUTCOMES.get(class.wrapping_sub(1)).unwrap_or(&"5xx");
        self.http_requests.with_label_values(&[*outcome]).inc();
        self.http_seconds.observe(took.as_secs_f64());
        if let Some(why) = refused {
            self.refused(why);
        }
    }

    /// Counts what was turned away.
    pub(crate) fn refused(&self, why: Refused) {
        self.http_refused.with_label_values(&[why.word()]).inc();
    }

    /// Shows how many open jobs each queue has, and for how many seconds the oldest due one waits.
    pub fn show_queues<'a>(&self, queues: impl IntoIterator<Item = (&'a str, i64, f64)>) {
        for (queue, depth, oldest) in queues {
            self.queue_depth.with_label_values(&[queue]).set(depth);
            self.queue_oldest.with_label_values(&[queue]).set(oldest);
            if let Some(legacy) = &self.legacy {
                legacy.queue_depth.with_label_values(&[queue]).set(depth);
            }
        }
    }

    /// The text of `/metrics`: everything in `registry`.
    pub fn render(&self, registry: &Registry) -> Result<String, prometheus::Error> {
        if let Some(legacy) = &self.legacy {
            legacy.connections.set(self.websocket_connections.get());
        }
        lookout::text_of(registry)
    }
}

impl LegacyNames {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connections: add(
                registry,
                IntGauge::new(
                    "notification_websocket_connections_total",
                    "The same as notification_websocket_connections.",
                ),
            )?,
            queue_depth: add(registry, queue_depth("queue_depth"))?,
        })
    }
}

fn queue_depth(name: &str) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(
        Opts::new(name, "Open jobs of a queue, due or not."),
        &["queue"],
    )
}

fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_from_the_start() {
        let registry = Registry::new();
        let text = Metrics::register(&registry, false)
            .unwrap()
            .render(&registry)
            .unwrap();

        for line in [
            "notification_websocket_connections 0",
            "notification_websocket_messages_sent_total 0",
            "notification_websocket_errors_total 0",
            "notification_queue_depth{queue=\"in_app\"} 0",
            "postrider_intake_rows_total{outcome=\"refused\"} 0",
            "postrider_intake_group_rows_count 0",
        ] {
            assert!(
                text.lines().any(|each| each == line),
                "{line} is missing in\n{text}"
            );
        }
        assert!(!text.contains("connections_total"));
    }

    #[test]
    fn legacy_names_follow_their_originals() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, true).unwrap();
        metrics.websocket_connections.set(3);
        metrics.show_queues([("route", 7, 0.5)]);

        let text = metrics.render(&registry).unwrap();

        assert!(text.contains("notification_websocket_connections_total 3"));
        assert!(text.contains("\nqueue_depth{queue=\"route\"} 7"));
    }
}

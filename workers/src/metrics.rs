//! What became of notifications, counted where it is known to be committed.
//!
//! The settlement tells what it wrote; a settlement that was undone, or discarded because its jobs
//! had been taken over, tells nothing. All names are exported from the start, at zero.

use domain::{AttemptStatus, Channel, Scope, Status};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use store::settlement::{Applied, StatusMove};

/// Bounds of latencies, in seconds: from a feed that is near to a provider that was away for a day.
pub const LATENCY_BOUNDS: [f64; 16] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    86400.0,
];

/// Counters of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeliveryMetrics {
    emitted: IntCounter,
    delivered: IntCounterVec,
    failed: IntCounterVec,
    emails_sent: IntCounter,
    sms_sent: IntCounter,
    latency: Histogram,
    legacy_latency: Option<Histogram>,
    errors: IntCounter,
    attempts: IntCounterVec,
    rate_limited: IntCounterVec,
    limiter_failures: IntCounter,
}

impl DeliveryMetrics {
    /// Makes the metrics and registers them, at zero. `with_legacy_names` adds the old names.
    ///
    /// # Errors
    ///
    /// If `registry` already has metrics of these names.
    pub fn register(
        registry: &Registry,
        with_legacy_names: bool,
    ) -> Result<Self, prometheus::Error> {
        let by_channel = |name: &str, help: &str| {
            add(
                registry,
                IntCounterVec::new(Opts::new(name, help), &["channel"]),
            )
        };
        let count = |name: &str, help: &str| add(registry, IntCounter::new(name, help));
        let legacy_latency = with_legacy_names.then(|| {
            let name = "delivery_latency_seconds";
            add(
                registry,
                latency(name, "The same as notification_delivery_latency_seconds."),
            )
        });
        let metrics = Self {
            emitted: count(
                "notifications_emitted_total",
                "Notifications that were routed: it was decided who gets them, and how.",
            )?,
            delivered: by_channel(
                "notifications_delivered_total",
                "Deliveries that went out, to their provider or into a feed.",
            )?,
            failed: by_channel(
                "notifications_failed_total",
                "Deliveries that will not go out any more.",
            )?,
            emails_sent: count(
                "notification_emails_sent_total",
                "Mails that their server took.",
            )?,
            sms_sent: count(
                "notification_sms_sent_total",
                "Text messages that their provider took.",
            )?,
            latency: add(
                registry,
                latency(
                    "notification_delivery_latency_seconds",
                    "From the moment a delivery was planned to the one it went out.",
                ),
            )?,
            legacy_latency: legacy_latency.transpose()?,
            errors: count(
                "notification_delivery_errors_total",
                "Attempts that did not reach their provider, or were refused there.",
            )?,
            attempts: add(
                registry,
                IntCounterVec::new(
                    Opts::new("postrider_attempts_total", "Attempts to send, by outcome."),
                    &["channel", "outcome"],
                ),
            )?,
            rate_limited: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "postrider_rate_limited_total",
                        "Sends put off because a rate limit was full, by what it counts.",
                    ),
                    &["channel", "limit"],
                ),
            )?,
            limiter_failures: count(
                "postrider_limiter_failures_total",
                "Claims of which the rate limits could not be counted.",
            )?,
        };
        for channel in Channel::ALL.map(Channel::as_str) {
            metrics.delivered.with_label_values(&[channel]);
            metrics.failed.with_label_values(&[channel]);
            for outcome in AttemptStatus::ALL.map(AttemptStatus::as_str) {
                metrics.attempts.with_label_values(&[channel, outcome]);
            }
            for limit in Scope::ALL.map(Scope::as_str) {
                metrics.rate_limited.with_label_values(&[channel, limit]);
            }
        }
        Ok(metrics)
    }

    /// Counts what a settlement has committed.
    pub(crate) fn committed(&self, applied: &Applied) {
        self.emitted.inc_by(applied.routed);
        for (channel, status) in &applied.attempts {
            let labels = [channel.as_str(), status.as_str()];
            self.attempts.with_label_values(&labels).inc();
            if !matches!(status, AttemptStatus::Sent | AttemptStatus::Delivered) {
                self.errors.inc();
            }
        }
        for channel in &applied.hopeless {
            self.failed.with_label_values(&[channel.as_str()]).inc();
        }
        for moved in &applied.moves {
            self.moved(moved);
        }
    }

    /// Counts a send that waits for a slot. It is told before it is committed: a run that is taken
    /// over counts twice.
    pub(crate) fn rate_limited(&self, channel: Channel, scope: Scope) {
        let labels = [channel.as_str(), scope.as_str()];
        self.rate_limited.with_label_values(&labels).inc();
    }

    /// Counts a claim whose slots nobody could count.
    pub(crate) fn uncounted(&self) {
        self.limiter_failures.inc();
    }

    fn moved(&self, moved: &StatusMove) {
        let is_out = |status| matches!(status, Status::Sent | Status::Delivered);
        let channel = [moved.channel.as_str()];
        // A receipt that follows says nothing new.
        if is_out(moved.status) && !is_out(moved.from) {
            self.delivered.with_label_values(&channel).inc();
            match moved.channel {
                Channel::Email => self.emails_sent.inc(),
                Channel::Sms => self.sms_sent.inc(),
                _ => {}
            }
            if let Some(seconds) = seconds_since_planned(moved) {
                self.latency.observe(seconds);
                if let Some(latency) = &self.legacy_latency {
                    latency.observe(seconds);
                }
            }
        } else if moved.status == Status::Failed {
            self.failed.with_label_values(&channel).inc();
        }
    }
}

/// The id of a delivery says when it was planned.
fn seconds_since_planned(moved: &StatusMove) -> Option<f64> {
    let (seconds, nanos) = moved.delivery_id.as_uuid().get_timestamp()?.to_unix();
    let planned = seconds as f64 + f64::from(nanos) / 1e9;
    Some((moved.at.timestamp_micros() as f64 / 1e6 - planned).max(0.0))
}

fn latency(name: &str, help: &str) -> prometheus::Result<Histogram> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BOUNDS.to_vec()))
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
    use chrono::{DateTime, TimeDelta, Utc};
    use domain::{DeliveryId, NotificationId};

    use super::*;

    fn moved(channel: Channel, from: Status, status: Status) -> StatusMove {
        let planned: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        StatusMove {
            delivery_id: DeliveryId::at(planned),
            notification_id: NotificationId::at(planned),
            channel,
            from,
            status,
            at: planned + TimeDelta::milliseconds(1500),
        }
    }

    #[test]
    fn a_delivery_counts_once_when_it_goes_out_however_it_goes_on() {
        let metrics = DeliveryMetrics::register(&Registry::new(), true).unwrap();
        let applied = Applied {
            moves: vec![
                moved(Channel::Email, Status::Queued, Status::Sent),
                moved(Channel::Email, Status::Sent, Status::Delivered),
                moved(Channel::InApp, Status::Queued, Status::Delivered),
                moved(Channel::Sms, Status::Retrying, Status::Failed),
                moved(Channel::Sms, Status::Queued, Status::Retrying),
            ],
            attempts: vec![
                (Channel::Email, AttemptStatus::Sent),
                (Channel::Sms, AttemptStatus::Unknown),
            ],
            routed: 3,
            hopeless: vec![Channel::Voice],
            ..Applied::default()
        };

        metrics.committed(&applied);

        let delivered = |channel| metrics.delivered.with_label_values(&[channel]).get();
        assert_eq!(
            (delivered("email"), delivered("in_app"), delivered("sms")),
            (1, 1, 0)
        );
        for channel in ["sms", "voice"] {
            assert_eq!(metrics.failed.with_label_values(&[channel]).get(), 1);
        }
        assert_eq!((metrics.emails_sent.get(), metrics.sms_sent.get()), (1, 0));
        assert_eq!((metrics.emitted.get(), metrics.errors.get()), (3, 1));
        assert_eq!(metrics.latency.get_sample_count(), 2);
        assert!((metrics.latency.get_sample_sum() - 3.0).abs() < 1e-9);
        let legacy = metrics.legacy_latency.unwrap();
        assert_eq!(legacy.get_sample_count(), 2);
    }
}

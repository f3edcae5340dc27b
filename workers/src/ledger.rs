//! Ledger: writes effects in the queue's settlement, and wakes the feeds they reached.

use chrono::{DateTime, Utc};
use domain::{FeedNews, feed_hash};
use queue::{Bell, Clock, Connection, Effects, Lease, NewJob};
use store::Effect;
use store::settlement::{Applied, Limits, StatusMove, apply_within};
use tracing::info;

use crate::metrics::DeliveryMetrics;
use crate::{batch_flush, burial, route};

/// Postgres channel that says whose feed has news: one token per user.
pub const INBOX_CHANGED: &str = "inbox_changed";

/// The domain's side of a settlement.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) bell: Bell,
    pub(crate) clock: Clock,
    /// Absent where nobody looks: in tests and benchmarks.
    pub(crate) metrics: Option<DeliveryMetrics>,
    pub(crate) limits: Limits,
}

impl Effects for Ledger {
    type Effect = Effect;
    type Applied = Applied;

    async fn apply(
        &self,
        db: &mut Connection,
        effects: &[&Effect],
    ) -> Result<Applied, queue::DatabaseError> {
        apply_within(db, effects.iter().copied(), self.limits).await
    }

    fn follow_ups(&self, applied: &Applied) -> Vec<NewJob> {
        follow_ups(applied, self.clock.now())
    }

    fn committed(&self, applied: Applied) {
        if let Some(metrics) = &self.metrics {
            metrics.committed(&applied);
        }
        let feeds = applied.arrivals.iter();
        let tokens = feeds.map(|(tenant, user)| FeedNews::Arrival.token(feed_hash(tenant, user)));
        self.bell.ring_all(INBOX_CHANGED, tokens.collect());
        for moved in &applied.moves {
            log(moved);
        }
    }

    fn on_bury(&self, lease: &Lease, error: &str) -> Vec<Effect> {
        let at: DateTime<Utc> = self.clock.now();
        burial::on_bury(&lease.kind, &lease.payload, error, at)
    }
}

/// Whoever opened a digest plans its end, and whoever closed it its telling.
pub(crate) fn follow_ups(applied: &Applied, now: DateTime<Utc>) -> Vec<NewJob> {
    let flush = applied
        .opened
        .iter()
        .map(|turn| batch_flush::job(turn, now));
    let tell = applied
        .closed
        .iter()
        .map(|turn| route::tell::job(turn, now));
    flush.chain(tell).collect()
}

/// One line for each turn in a delivery's life, once it is committed: ids and words, no more.
fn log(moved: &StatusMove) {
    let (channel, status) = (moved.channel.as_str(), moved.status.as_str());
    info!(notification.id = %moved.notification_id, delivery.id = %moved.delivery_id, channel,
        status, "delivery moved");
}

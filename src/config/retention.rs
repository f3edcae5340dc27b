//! For how long things are kept, as upkeep is told, and which of it cannot be meant.

use std::time::Duration;

use chrono::TimeDelta;
use store::retention::Kept;

use super::Config;
use super::check::Wrong;
use crate::upkeep::Keeping;

/// Shorter than this would drop what is still at work.
const SHORTEST: Duration = Duration::from_hours(24);

impl Config {
    /// For how long everything is kept.
    pub fn keeping(&self) -> Keeping {
        let notifications = self.intake.retention;
        let retention = &self.retention;
        let months = [
            ("events", retention.events),
            ("notifications", None),
            ("deliveries", None),
            ("attempts", retention.attempts),
            ("traces", retention.traces),
            // Their content is that of the deliveries.
            ("outbox", retention.outbox.map(|age| age.min(notifications))),
        ];
        let months = months.map(|(table, age)| Kept {
            table,
            age: delta(age.unwrap_or(notifications)),
        });
        Keeping {
            months: months.to_vec(),
            inbox: delta(retention.inbox.min(notifications)),
            replays: delta(retention.replays),
            stats: delta(retention.stats),
            // Pinned for as long as a send may wait, which is kept that long once it is done.
            versions: delta(notifications.saturating_mul(2)),
        }
    }

    pub(super) fn check_retention(&self, wrong: &mut Vec<Wrong>) {
        let retention = &self.retention;
        let notifications = self.intake.retention;
        let or_that = |age: Option<Duration>| age.unwrap_or(notifications);
        for (path, age) in [
            ("intake.retention", notifications),
            ("retention.events", or_that(retention.events)),
            ("retention.attempts", or_that(retention.attempts)),
            ("retention.traces", or_that(retention.traces)),
            ("retention.outbox", or_that(retention.outbox)),
            ("retention.inbox", retention.inbox),
            ("retention.replays", retention.replays),
            ("retention.stats", retention.stats),
        ] {
            if age < SHORTEST {
                wrong.push((path, "must be at least 24h".to_owned()));
            }
        }
    }
}

/// Longer than the calendar is for ever.
fn delta(age: Duration) -> TimeDelta {
    const LONGEST: TimeDelta = TimeDelta::days(365 * 1000);
    TimeDelta::from_std(age).map_or(LONGEST, |age| age.min(LONGEST))
}

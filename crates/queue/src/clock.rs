//! Time and ids as arguments: the clock a process is given, and `UUIDv7` made from it.
//!
//! The database clock is the only judge of time in the queue. A system clock answers `None` to
//! [`Clock::fixed`], so that statements use `now()`; a manual one, in tests, passes its own time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

/// Where a process takes the time from.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Microseconds since 1970, when a test moves the time by hand.
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now` until it is moved.
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self {
            manual: Some(Arc::new(AtomicI64::new(now.timestamp_micros()))),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system clock"
    )]
    pub fn now(&self) -> DateTime<Utc> {
        self.fixed().unwrap_or_else(Utc::now)
    }

    /// The time to hand to a statement: `None` lets the database clock decide.
    pub fn fixed(&self) -> Option<DateTime<Utc>> {
        let micros = self.manual.as_ref()?.load(Ordering::SeqCst);
        DateTime::from_timestamp_micros(micros)
    }

    /// Moves a manual clock; a system clock takes no notice.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            manual.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
        }
    }
}

/// Counts within one millisecond, so that ids made in a row sort in that order.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// Makes a `UUIDv7` for `now`.
pub fn uuid_at(now: DateTime<Utc>) -> Uuid {
    let seconds = now.timestamp().max(0) as u64;
    Uuid::new_v7(Timestamp::from_unix(
        &CONTEXT,
        seconds,
        now.timestamp_subsec_nanos(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_sort_in_the_order_they_were_made() {
        let now = DateTime::from_timestamp(1_800_000_000, 5_000_000).unwrap();

        let ids: Vec<_> = (0..1000).map(|_| uuid_at(now)).collect();

        assert!(ids.is_sorted());
        assert_eq!(ids[0].get_version_num(), 7);
    }
}

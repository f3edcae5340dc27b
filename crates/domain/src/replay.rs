//! Replays: what becomes of a dead letter that is to run again, and how fast they may go.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Status;

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplayState {
    /// There may be more to replay.
    Running,
    /// Everything that was meant has been looked at.
    Done,
    /// An operator stopped it. What was replayed before stays so.
    Cancelled,
    /// The job that runs it has become a dead letter; replaying that one lets it go on.
    Failed,
}

impl ReplayState {
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What a replay did with one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReplayResult {
    /// The job is open again.
    Replayed,
    /// What it was about has been sent or has arrived meanwhile.
    SkippedDelivered,
    /// Nobody wants it any more: cancelled, or suppressed.
    SkippedCancelled,
    /// Its `expires_at` has passed, and nobody said to send it nevertheless.
    SkippedExpired,
    /// The dead letter, or what it was about, is not there any more.
    SkippedGone,
    /// Another job with its unique key is open.
    SkippedConflict,
}

impl ReplayResult {
    pub const ALL: [Self; 6] = [
        Self::Replayed,
        Self::SkippedDelivered,
        Self::SkippedCancelled,
        Self::SkippedExpired,
        Self::SkippedGone,
        Self::SkippedConflict,
    ];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::SkippedDelivered => "skipped_delivered",
            Self::SkippedCancelled => "skipped_cancelled",
            Self::SkippedExpired => "skipped_expired",
            Self::SkippedGone => "skipped_gone",
            Self::SkippedConflict => "skipped_conflict",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == word)
    }

    /// What becomes of a dead letter about something in this status.
    ///
    /// What was sent or came to an end that an operator or the user wanted is left alone. What has
    /// expired goes out only if the operator says so.
    pub const fn of(status: Status, has_expired: bool, include_expired: bool) -> Self {
        match status {
            Status::Sent | Status::Delivered => Self::SkippedDelivered,
            Status::Cancelled | Status::Suppressed => Self::SkippedCancelled,
            Status::Expired if !include_expired => Self::SkippedExpired,
            Status::Pending
            | Status::Queued
            | Status::Sending
            | Status::Retrying
            | Status::Failed
            | Status::Expired => {
                if has_expired && !include_expired {
                    Self::SkippedExpired
                } else {
                    Self::Replayed
                }
            }
        }
    }
}

macro_rules! words {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words!(ReplayState);
words!(ReplayResult);

/// Dead letters of one batch. More hold their rows locked for longer; beyond it nothing was gained.
const BATCH_MAX: u32 = 500;

/// Batches a second that a capped replay is spread over, where its rate can be divided by them.
const BATCHES_PER_SECOND: u32 = 10;

/// How a replay goes: so many at once, and how long between two of these batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub batch: u32,
    /// From the beginning of one batch to that of the next; `None` without a cap.
    pub every: Option<Duration>,
}

impl Pace {
    /// The pace that never replays more than `rate` in any second.
    ///
    /// A second is divided into equal parts with one batch each, so that no window of a second can
    /// see more batches than it has parts. A rate that cannot be divided evenly is kept below.
    pub fn of(rate: Option<u32>) -> Self {
        let Some(rate) = rate.filter(|rate| *rate > 0) else {
            return Self {
                batch: BATCH_MAX,
                every: None,
            };
        };
        let fewest = rate.div_ceil(BATCH_MAX);
        let even = (fewest..=BATCHES_PER_SECOND)
            .rev()
            .find(|parts| rate.is_multiple_of(*parts));
        let parts = even.unwrap_or(fewest);
        // Rounded up to the microseconds that Postgres counts.
        Self {
            batch: rate / parts,
            every: Some(Duration::from_micros(
                1_000_000_u64.div_ceil(u64::from(parts)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in ReplayState::ALL {
            assert_eq!(ReplayState::parse(state.as_str()), Some(state));
        }
        for result in ReplayResult::ALL {
            assert_eq!(ReplayResult::parse(result.as_str()), Some(result));
        }
    }

    #[test]
    fn what_was_sent_is_never_sent_again() {
        for status in [Status::Sent, Status::Delivered] {
            for include_expired in [false, true] {
                let result = ReplayResult::of(status, true, include_expired);
                assert_eq!(result, ReplayResult::SkippedDelivered);
            }
        }
    }

    #[test]
    fn what_has_expired_needs_a_word_of_the_operator() {
        let result = |include| ReplayResult::of(Status::Failed, true, include);

        assert_eq!(result(false), ReplayResult::SkippedExpired);
        assert_eq!(result(true), ReplayResult::Replayed);
        assert_eq!(
            ReplayResult::of(Status::Failed, false, false),
            ReplayResult::Replayed
        );
    }

    #[test]
    fn a_low_rate_is_spread_over_its_second() {
        let pace = |rate| Pace::of(Some(rate));

        assert_eq!(pace(50).batch, 5);
        assert_eq!(pace(50).every, Some(Duration::from_millis(100)));
        assert_eq!(pace(1).batch, 1);
        assert_eq!(pace(1).every, Some(Duration::from_secs(1)));
        assert_eq!(Pace::of(None).every, None);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate(rate in 1_u32..1_000_000) {
            let Pace { batch, every } = Pace::of(Some(rate));
            let every = every.unwrap();
            // Batches that begin within a second of each other, the first one included.
            let batches = 1 + Duration::from_nanos(999_999_999).as_nanos() / every.as_nanos();

            prop_assert!((1..=BATCH_MAX).contains(&batch));
            prop_assert!(u128::from(batch) * batches <= u128::from(rate));
            // And little is given away.
            prop_assert!(batches * u128::from(batch) * 10 >= u128::from(rate) * 8);
        }
    }
}

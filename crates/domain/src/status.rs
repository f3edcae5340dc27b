//! Where a delivery stands, and what it may become.
//!
//! News arrives out of order: a receipt can overtake the answer to the send it confirms. So the
//! statuses form a lattice and a row only climbs it; what comes late is ignored.
//!
//! ```text
//!   pending ─▶ queued ─▶ sending ⇄ retrying ─▶ sent ─▶ failed ─▶ delivered
//!                                                  └─▶ cancelled, suppressed, expired
//! ```
//!
//! Steps may be skipped. `failed` can still become `delivered`, because a send of unknown outcome
//! counts as failed until the provider proves otherwise.

use std::fmt;

use serde::{Serialize, Serializer};

/// The status of a delivery, and of a notification as the sum of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted, not yet routed.
    Pending,
    /// Routed; a job will send it.
    Queued,
    /// Its job runs at this moment. Shown, never stored.
    Sending,
    /// An attempt failed and another is due.
    Retrying,
    /// The provider took it; a receipt may follow.
    Sent,
    /// It will not be tried again unless an operator says so.
    Failed,
    /// Cancelled before it was sent.
    Cancelled,
    /// Not sent on purpose: an opt-out, a limit, a silence.
    Suppressed,
    /// Its `expires_at` passed first.
    Expired,
    /// It reached its address.
    Delivered,
}

impl Status {
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Queued,
        Self::Sending,
        Self::Retrying,
        Self::Sent,
        Self::Failed,
        Self::Cancelled,
        Self::Suppressed,
        Self::Expired,
        Self::Delivered,
    ];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Delivered => "delivered",
        }
    }

    /// Reads a status in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing more is going to be done. `sent` is not final: a receipt may follow.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Queued | Self::Sending | Self::Retrying | Self::Sent => false,
            Self::Failed | Self::Cancelled | Self::Suppressed | Self::Expired | Self::Delivered => {
                true
            }
        }
    }

    /// Whether a row in this status may be moved to `next`.
    ///
    /// An open status may become itself: another error, another job. A final one may not.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Failed => matches!(next, Self::Delivered),
            Self::Cancelled | Self::Suppressed | Self::Expired | Self::Delivered => false,
            Self::Pending | Self::Queued | Self::Sending | Self::Retrying | Self::Sent => {
                self.rank() <= next.rank()
            }
        }
    }

    /// The status of a notification whose deliveries have these.
    ///
    /// While something is still to be done, the notification shows how far that is. After that the
    /// best end counts: someone who was reached was reached, whatever became of other channels.
    /// Without deliveries nothing was decided yet.
    pub fn aggregate(deliveries: impl IntoIterator<Item = Self>) -> Self {
        deliveries
            .into_iter()
            .max_by_key(|status| status.weight())
            .unwrap_or(Self::Pending)
    }

    /// How far a status is on its way; both faces of an open job are equally far.
    const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Queued => 1,
            Self::Sending | Self::Retrying => 2,
            Self::Sent => 3,
            Self::Failed | Self::Cancelled | Self::Suppressed | Self::Expired => 4,
            Self::Delivered => 5,
        }
    }

    /// How much a delivery's status says about its notification.
    const fn weight(self) -> u8 {
        match self {
            Self::Suppressed => 0,
            Self::Cancelled => 1,
            Self::Expired => 2,
            Self::Failed => 3,
            Self::Sent => 4,
            Self::Delivered => 5,
            Self::Pending => 6,
            Self::Queued => 7,
            Self::Retrying => 8,
            Self::Sending => 9,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a provider answered to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptStatus {
    /// Taken; a receipt may follow.
    Sent,
    /// Taken and at its address.
    Delivered,
    /// Not taken; another attempt may succeed.
    Failed,
    /// Taken, then returned by the address.
    Bounced,
    /// Not taken, and never will be.
    Rejected,
    /// The answer was lost: it may or may not have been sent.
    Unknown,
}

impl AttemptStatus {
    pub const ALL: [Self; 6] = [
        Self::Sent,
        Self::Delivered,
        Self::Failed,
        Self::Bounced,
        Self::Rejected,
        Self::Unknown,
    ];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Bounced => "bounced",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// Reads an attempt status as stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for AttemptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AttemptStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn any_status() -> impl Strategy<Value = Status> {
        select(Status::ALL.to_vec())
    }

    /// Moves through `news` as the store does, ignoring what is refused.
    fn settle(start: Status, news: &[Status]) -> Status {
        news.iter().fold(
            start,
            |now, &next| if now.can_become(next) { next } else { now },
        )
    }

    proptest! {
        #[test]
        fn no_sequence_of_news_moves_a_status_backwards(
            start in any_status(),
            news in prop::collection::vec(any_status(), 0..20),
        ) {
            let mut now = start;
            for next in news {
                let before = now;
                now = settle(now, &[next]);
                prop_assert!(now.rank() >= before.rank(), "{before} became {now}");
                prop_assert!(!before.is_final() || now.is_final(), "{before} was opened again");
            }
        }

        #[test]
        fn a_proven_delivery_wins_in_any_order_over_sending_and_failing(
            news in Just(vec![Status::Sent, Status::Retrying, Status::Failed, Status::Delivered])
                .prop_shuffle(),
        ) {
            prop_assert_eq!(settle(Status::Queued, &news), Status::Delivered);
        }

        #[test]
        fn the_order_of_deliveries_does_not_change_their_sum(
            statuses in prop::collection::vec(any_status(), 1..6),
        ) {
            let mut reversed = statuses.clone();
            reversed.reverse();
            prop_assert_eq!(Status::aggregate(statuses), Status::aggregate(reversed));
        }

        #[test]
        fn a_notification_is_final_only_when_every_delivery_is(
            statuses in prop::collection::vec(any_status(), 1..6),
        ) {
            let sum = Status::aggregate(statuses.iter().copied());
            if sum.is_final() && sum != Status::Delivered {
                prop_assert!(statuses.iter().all(|status| status.is_final()));
            }
        }
    }

    #[test]
    fn a_late_answer_does_not_undo_a_receipt() {
        assert!(!Status::Delivered.can_become(Status::Sent));
        assert!(!Status::Delivered.can_become(Status::Failed));
        assert!(!Status::Cancelled.can_become(Status::Delivered));
    }

    #[test]
    fn an_open_delivery_may_be_tried_again() {
        assert!(Status::Retrying.can_become(Status::Retrying));
        assert!(Status::Sending.can_become(Status::Retrying));
        assert!(!Status::Retrying.can_become(Status::Queued));
    }

    #[test]
    fn someone_reached_on_one_channel_was_reached() {
        use Status::{Delivered, Failed, Pending, Queued, Sent, Suppressed};

        assert_eq!(
            Status::aggregate([Failed, Delivered, Suppressed]),
            Delivered
        );
        assert_eq!(Status::aggregate([Failed, Sent]), Sent);
        assert_eq!(Status::aggregate([Suppressed, Failed]), Failed);
        assert_eq!(Status::aggregate([Delivered, Queued]), Queued);
        assert_eq!(Status::aggregate([]), Pending);
    }

    #[test]
    fn every_word_reads_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        for status in AttemptStatus::ALL {
            assert_eq!(AttemptStatus::parse(status.as_str()), Some(status));
        }
    }
}

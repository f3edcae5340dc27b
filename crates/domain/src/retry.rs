//! How long to wait before a provider is tried again.
//!
//! Exponential backoff with full jitter: each wait is a random share of a ceiling that doubles.
//! Without the jitter, everything that failed in one outage would come back at one moment.

use std::time::Duration;

use crate::Channel;

/// When a channel's provider is tried again, and when no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The ceiling of the first wait.
    pub base: Duration,
    /// The ceiling that no wait exceeds.
    pub cap: Duration,
    /// Attempts of one delivery in all, across providers.
    pub attempts_max: u16,
}

impl RetryPolicy {
    /// The policy of `channel`.
    ///
    /// People wait for a text or a call, so these give up within the hour. Mail servers that
    /// greylist want minutes, and outages of receivers can last hours; in-app fails only with our
    /// own database.
    pub const fn of(channel: Channel) -> Self {
        let (base_seconds, cap_seconds, attempts_max) = match channel {
            Channel::InApp => (1, 60, 8),
            Channel::Email => (30, 3600, 8),
            Channel::Sms | Channel::Voice => (15, 900, 5),
            Channel::Push | Channel::WebPush | Channel::Slack => (5, 900, 8),
            Channel::Webhook | Channel::Pagerduty => (5, 3600, 10),
        };
        Self {
            base: Duration::from_secs(base_seconds),
            cap: Duration::from_secs(cap_seconds),
            attempts_max,
        }
    }

    /// The wait after failed attempt number `attempt`, counted from 1; `None` when it was the last.
    ///
    /// `chance` in `0.0..1.0` comes from the caller's random numbers.
    pub fn delay(&self, attempt: u16, chance: f64) -> Option<Duration> {
        (attempt < self.attempts_max).then(|| self.ceiling(attempt).mul_f64(chance.clamp(0.0, 1.0)))
    }

    /// The longest wait after attempt number `attempt`: doubles each time, up to the cap.
    fn ceiling(&self, attempt: u16) -> Duration {
        let doublings = u32::from(attempt.saturating_sub(1));
        2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap))
    }
}

/// The policy of every channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicies([RetryPolicy; Channel::ALL.len()]);

impl RetryPolicies {
    /// What `policy_of` answers for each channel.
    pub fn new(policy_of: impl FnMut(Channel) -> RetryPolicy) -> Self {
        Self(Channel::ALL.map(policy_of))
    }

    pub fn of(&self, channel: Channel) -> RetryPolicy {
        self.0[channel as usize]
    }
}

impl Default for RetryPolicies {
    fn default() -> Self {
        Self::new(RetryPolicy::of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_never_exceeds_its_ceiling_nor_the_cap(
            channel in select(Channel::ALL.to_vec()),
            attempt in any::<u16>(),
            chance in 0.0..1.0,
        ) {
            let policy = RetryPolicy::of(channel);
            if let Some(delay) = policy.delay(attempt, chance) {
                prop_assert!(delay <= policy.ceiling(attempt));
                prop_assert!(delay <= policy.cap);
            } else {
                prop_assert!(attempt >= policy.attempts_max);
            }
        }

        #[test]
        fn ceilings_never_shrink_from_one_attempt_to_the_next(
            channel in select(Channel::ALL.to_vec()),
            attempt in 0..u16::MAX,
        ) {
            let policy = RetryPolicy::of(channel);
            prop_assert!(policy.ceiling(attempt) <= policy.ceiling(attempt + 1));
        }

        #[test]
        fn more_chance_waits_longer(low in 0.0..1.0, high in 0.0..1.0) {
            prop_assume!(low <= high);
            let policy = RetryPolicy::of(Channel::Email);
            prop_assert!(policy.delay(3, low) <= policy.delay(3, high));
        }
    }

    #[test]
    fn the_ceiling_doubles_until_the_cap() {
        let policy = RetryPolicy::of(Channel::Email);
        let seconds: Vec<_> = (1..=8)
            .map(|attempt| policy.ceiling(attempt).as_secs())
            .collect();

        assert_eq!(seconds, [30, 60, 120, 240, 480, 960, 1920, 3600]);
    }

    #[test]
    fn the_last_attempt_is_followed_by_none() {
        let policy = RetryPolicy::of(Channel::Sms);

        assert!(policy.delay(4, 0.5).is_some());
        assert_eq!(policy.delay(5, 0.5), None);
    }
}

//! Pure: from the number of failures to the delay before the next attempt.
//!
//! Exponential with full jitter: the delay is uniform between nothing and the cap of that failure,
//! so that jobs that failed together do not come back together.

use std::time::Duration;

/// How long a failed job waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub base: Duration,
    /// Factor from one failure to the next.
    pub factor: f64,
    /// No delay is longer than this.
    pub cap: Duration,
}

impl Default for Backoff {
    /// 2 s, doubling, at most 15 minutes: eight attempts stretch over minutes, not hours, for the
    /// queue's own retry is for unexpected errors; providers have a policy of their own.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(2),
            factor: 2.0,
            cap: Duration::from_mins(15),
        }
    }
}

impl Backoff {
    /// The delay after the `failures`-th failure (from 1). `chance` is uniform in [0, 1).
    pub fn delay(&self, failures: u16, chance: f64) -> Duration {
        let exponent = i32::from(failures.max(1)) - 1;
        let bound = self.base.as_secs_f64() * self.factor.powi(exponent);
        // The product overflows to infinity after some hundred failures; the cap holds then too.
        Duration::from_secs_f64(bound.min(self.cap.as_secs_f64()) * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_until_the_cap() {
        let backoff = Backoff::default();

        let bounds: Vec<u64> = [1, 2, 3, 9, 10, 2000]
            .map(|failures| backoff.delay(failures, 1.0).as_secs())
            .into();

        assert_eq!(bounds, [2, 4, 8, 512, 900, 900]);
    }

    #[test]
    fn jitter_is_full() {
        let backoff = Backoff::default();

        assert_eq!(backoff.delay(5, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(5, 0.5), Duration::from_secs(16));
    }
}

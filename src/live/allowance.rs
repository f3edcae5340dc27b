//! How many frames a client may send: a rate, and at once what would come in some seconds of it.

use tokio::time::Instant;

/// Seconds of the rate that may come at once. At the usual fifty that is a thousand frames: who comes
/// back to a full inbox may acknowledge it entry by entry.
const BURST_SECONDS: f64 = 20.0;

/// What one socket may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Frames per second; 0 leaves it open.
    rate: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Self {
            rate,
            left: rate * BURST_SECONDS,
            at: now,
        }
    }

    /// Counts a frame, and says whether it was still allowed.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        if self.rate == 0.0 {
            return true;
        }
        let earned = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.left = (self.left + earned).min(self.rate * BURST_SECONDS) - 1.0;
        self.at = now;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_burst_passes_and_what_is_over_the_rate_does_not() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2, start);

        assert!((0..40).all(|_| allowance.spend(start)));
        assert!(!allowance.spend(start));
        let later = start + Duration::from_secs(3);
        assert!((0..5).all(|_| allowance.spend(later)));
        assert!(!allowance.spend(later));
    }

    #[tokio::test]
    async fn without_a_rate_everything_passes() {
        let start = Instant::now();
        let mut allowance = Allowance::new(0, start);

        assert!((0..10_000).all(|_| allowance.spend(start)));
    }
}

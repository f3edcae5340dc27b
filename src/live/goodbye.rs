//! When clients come back: not all of them at once.

use std::time::Duration;

/// Between one client's return and the next.
const APART: Duration = Duration::from_millis(1);

/// The shortest time over which they are spread: another process needs a moment to be found.
const SPREAD_MIN: Duration = Duration::from_secs(1);

/// The longest one: nobody should miss the feed for longer because there are many.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// How long one of `followers` waits before it connects again; `chance` is in 0..1.
pub(super) fn pause(followers: usize, chance: f64) -> Duration {
    let apart = APART * u32::try_from(followers).unwrap_or(u32::MAX);
    apart.clamp(SPREAD_MIN, SPREAD_MAX).mul_f64(chance)
}

/// The reason of close code 1001.
pub(super) fn reason(pause: Duration) -> String {
    format!("reconnect_in_ms={}", pause.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_come_back_the_longer_it_takes_within_bounds() {
        let last = |followers| pause(followers, 1.0).as_millis();

        assert_eq!((last(1), last(5000), last(1_000_000)), (1000, 5000, 10_000));
        assert_eq!(pause(5000, 0.5), Duration::from_millis(2500));
        assert_eq!(pause(5000, 0.0), Duration::ZERO);
    }
}

//! Waits for a condition with a deadline: what tests do instead of sleeping.
//!
//! The condition is looked at again and again (level-triggered), so a test never depends on one
//! wake-up for each write.

use std::panic::Location;
use std::time::{Duration, Instant};

/// Pause between two looks: short enough not to slow a test, long enough not to load the server.
const PAUSE: Duration = Duration::from_millis(10);

/// What a condition answers: `true` or `Some` when it holds.
pub trait Observed {
    type Value;

    fn observed(self) -> Option<Self::Value>;
}

impl Observed for bool {
    type Value = ();

    fn observed(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Observed for Option<T> {
    type Value = T;

    fn observed(self) -> Self {
        self
    }
}

/// Waits until `condition` holds and returns what it found.
///
/// # Panics
///
/// If it does not hold within `deadline`; the message names the caller's line.
#[track_caller]
pub fn eventually<C, O>(deadline: Duration, mut condition: C) -> impl Future<Output = O::Value>
where
    C: AsyncFnMut() -> O,
    O: Observed,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        loop {
            if let Some(value) = condition().await.observed() {
                return value;
            }
            assert!(
                start.elapsed() < deadline,
                "did not hold within {deadline:?}, asked at {caller}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;

        let answer = eventually(Duration::from_secs(5), async || {
            asked += 1;
            (asked == 3).then_some("third time")
        })
        .await;

        assert_eq!(answer, "third time");
    }

    #[tokio::test]
    #[should_panic(expected = "did not hold within 20ms")]
    async fn a_condition_that_never_holds_fails_the_test() {
        eventually(Duration::from_millis(20), async || false).await;
    }
}

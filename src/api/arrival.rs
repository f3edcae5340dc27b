//! How a body arrives: within its limit, in time, and with room for it.
//!
//! A body over the limit is drained up to four times the limit before it is refused, so that the
//! client gets to read the 413 instead of a reset connection. One for which there is no room is
//! drained as well, for the sake of its 503.
//!
//! A body must come at the pace that brings it here in time: one that trickles gives its room back
//! long before the end. Where we are late ourselves, what has come meanwhile comes at once, so only
//! small pieces count against it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::api::error::ApiError;
use crate::app::App;
use crate::edge::Visit;

/// The slowest that a body may come, however small.
const BYTES_PER_SECOND_MIN: f64 = 512.0;

/// How long a body may fall behind its pace: a phone that changes its network is gone for that
/// long. Never more than a twelfth of the time that it has.
const PACE_GRACE: Duration = Duration::from_secs(5);

/// How long a body that is late is waited for each time.
const LATE_WAIT: Duration = Duration::from_secs(1);

/// Below this a piece of a late body counts against it.
const PIECE_BYTES_MIN: usize = 1024;

/// How often that may happen: a body's last piece is small.
const SMALL_PIECES_MAX: usize = 3;

/// Memory taken for a body before its first byte.
const FIRST_BYTES: usize = 64 * 1024;

/// How many times its limit a body is drained before the connection is given up.
const DRAIN_FACTOR: usize = 4;

/// Reads a body of at most `bytes_max` bytes.
pub(crate) async fn read(
    parts: &Parts,
    body: Body,
    bytes_max: usize,
    app: &App,
) -> Result<Bytes, ApiError> {
    let length = announced(&parts.headers);
    // A client that asks first is told without sending anything.
    let asks_first = parts.headers.contains_key(header::EXPECT);
    if asks_first && length > Some(bytes_max) {
        return Err(ApiError::too_large(bytes_max));
    }
    let room = length.unwrap_or(bytes_max).min(bytes_max);
    let held = app.edge.hold_room(&Visit::of(parts), room).await;
    let pace = Pace::new(length.unwrap_or(0), app.config.http.body_timeout);
    match held {
        Ok(()) => collect(body, bytes_max, true, pace).await,
        Err(crowded) => {
            if !asks_first {
                collect(body, bytes_max, false, pace).await?;
            }
            Err(crowded)
        }
    }
}

/// The length the client announced.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Takes a body in, and keeps it if it is wanted.
async fn collect(
    mut body: Body,
    bytes_max: usize,
    is_wanted: bool,
    mut pace: Pace,
) -> Result<Bytes, ApiError> {
    // Not more than has come so far: what is only announced costs nothing yet.
    let mut kept = Vec::with_capacity(if is_wanted {
        FIRST_BYTES.min(bytes_max)
    } else {
        0
    });
    let mut seen = 0;
    loop {
        let frame = timeout_at(pace.patience(seen), body.frame()).await;
        let Some(frame) = frame.or(Err(ApiError::too_slow()))? else {
            break;
        };
        let frame =
            frame.map_err(|_broken| ApiError::malformed("", "the body ended before its time"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pace.judge(seen, data.len())?;
        seen += data.len();
        if seen > bytes_max {
            kept = Vec::new();
            if seen > bytes_max * DRAIN_FACTOR {
                break;
            }
        } else if is_wanted {
            kept.extend_from_slice(&data);
        }
    }
    if seen > bytes_max {
        Err(ApiError::too_large(bytes_max))
    } else {
        Ok(kept.into())
    }
}

/// How fast a body must arrive: evenly over the time that it has, after a first grace.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    timeout: Duration,
    bytes_per_second: f64,
    /// Small pieces that came late.
    small_pieces: usize,
}

impl Pace {
    fn new(length: usize, timeout: Duration) -> Self {
        let even = length as f64 / timeout.as_secs_f64();
        Self {
            begun: Instant::now(),
            timeout,
            bytes_per_second: even.max(BYTES_PER_SECOND_MIN),
            small_pieces: 0,
        }
    }

    /// When a body is late of which `seen` bytes have come.
    fn due(&self, seen: usize) -> Instant {
        let earned = Duration::from_secs_f64(seen as f64 / self.bytes_per_second);
        let grace = PACE_GRACE.min(self.timeout / 12);
        self.begun + (grace + earned).min(self.timeout)
    }

    /// Until when the next piece is waited for.
    fn patience(&self, seen: usize) -> Instant {
        let late = Instant::now() + LATE_WAIT.min(self.timeout / 12);
        self.due(seen).max(late).min(self.begun + self.timeout)
    }

    /// Whether a piece of `bytes` after `seen` others may be waited for like that.
    fn judge(&mut self, seen: usize, bytes: usize) -> Result<(), ApiError> {
        if bytes < PIECE_BYTES_MIN && Instant::now() > self.due(seen) {
            self.small_pieces += 1;
        }
        if self.small_pieces > SMALL_PIECES_MAX {
            return Err(ApiError::too_slow());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::unfold;
    use tokio::time::sleep;

    use super::*;

    /// A body of `pieces` of `bytes` each, with a pause before each.
    fn trickle(pieces: usize, bytes: usize, pause: Duration) -> Body {
        Body::from_stream(unfold(0, move |sent| async move {
            sleep(pause).await;
            let piece = Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]));
            (sent < pieces).then_some((piece, sent + 1))
        }))
    }

    /// How long a body is listened to, and whether it was taken.
    async fn listen(length: usize, body: Body) -> (Duration, bool) {
        let begun = Instant::now();
        let pace = Pace::new(length, Duration::from_mins(1));
        let taken = collect(body, 16 * 1024 * 1024, true, pace).await;
        (
            begun.elapsed(),
            taken.is_ok_and(|bytes| bytes.len() == length),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_given_up_when_it_falls_behind_the_pace_that_brings_it_here_in_time() {
        let megabyte = 1024 * 1024;
        let silent = listen(megabyte, trickle(1, megabyte, Duration::from_secs(30))).await;
        assert_eq!(silent, (PACE_GRACE, false));
        let drop = listen(megabyte, trickle(megabyte, 1, Duration::from_millis(900))).await;
        assert!(!drop.1 && drop.0 < Duration::from_secs(10), "{drop:?}");
        let slow = listen(50 * 20_000, trickle(50, 20_000, Duration::from_millis(990))).await;
        assert!(slow.1, "{slow:?}");
        let small = listen(3000, trickle(30, 100, Duration::from_millis(200))).await;
        assert!(small.1, "{small:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waited_for_us_is_taken_in() {
        let pace = Pace::new(600_000, Duration::from_mins(1));
        // We were busy, and it lies in the socket.
        sleep(Duration::from_secs(20)).await;

        let body = trickle(6, 100_000, Duration::from_millis(1));

        assert!(collect(body, 1024 * 1024, true, pace).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_not_wanted_is_taken_in_and_not_kept() {
        let pace = Pace::new(1000, Duration::from_mins(1));
        let taken = collect(Body::from(vec![b'x'; 1000]), 1024, false, pace).await;
        assert!(taken.unwrap().is_empty());
    }
}

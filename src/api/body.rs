//! Bodies: reading one within its limit, and answering with one.
//!
//! A body over the limit is drained up to four times the limit before it is refused, so that the
//! client gets to read the 413 instead of a reset connection.
//!
//! A body is given the room that it may need before a byte of it is read, and must arrive at the
//! pace that brings it here in time: one that trickles gives its room back long before the end.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::api::error::ApiError;
use crate::api::json;
use crate::app::App;
use crate::edge::Visit;

/// Most bytes of an ordinary body.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of a bulk or batch body.
pub(crate) const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The slowest that a body may come, however small.
const BYTES_PER_SECOND_MIN: f64 = 512.0;

/// How long a body may fall behind its pace: a phone that changes its network is gone for that
/// long. Never more than a twelfth of the time that it has.
const PACE_GRACE: Duration = Duration::from_secs(5);

/// Memory taken for a body before its first byte.
const FIRST_BYTES: usize = 64 * 1024;

/// How many times its limit a body is drained before the connection is given up.
const DRAIN_FACTOR: usize = 4;

/// A parsed JSON body of at most `BYTES_MAX` bytes. What is in it is the domain's to judge.
#[derive(Debug)]
pub(crate) struct JsonBody<const BYTES_MAX: usize = BODY_BYTES_MAX>(pub(crate) Value);

impl<const BYTES_MAX: usize> FromRequest<App> for JsonBody<BYTES_MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(&parts, body, BYTES_MAX, app).await?;
        parse_json(&bytes).map(Self)
    }
}

/// Reads a body of at most `bytes_max` bytes that claims to be JSON.
pub(super) async fn read_json(
    parts: &Parts,
    body: Body,
    bytes_max: usize,
    app: &App,
) -> Result<Bytes, ApiError> {
    let bytes = read(parts, body, bytes_max, app).await?;
    // Only now, so that the answer is not lost to bytes that nobody read.
    if is(&parts.headers, JSON) {
        Ok(bytes)
    } else {
        Err(ApiError::unsupported_media_type())
    }
}

/// Parses a body, or says where it is bad.
pub(super) fn parse_json(bytes: &[u8]) -> Result<Value, ApiError> {
    json::parse(bytes).map_err(|error| ApiError::malformed(error.pointer, error.detail))
}

/// The media type of nearly every body.
pub(super) const JSON: &str = "application/json";

/// Whether the body claims to be of `media_type`.
pub(super) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|claimed| claimed.trim().eq_ignore_ascii_case(media_type))
}

/// Reads a body of at most `bytes_max` bytes, in time and at its pace.
pub(super) async fn read(
    parts: &Parts,
    body: Body,
    bytes_max: usize,
    app: &App,
) -> Result<Bytes, ApiError> {
    let length = announced(&parts.headers);
    // A client that asks first is told without sending anything.
    if parts.headers.contains_key(header::EXPECT) && length > Some(bytes_max) {
        return Err(ApiError::too_large(bytes_max));
    }
    let room = length.unwrap_or(bytes_max).min(bytes_max);
    app.edge.hold_room(&Visit::of(parts), room).await?;
    let pace = Pace::new(length.unwrap_or(0), app.config.http.body_timeout);
    collect(body, room, bytes_max, &pace).await
}

/// How fast a body must arrive: evenly over the time that it has, after a first grace.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    timeout: Duration,
    bytes_per_second: f64,
}

impl Pace {
    fn new(length: usize, timeout: Duration) -> Self {
        let even = length as f64 / timeout.as_secs_f64();
        Self {
            begun: Instant::now(),
            timeout,
            bytes_per_second: even.max(BYTES_PER_SECOND_MIN),
        }
    }

    /// Until when more must have come than the `seen` bytes.
    fn due(&self, seen: usize) -> Instant {
        let earned = Duration::from_secs_f64(seen as f64 / self.bytes_per_second);
        let grace = PACE_GRACE.min(self.timeout / 12);
        self.begun + (grace + earned).min(self.timeout)
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

async fn collect(
    mut body: Body,
    room: usize,
    bytes_max: usize,
    pace: &Pace,
) -> Result<Bytes, ApiError> {
    // Not more than has come so far: what is only announced costs nothing yet.
    let mut kept = Vec::with_capacity(room.min(FIRST_BYTES));
    let mut seen = 0;
    loop {
        let frame = timeout_at(pace.due(seen), body.frame()).await;
        let Some(frame) = frame.or(Err(ApiError::too_slow()))? else {
            break;
        };
        let frame =
            frame.map_err(|_broken| ApiError::malformed("", "the body ended before its time"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen <= bytes_max {
            kept.extend_from_slice(&data);
        } else {
            kept = Vec::new();
            if seen > bytes_max * DRAIN_FACTOR {
                break;
            }
        }
    }
    if seen > bytes_max {
        Err(ApiError::too_large(bytes_max))
    } else {
        Ok(kept.into())
    }
}

/// A JSON answer.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) StatusCode, pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        match to_json(&self.1) {
            Ok(bytes) => json_response(self.0, bytes.into()),
            Err(error) => error.into_response(),
        }
    }
}

/// The bytes of a JSON answer.
pub(super) fn to_json<T: Serialize>(view: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(view).map_err(ApiError::from_json)
}

/// An answer of JSON bytes.
pub(super) fn json_response(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_given_up_when_it_falls_behind_the_pace_that_brings_it_here_in_time() {
        let minute = Duration::from_mins(1);
        let begun = Instant::now();

        let large = Pace::new(16 * 1024 * 1024, minute);
        assert_eq!(large.due(0), begun + PACE_GRACE);
        assert_eq!(large.due(8 * 1024 * 1024), begun + minute / 2 + PACE_GRACE);
        assert_eq!(large.due(16 * 1024 * 1024), begun + minute);
        let small = Pace::new(100, minute);
        assert_eq!(
            small.due(99),
            begun + PACE_GRACE + Duration::from_secs_f64(99.0 / 512.0)
        );
    }
}

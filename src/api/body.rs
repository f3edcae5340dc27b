//! Bodies: reading one within its limit, and answering with one.
//!
//! A body over the limit is drained up to four times the limit before it is refused, so that the
//! client gets to read the 413 instead of a reset connection.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::json;
use crate::app::App;

/// Most bytes of an ordinary body.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of a bulk or batch body.
pub(crate) const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many times its limit a body is drained before the connection is given up.
const DRAIN_FACTOR: usize = 4;

/// A parsed JSON body of at most `BYTES_MAX` bytes. What is in it is the domain's to judge.
#[derive(Debug)]
pub(crate) struct JsonBody<const BYTES_MAX: usize = BODY_BYTES_MAX>(pub(crate) Value);

impl<const BYTES_MAX: usize> FromRequest<App> for JsonBody<BYTES_MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(&parts.headers, body, BYTES_MAX, app).await?;
        parse_json(&bytes).map(Self)
    }
}

/// Reads a body of at most `bytes_max` bytes that claims to be JSON.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    app: &App,
) -> Result<Bytes, ApiError> {
    let bytes = read(headers, body, bytes_max, app.config.http.body_timeout).await?;
    // Only now, so that the answer is not lost to bytes that nobody read.
    if is_json(headers) {
        Ok(bytes)
    } else {
        Err(ApiError::unsupported_media_type())
    }
}

/// Parses a body, or says where it is bad.
pub(super) fn parse_json(bytes: &[u8]) -> Result<Value, ApiError> {
    json::parse(bytes).map_err(|error| ApiError::malformed(error.pointer, error.detail))
}

/// Whether the body claims to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a body of at most `bytes_max` bytes, within `timeout`.
async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    // A client that asks first is told without sending anything.
    if headers.contains_key(header::EXPECT) && announced(headers) > Some(bytes_max) {
        return Err(ApiError::too_large(bytes_max));
    }
    match tokio::time::timeout(timeout, collect(headers, body, bytes_max)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ApiError::too_slow()),
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

async fn collect(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut kept = Vec::with_capacity(announced(headers).unwrap_or(0).min(bytes_max));
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
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

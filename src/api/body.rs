//! Bodies: what was read as JSON, and answering with JSON.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::Value;

use crate::api::arrival;
use crate::api::error::ApiError;
use crate::api::json;
use crate::app::App;

/// Most bytes of an ordinary body.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of a bulk or batch body.
pub(crate) const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    let bytes = arrival::read(parts, body, bytes_max, app).await?;
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
pub(crate) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|claimed| claimed.trim().eq_ignore_ascii_case(media_type))
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

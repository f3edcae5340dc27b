//! `ApiError`: every refusal, as `application/problem+json` (RFC 9457).
//!
//! `type` is stable and made for programs, `detail` is made for people. A 5xx never carries
//! internal text: the cause goes to the log, once, where the error is made.

use std::any::Any;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use domain::FieldError;
use serde_json::{Value, json};
use tracing::error;

use crate::intake::Unavailable;

/// When a client should ask again after a 503: Postgres is usually back within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A request that was not carried out, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    /// The last word of the stable `type`.
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: the body is not JSON, or the request cannot be read at all.
    pub fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "The request could not be read",
            detail.clone(),
        );
        error.errors = vec![FieldError {
            pointer: pointer.into(),
            detail,
        }];
        error
    }

    /// 401: no credential, or a bad one.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid credential is needed",
            detail,
        )
    }

    /// 403: known, but not allowed. Never says whether the thing exists.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This credential may not do that",
            detail,
        )
    }

    /// 404: no such route, or no such thing for this caller.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            detail,
        )
    }

    /// 405: the path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This path does not take that method",
            "the Allow header names the methods of this path",
        )
    }

    /// 408: the body did not arrive in time.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request took too long to arrive",
            "the body did not arrive in time",
        )
    }

    /// 409: what is asked for does not go with what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "conflict",
            "That cannot be done as things stand",
            detail,
        )
    }

    /// 409: the first request with this `Idempotency-Key` has not been answered yet.
    pub fn still_running() -> Self {
        let mut error = Self::new(
            StatusCode::CONFLICT,
            "still-running",
            "The first request with this key is still at work",
            "ask again with the same Idempotency-Key to get its answer",
        );
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// 422: this `Idempotency-Key` belongs to another request.
    pub fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "This Idempotency-Key belongs to another request",
            "the key was used with another body or query within the last 24 hours",
        )
    }

    /// 413: the body is over its limit.
    pub fn too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("a body here has at most {bytes_max} bytes"),
        )
    }

    /// 415: not a media type this path reads.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body has the wrong media type",
            "send Content-Type: application/json",
        )
    }

    /// 422: readable, but some fields are not acceptable.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => format!("the body {}", only.detail),
            [only] => format!("{}: {}", only.pointer, only.detail),
            _ => format!("{} fields are not acceptable", errors.len()),
        };
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "The request is not acceptable",
            detail,
        );
        error.errors = errors;
        error
    }

    /// 422 for one field.
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        }])
    }

    /// 414: the path with its query is over its limit.
    pub fn uri_too_long(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "uri-too-long",
            "The path is too long",
            format!("a path with its query has at most {bytes_max} bytes"),
        )
    }

    /// 429: more than this client may ask. `wait` is when it may again.
    pub fn too_many(wait: Duration, detail: impl Into<String>) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests",
            detail,
        );
        // Rounded up: before it the answer would be the same.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        error.retry_after = Some(Duration::from_secs(seconds.max(1)));
        error
    }

    /// 431: the header fields are over their limits.
    pub fn headers_too_large(fields_max: usize, bytes_max: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            "The header is too large",
            format!("a request has at most {fields_max} header fields of {bytes_max} bytes in all"),
        )
    }

    /// 503: the request was at work for longer than any may be.
    pub fn timed_out() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed-out",
            "The request took too long",
            "what it handed in may have been written; try again after the time in Retry-After, \
             and with the same event_id, dedupe_key or Idempotency-Key it lands once",
        );
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// 503: this process is stopping. Others are not.
    pub fn leaving() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "This process is stopping",
            "ask another one",
        );
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// 503: too many bodies are being read for this one. Nothing of it was.
    pub fn crowded() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "crowded",
            "Too many large requests at once",
            "nothing was written; try again after the time in Retry-After",
        );
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// 503: Postgres is away, or more is waiting than may wait.
    pub fn unavailable() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The service cannot take this right now",
            "it may not have been written; try again after the time in Retry-After, and with the same \
             event_id or dedupe_key it lands once",
        );
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// 500: a bug. The cause is for the log alone.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side",
            "the cause has been logged",
        )
    }

    /// A read that failed: 503 when Postgres is away, else 500.
    pub fn from_store(error: store::StoreError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = queue::describe(&error), "postgres is not reachable");
            return Self::unavailable();
        }
        error!(
            error = queue::describe(&error),
            "a request failed in the database"
        );
        Self::internal()
    }

    /// An answer that could not be written as JSON.
    pub fn from_json(error: serde_json::Error) -> Self {
        error!(error = queue::describe(&error), "an answer is not JSON");
        Self::internal()
    }

    /// A statement of the queue that failed.
    pub fn from_queue(operation: &'static str, source: queue::DatabaseError) -> Self {
        Self::from_store(store::StoreError::Database { operation, source })
    }

    /// Dead letters that could not be looked at or replayed.
    pub fn from_replay(error: workers::ReplayError) -> Self {
        match error {
            workers::ReplayError::Queue(source) => Self::from_queue("read dead letters", source),
            workers::ReplayError::Store(error) => Self::from_store(error),
            workers::ReplayError::Filter(error) => Self::from_json(error),
        }
    }

    /// Metrics that could not be written as text.
    pub fn from_metrics(error: prometheus::Error) -> Self {
        error!(
            error = queue::describe(&error),
            "metrics could not be written"
        );
        Self::internal()
    }

    /// What a panicking handler answers with.
    pub fn from_panic(panic: Box<dyn Any + Send>) -> Response<Body> {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        error!(panic = message, "a handler panicked");
        Self::internal().into_response()
    }

    /// Whether the credential was the problem.
    pub fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Text for people, without the status.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What is wrong with which field.
    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:postrider:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            let errors = self
                .errors
                .iter()
                .map(|field| json!({"pointer": field.pointer, "detail": field.detail}));
            body["errors"] = errors.collect();
        }
        body
    }
}

impl From<Unavailable> for ApiError {
    fn from(_: Unavailable) -> Self {
        Self::unavailable()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bad_field_is_named_in_the_detail() {
        let error = ApiError::invalid_field("/payload", "must be an object");

        assert_eq!(error.body()["detail"], "/payload: must be an object");
        assert_eq!(error.body()["errors"][0]["pointer"], "/payload");
        assert_eq!(error.body()["type"], "urn:postrider:problem:invalid");
    }

    #[test]
    fn a_server_error_carries_no_internal_text() {
        let response = ApiError::from_panic(Box::new("password=hunter2"));

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!ApiError::internal().body().to_string().contains("hunter2"));
    }
}

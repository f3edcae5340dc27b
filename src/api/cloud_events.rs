//! The ways an event may come over HTTP: as our own JSON, or as a CloudEvent in one of the modes of
//! its HTTP binding (structured, batched, binary).

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use domain::{EventSubmission, FieldError};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::arrival;
use super::body::{self, BATCH_BYTES_MAX, BODY_BYTES_MAX};
use super::error::ApiError;
use super::once::OnceKey;
use crate::app::App;
use crate::intake::UNIT_ROWS_MAX;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

/// What the attributes of a CloudEvent in binary mode begin with.
const ATTRIBUTE: &str = "ce-";

/// What was posted to `/v1/events`.
#[derive(Debug)]
pub(super) struct EventPost {
    pub(super) body: Posted,
    pub(super) once: Option<OnceKey>,
}

/// One event, or several CloudEvents of which each stands for itself.
#[derive(Debug)]
pub(super) enum Posted {
    Event(Result<EventSubmission, Vec<FieldError>>),
    CloudEvents(Vec<Value>),
}

impl FromRequest<App> for EventPost {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let is_batch = body::is(&parts.headers, BATCHED);
        let bytes_max = if is_batch {
            BATCH_BYTES_MAX
        } else {
            BODY_BYTES_MAX
        };
        let bytes = arrival::read(&parts, body, bytes_max, app).await?;
        let once = OnceKey::read(&parts, &bytes)?;
        let read = reader(&parts).ok_or_else(ApiError::unsupported_media_type)?;
        let body = read(&parts.headers, body::parse_json(&bytes)?)?;
        Ok(Self { body, once })
    }
}

type Reader = fn(&HeaderMap, Value) -> Result<Posted, ApiError>;

/// How the body is to be read, by its media type.
fn reader(parts: &Parts) -> Option<Reader> {
    let headers = &parts.headers;
    if body::is(headers, BATCHED) {
        Some(|_, value| batch(value))
    } else if body::is(headers, STRUCTURED) {
        Some(|_, value| Ok(Posted::Event(EventSubmission::parse_cloud_event(value))))
    } else if !body::is(headers, body::JSON) {
        None
    } else if headers.contains_key("ce-specversion") {
        Some(|headers, data| {
            let event = EventSubmission::parse_cloud_event(binary(headers, data)?);
            Ok(Posted::Event(event))
        })
    } else {
        Some(|_, value| Ok(Posted::Event(EventSubmission::parse(value))))
    }
}

fn batch(value: Value) -> Result<Posted, ApiError> {
    let Value::Array(items) = value else {
        return Err(ApiError::invalid_field("", "must be an array"));
    };
    if items.len() > UNIT_ROWS_MAX as usize {
        let detail = format!("has at most {UNIT_ROWS_MAX} items");
        return Err(ApiError::invalid_field("", detail));
    }
    Ok(Posted::CloudEvents(items))
}

/// The event whose attributes are headers and whose data is the body. Values are
/// percent-encoded where they are not ASCII.
fn binary(headers: &HeaderMap, data: Value) -> Result<Value, ApiError> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(ATTRIBUTE) else {
            continue;
        };
        let text = value
            .to_str()
            .ok()
            .and_then(|text| percent_decode_str(text).decode_utf8().ok());
        let Some(text) = text else {
            let detail = format!("the header {name} is not percent-encoded UTF-8");
            return Err(ApiError::malformed("", detail));
        };
        event.insert(attribute.to_owned(), Value::String(text.into_owned()));
    }
    event.insert("data".to_owned(), data);
    Ok(Value::Object(event))
}

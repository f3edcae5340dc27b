//! `POST /v1/events` and `/v1/events/batch`: facts come in.
//!
//! `202` means "committed", not "acted on". A repeat by `event_id` or `dedupe_key` is answered the
//! same way, with `duplicate`, and changes nothing.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::{EventSubmission, FieldError, TenantId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Sender;
use super::batch::{Batch, ItemError};
use super::body::{BATCH_BYTES_MAX, Json, JsonBody};
use super::error::ApiError;
use super::openapi::bodies::{EventBody, EventsBody};
use crate::app::App;
use crate::intake::{Answer, Row};

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(submit_batch))
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventSubmitted)]
pub(super) struct Submitted {
    event_id: String,
    /// `accepted`, or `duplicate` of an earlier one: then nothing was written.
    status: &'static str,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventsSubmitted)]
pub(super) struct BatchSubmitted {
    accepted: usize,
    duplicates: usize,
    errors: Vec<ItemError>,
}

/// Submit an event.
///
/// Needs the role `send`. `202` means that it is committed, not that it was acted on.
#[utoipa::path(
    post, path = "/v1/events", tag = "Submit", operation_id = "submit_event",
    request_body = EventBody,
    responses((status = 202, description = "Committed.", body = Submitted)),
)]
pub(super) async fn submit(
    State(app): State<App>,
    Sender(caller): Sender,
    JsonBody(body): JsonBody,
) -> Result<Json<Submitted>, ApiError> {
    let event = EventSubmission::parse(body).map_err(ApiError::invalid)?;
    let event_id = event.event_id.clone();
    let row = Row::of_event(&caller.tenant_id, event, app.clock.now());
    let answer = app.intake.submit_one(row).await?;
    let (id, status) = match answer {
        Answer::Accepted { id } => (id, "accepted"),
        Answer::Duplicate { id } => (id, "duplicate"),
        Answer::Refused { detail } => return Err(ApiError::invalid_field("", detail)),
    };
    let event_id = event_id.unwrap_or_else(|| id.to_string());
    Ok(Json(StatusCode::ACCEPTED, Submitted { event_id, status }))
}

/// Submit up to 5 000 events.
///
/// Needs the role `send`. Good items land even when others are bad.
#[utoipa::path(
    post, path = "/v1/events/batch", tag = "Submit", operation_id = "submit_events",
    request_body = EventsBody,
    responses((status = 202, description = "The good items are committed.", body = BatchSubmitted)),
)]
pub(super) async fn submit_batch(
    State(app): State<App>,
    Sender(caller): Sender,
    JsonBody(body): JsonBody<BATCH_BYTES_MAX>,
) -> Result<Json<BatchSubmitted>, ApiError> {
    let now = app.clock.now();
    let batch = Batch::read(body, "events", |item| read(&caller.tenant_id, item, now))?;
    let outcome = batch.submit(&app.intake).await?;
    let answer = BatchSubmitted {
        accepted: outcome.landed.len() - outcome.duplicates,
        duplicates: outcome.duplicates,
        errors: outcome.errors,
    };
    Ok(Json(StatusCode::ACCEPTED, answer))
}

fn read(tenant_id: &TenantId, item: Value, now: DateTime<Utc>) -> Result<Row, Vec<FieldError>> {
    EventSubmission::parse(item).map(|event| Row::of_event(tenant_id, event, now))
}

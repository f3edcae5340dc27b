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

use super::auth::Sender;
use super::batch::{Batch, ItemError};
use super::body::{BATCH_BYTES_MAX, Json, JsonBody};
use super::error::ApiError;
use crate::app::App;
use crate::intake::{Answer, Row};

/// What became of one event.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    event_id: String,
    status: &'static str,
}

/// What became of a batch.
#[derive(Debug, Serialize)]
pub(super) struct BatchSubmitted {
    accepted: usize,
    duplicates: usize,
    errors: Vec<ItemError>,
}

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

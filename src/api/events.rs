//! `POST /v1/events` and `/v1/events/batch`: facts come in.
//!
//! `202` means "committed", not "acted on". A repeat by `event_id` or `dedupe_key` is answered the
//! same way, with `duplicate`, and changes nothing.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use chrono::{DateTime, Utc};
use domain::{EventSubmission, FieldError, TenantId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Sender;
use super::batch::{Batch, ItemError};
use super::body::BATCH_BYTES_MAX;
use super::error::ApiError;
use super::once::PostBody;
use super::openapi::bodies::{EventBody, EventsBody};
use super::submit;
use crate::app::App;
use crate::intake::Row;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit_event))
        .routes(routes!(submit_events))
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
pub(super) async fn submit_event(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let event = EventSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let event_id = event.event_id.clone();
    let row = Row::of_event(&caller.tenant_id, event, app.clock.now());
    submit::submit(&app, &caller, vec![row], body.once, move |answers| {
        let (id, is_repeat) = submit::only(answers)?;
        Ok(Submitted {
            event_id: event_id.clone().unwrap_or_else(|| id.to_string()),
            status: if is_repeat { "duplicate" } else { "accepted" },
        })
    })
    .await
}

/// Submit up to 5 000 events.
///
/// Needs the role `send`. Good items land even when others are bad.
#[utoipa::path(
    post, path = "/v1/events/batch", tag = "Submit", operation_id = "submit_events",
    request_body = EventsBody,
    responses((status = 202, description = "The good items are committed.", body = BatchSubmitted)),
)]
pub(super) async fn submit_events(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody<BATCH_BYTES_MAX>,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let (rows, batch) = Batch::read(body.value, "events", |item| {
        read(&caller.tenant_id, item, now)
    })?;
    submit::submit(&app, &caller, rows, body.once, move |answers| {
        let outcome = batch.outcome(answers);
        Ok(BatchSubmitted {
            accepted: outcome.landed.len() - outcome.duplicates,
            duplicates: outcome.duplicates,
            errors: outcome.errors,
        })
    })
    .await
}

fn read(tenant_id: &TenantId, item: Value, now: DateTime<Utc>) -> Result<Row, Vec<FieldError>> {
    EventSubmission::parse(item).map(|event| Row::of_event(tenant_id, event, now))
}

//! `POST /v1/events` and `/v1/events/batch`: facts come in.
//!
//! `202` means "committed", not "acted on". A repeat by `event_id` or `dedupe_key` is answered the
//! same way, with `duplicate`, and changes nothing.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use domain::EventSubmission;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::batch::{Batch, ItemError};
use super::body::BATCH_BYTES_MAX;
use super::cloud_events::{EventPost, Posted};
use super::error::ApiError;
use super::once::PostBody;
use super::openapi::bodies::{CloudEvent, EventBody, EventsBody};
use super::roles::Sender;
use super::submit;
use crate::app::App;
use crate::intake::{Answer, Row};

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

impl BatchSubmitted {
    fn of(batch: &Batch, answers: &[Answer]) -> Self {
        let outcome = batch.outcome(answers);
        Self {
            accepted: outcome.landed.len() - outcome.duplicates,
            duplicates: outcome.duplicates,
            errors: outcome.errors,
        }
    }
}

/// What became of whatever was submitted.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "only described; the handler answers with one or the other"
)]
pub(super) enum Outcome {
    One(Submitted),
    /// Of a batch of CloudEvents.
    Several(BatchSubmitted),
}

/// Submit an event.
///
/// Needs the role `send`. `202` means that it is committed, not that it was acted on. Takes
/// CloudEvents 1.0 as well: one, a batch of up to 5 000, or in binary mode with `ce-` headers.
#[utoipa::path(
    post, path = "/v1/events", tag = "Submit", operation_id = "submit_event",
    request_body(content(
        (EventBody = "application/json"),
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
    )),
    responses((status = 202, description = "Committed.", body = Outcome)),
)]
pub(super) async fn submit_event(
    State(app): State<App>,
    Sender(caller): Sender,
    post: EventPost,
) -> Result<Response<Body>, ApiError> {
    let (windows, now) = (app.intake.windows(), app.clock.now());
    let event = match post.body {
        Posted::Event(event) => event.map_err(ApiError::invalid)?,
        Posted::CloudEvents(items) => {
            let (rows, batch) = Batch::of_items(items, |item| {
                let event = EventSubmission::parse_cloud_event(item)?;
                Ok(Row::of_event(&caller.tenant_id, event, windows, now))
            });
            return submit::submit(&app, &caller, rows, post.once, move |answers| {
                Ok(BatchSubmitted::of(&batch, answers))
            })
            .await;
        }
    };
    let event_id = event.event_id.clone();
    let row = Row::of_event(&caller.tenant_id, event, windows, now);
    submit::submit(&app, &caller, vec![row], post.once, move |answers| {
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
    let (windows, now) = (app.intake.windows(), app.clock.now());
    let (rows, batch) = Batch::read(body.value, "events", |item| {
        let event = EventSubmission::parse(item)?;
        Ok(Row::of_event(&caller.tenant_id, event, windows, now))
    })?;
    submit::submit(&app, &caller, rows, body.once, move |answers| {
        Ok(BatchSubmitted::of(&batch, answers))
    })
    .await
}

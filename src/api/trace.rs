//! `GET /v1/notifications/{id}/trace`: every step of a notification's way, and why it was taken.
//!
//! Decisions are stored as they are taken. What a delivery's row and its attempts say by themselves,
//! which text was made and what the provider answered, is told from them: writing it down a second
//! time would cost every message a row.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::{DeliveryId, TraceStep};
use serde_json::json;
use store::deliveries::{Attempt, Delivery};
use store::notifications::Notification;
use store::traces::TraceEntry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::notifications::find;
use super::view::TraceView;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(trace))
}

/// Show every step of a notification's way, in order.
#[utoipa::path(
    get, path = "/v1/notifications/{id}/trace", tag = "Look up", operation_id = "trace_notification",
    params(("id" = String, Path, description = "The notification's id.")),
    responses((status = 200, description = "The steps.", body = Vec<TraceView>)),
)]
async fn trace(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<Vec<TraceView>>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let notification = find(&mut conn, &caller, params).await?;
    let deliveries = store::deliveries::list_deliveries(&mut conn, &[notification.id])
        .await
        .map_err(ApiError::from_store)?;
    let ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
    let attempts = store::deliveries::list_attempts(&mut conn, &ids)
        .await
        .map_err(ApiError::from_store)?;
    let entries = steps(&mut conn, &notification, &deliveries, &attempts).await?;
    let shown = entries.into_iter().map(TraceView::of).collect();
    Ok(Json(StatusCode::OK, shown))
}

/// Every step of a notification's way, in order.
pub(crate) async fn steps(
    conn: &mut store::Connection,
    notification: &Notification,
    deliveries: &[Delivery],
    attempts: &[Attempt],
) -> Result<Vec<TraceEntry>, ApiError> {
    let mut entries = store::traces::list_trace(conn, notification.id)
        .await
        .map_err(ApiError::from_store)?;
    entries.extend(told_by_rows(notification, deliveries, attempts));
    // Stable, so what was decided at one moment stays in its order.
    entries.sort_by_key(|entry| (entry.at, rank(&entry.step.step)));
    Ok(entries)
}

/// What comes after what, of one moment: an attempt after its text, and what follows from it last.
fn rank(step: &str) -> u8 {
    match step {
        "render" => 1,
        "attempt" => 2,
        "deliver" | "deliver_in_app" | "retry" | "stand_in" => 3,
        _ => 0,
    }
}

/// The texts that were made and the attempts to send them.
fn told_by_rows(
    notification: &Notification,
    deliveries: &[Delivery],
    attempts: &[Attempt],
) -> Vec<TraceEntry> {
    let mut entries = Vec::new();
    for delivery in deliveries {
        let own = || attempts.iter().filter(|it| it.delivery_id == delivery.id);
        if delivery.message.is_some() {
            let began = own().map(|attempt| attempt.started_at).min();
            let at = began.unwrap_or(delivery.updated_at);
            entries.push(rendered(notification, delivery, at));
        }
        entries.extend(own().map(|attempt| attempted(delivery, attempt)));
    }
    entries
}

fn rendered(notification: &Notification, delivery: &Delivery, at: DateTime<Utc>) -> TraceEntry {
    let (decision, reason) = match &delivery.template {
        Some(_) => ("rendered", "the message was made by the template"),
        None => ("literal", "the send has brought its own words"),
    };
    let step = TraceStep::new("render", decision, reason).with_detail(json!({
        "delivery_id": delivery.id, "channel": delivery.channel, "template": delivery.template,
        "version": notification.decided.template_version, "locale": delivery.locale,
    }));
    TraceEntry { at, step }
}

fn attempted(delivery: &Delivery, attempt: &Attempt) -> TraceEntry {
    let said = attempt.error.as_ref().or(attempt.response.as_ref());
    let reason = said.map_or("the provider has taken it", String::as_str);
    let reason = reason.to_owned();
    let step = TraceStep::new("attempt", attempt.status.as_str(), reason).with_detail(json!({
        "delivery_id": delivery.id, "channel": delivery.channel, "provider": attempt.provider,
        "number": attempt.number,
    }));
    TraceEntry {
        at: attempt.finished_at,
        step,
    }
}

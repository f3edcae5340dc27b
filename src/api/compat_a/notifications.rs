//! `GET /api/v1/notifications` and one of them.

use std::collections::HashMap;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use domain::{Channel, NotificationId, Role, Status, UserId};
use store::deliveries::Delivery;
use store::history::HistoryFilter;
use store::notifications::Notification;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use super::offset::{OffsetParams, OffsetQuery};
use super::view::NotificationOfA;
use crate::api::auth::Caller;
use crate::api::body::Json;
use crate::api::error::ApiError;
use crate::api::notifications::find;
use crate::api::openapi::words::{ChannelWord, StatusWord};
use crate::api::query::Query;
use crate::app::App;

/// Rows read at once on the way to an offset.
const STEP_ROWS: usize = 1000;

/// Steps to one page at most: a bare array cannot say where to go on, so a page ends here.
const STEPS_MAX: usize = 20;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

/// List notifications, newest first, as system A does.
///
/// A user sees their own, without what they archived; the role `read` sees the tenant's.
#[utoipa::path(
    get, path = "/api/v1/notifications", tag = TAG, operation_id = "list_notifications_of_a",
    params(
        ("user_id" = Option<String>, Query, description = "Whose."),
        ("status" = Option<StatusWord>, Query),
        ("type" = Option<ChannelWord>, Query, description = "Those with a delivery over it."),
        OffsetParams,
    ),
    responses((status = 200, description = "A page.", body = Vec<NotificationOfA>)),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Vec<NotificationOfA>>, ApiError> {
    let page = OffsetQuery::read(&mut query);
    let asked_for = query.text("user_id").map(UserId::from);
    let filter = HistoryFilter {
        user_id: caller.readable(asked_for)?,
        status: query.parsed("status", "must be a status such as sent", Status::parse),
        channel: query.parsed("type", "must be a channel such as email", Channel::parse),
        is_archived: (!caller.may(Role::Read)).then_some(false),
        ..HistoryFilter::default()
    };
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = rows(&mut conn, &caller, &filter, page).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut deliveries = first_deliveries(&mut conn, &ids).await?;
    let shown = rows.into_iter().map(|row| {
        let delivery = deliveries.remove(&row.id);
        NotificationOfA::of(row, delivery)
    });
    Ok(Json(StatusCode::OK, shown.collect()))
}

/// Show a notification as system A does.
#[utoipa::path(
    get, path = "/api/v1/notifications/{id}", tag = TAG, operation_id = "show_notification_of_a",
    params(("id" = String, Path, description = "The notification's id.")),
    responses((status = 200, description = "The notification.", body = NotificationOfA)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<NotificationOfA>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let row = find(&mut conn, &caller, params).await?;
    let delivery = first_deliveries(&mut conn, &[row.id])
        .await?
        .remove(&row.id);
    Ok(Json(StatusCode::OK, NotificationOfA::of(row, delivery)))
}

/// The rows of a page, walking over those before it.
async fn rows(
    conn: &mut store::Connection,
    caller: &Caller,
    filter: &HistoryFilter,
    page: OffsetQuery,
) -> Result<Vec<Notification>, ApiError> {
    let (mut rows, mut skipped, mut before) = (Vec::new(), 0, None);
    for _ in 0..STEPS_MAX {
        let missing = page.offset - skipped + page.limit - rows.len();
        let limit = missing.min(STEP_ROWS);
        let found = store::history::list(conn, &caller.tenant_id, filter, before, limit)
            .await
            .map_err(ApiError::from_store)?;
        for row in found.items {
            if skipped < page.offset {
                skipped += 1;
            } else {
                rows.push(row);
            }
        }
        before = found.next;
        if before.is_none() || rows.len() == page.limit {
            break;
        }
    }
    Ok(rows)
}

/// The first delivery of each notification.
async fn first_deliveries(
    conn: &mut store::Connection,
    ids: &[NotificationId],
) -> Result<HashMap<NotificationId, Delivery>, ApiError> {
    let deliveries = store::deliveries::list_deliveries(conn, ids)
        .await
        .map_err(ApiError::from_store)?;
    // They come in the order of their notification's plan.
    let mut first = HashMap::new();
    for delivery in deliveries {
        first.entry(delivery.notification_id).or_insert(delivery);
    }
    Ok(first)
}

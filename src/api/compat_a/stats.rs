//! `GET /api/v1/stats` and `/api/v1/admin/stats`: the counts, as under `/v1`.

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::api::auth::Caller;
use crate::api::body::Json;
use crate::api::error::ApiError;
use crate::api::openapi::words::WindowWord;
use crate::api::query::Query;
use crate::api::stats::{AdminStatsView, StatsView, admin, own};
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(show_admin))
}

/// Count what was planned within a window, and what has become of it.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/api/v1/stats", tag = TAG, operation_id = "stats_of_a",
    params(("window" = Option<WindowWord>, Query, description = "Until now.")),
    responses((status = 200, description = "The counts.", body = StatsView)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<StatsView>, ApiError> {
    let stats = own(&app, caller, query).await?;
    Ok(Json(StatusCode::OK, stats))
}

/// Count for operators: also what waits in the queues.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/api/v1/admin/stats", tag = TAG, operation_id = "admin_stats_of_a",
    params(("window" = Option<WindowWord>, Query, description = "Until now.")),
    responses((status = 200, description = "The counts.", body = AdminStatsView)),
)]
async fn show_admin(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<AdminStatsView>, ApiError> {
    let stats = admin(&app, caller, query).await?;
    Ok(Json(StatusCode::OK, stats))
}

//! `/health`, `/health/detailed` and `/metrics`: open to everybody, and never about anybody.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use queue::inspect::QueueDepth;
use serde::Serialize;
use store::StoreError;
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Json;
use super::error::ApiError;
use crate::app::App;
use crate::health::Report;
use crate::lookout;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(detailed))
        .routes(routes!(metrics))
}

/// Whether a process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`: otherwise the answer is a 503.
    status: &'static str,
}

/// Say whether this process can do its work: it answers, and so does Postgres.
///
/// 503 as well from the moment it is told to stop, so that a balancer leaves it in time.
#[utoipa::path(
    get, path = "/health", tag = "Operate", operation_id = "health", security(()),
    responses((status = 200, description = "It can.", body = Health)),
)]
pub(super) async fn health(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    lookout::ready(&app.examiner, &app.store).await?;
    Ok(Json(StatusCode::OK, Health { status: "ok" }))
}

/// Say how each part is that this process depends on.
///
/// A second old at most. It names queues and nodes, and nobody.
#[utoipa::path(
    get, path = "/health/detailed", tag = "Operate", operation_id = "health_detailed", security(()),
    responses(
        (status = 200, description = "It works; `degraded` wants to be looked at.", body = Report),
        (status = 503, description = "It does not, or is stopping.", body = Report),
    ),
)]
pub(super) async fn detailed(State(app): State<App>) -> Response<Body> {
    lookout::report(&app.examiner).await
}

/// Show metrics in the text format of Prometheus.
///
/// Without Postgres the queues show their last depth.
#[utoipa::path(
    get, path = "/metrics", tag = "Operate", operation_id = "metrics", security(()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response<Body>, ApiError> {
    if let Err(error) = show_queue_depths(&app).await {
        warn!(
            error = queue::describe(&error),
            "queue depths could not be read"
        );
    }
    let text = app
        .metrics
        .render(&app.registry)
        .map_err(ApiError::from_metrics)?;
    Ok(lookout::metrics_response(text))
}

/// Reads how many open jobs each queue has.
async fn show_queue_depths(app: &App) -> Result<(), StoreError> {
    let mut conn = app.store.acquire().await?;
    let depths = queue::inspect::depths(&mut conn, app.clock.fixed())
        .await
        .map_err(|source| StoreError::Database {
            operation: "read the depths of the queues",
            source,
        })?;
    let total = |depth: &QueueDepth| depth.available + depth.scheduled + depth.running;
    let known = workers::queues::all().map(|queue| {
        let depth = depths.iter().find(|depth| depth.queue == queue);
        let oldest = depth.map_or(0.0, |depth| depth.oldest_available_seconds);
        (queue, depth.map_or(0, total), oldest)
    });
    app.metrics.show_queues(known);
    Ok(())
}

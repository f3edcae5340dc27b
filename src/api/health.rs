//! `/health` and `/metrics`: open to everybody, and never about anybody.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use queue::inspect::QueueDepth;
use serde_json::{Value, json};
use store::StoreError;
use tracing::warn;

use super::body::Json;
use super::error::ApiError;
use crate::app::App;

/// Whether this process can do its work: it answers, and so does Postgres.
pub(super) async fn health(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    app.store.ping().await.map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, json!({"status": "ok"})))
}

/// Metrics in the text format of Prometheus. Without Postgres the queues show their last depth.
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
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    Ok(response)
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
        (queue, depth.map_or(0, total))
    });
    app.metrics.show_queue_depths(known);
    Ok(())
}

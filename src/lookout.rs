//! What a process that only works answers over HTTP: `/health`, `/health/detailed`, `/metrics`.
//!
//! It has no API: whoever scrapes or restarts it needs no more.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, middleware};
use prometheus::{Encoder, Registry, TextEncoder};
use store::Store;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::ApiError;
use crate::health::{self, Examiner};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lookout {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) examiner: Arc<Examiner>,
}

/// The routes.
pub(crate) fn router(lookout: Lookout) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/detailed", get(detailed))
        .route("/metrics", get(metrics))
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(CatchPanicLayer::custom(ApiError::from_panic))
        .layer(middleware::from_fn(
            async |request, next: middleware::Next| match timeout(ANSWER_TIMEOUT, next.run(request))
                .await
            {
                Ok(response) => response,
                Err(_elapsed) => ApiError::timed_out().into_response(),
            },
        ))
        .with_state(lookout)
}

async fn health(State(lookout): State<Lookout>) -> Result<Response<Body>, ApiError> {
    ready(&lookout.examiner, &lookout.store).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({"status": "ok"})))
}

async fn detailed(State(lookout): State<Lookout>) -> Response<Body> {
    report(&lookout.examiner).await
}

async fn metrics(State(lookout): State<Lookout>) -> Result<Response<Body>, ApiError> {
    let text = text_of(&lookout.registry).map_err(ApiError::from_metrics)?;
    Ok(metrics_response(text))
}

/// Whether this process can do its work, and is not stopping.
pub(crate) async fn ready(examiner: &Examiner, store: &Store) -> Result<(), ApiError> {
    if examiner.is_leaving() {
        return Err(ApiError::leaving());
    }
    store.ping().await.map_err(ApiError::from_store)
}

/// The long answer, with a status that a balancer understands too.
pub(crate) async fn report(examiner: &Examiner) -> Response<Body> {
    let report = examiner.report().await;
    let status = match report.status {
        health::State::Ok | health::State::Degraded => StatusCode::OK,
        health::State::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &report)
}

/// Everything in `registry`, in the text format of Prometheus.
pub(crate) fn text_of(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn metrics_response(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

fn json(status: StatusCode, view: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(view) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => ApiError::from_json(error).into_response(),
    }
}

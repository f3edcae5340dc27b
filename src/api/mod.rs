//! Every route, in one list, and what surrounds them: one error body, no panic that gets out.

pub mod auth;
mod batch;
mod body;
pub(crate) mod error;
mod events;
mod health;
mod inbox;
mod json;
pub(crate) mod jwks;
mod notifications;
mod outbox;
mod page;
pub(crate) mod query;
pub mod token;
mod view;

use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use self::error::ApiError;
use crate::app::App;
use crate::edge;
use crate::live;

/// The API over `app`.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/v1/events", post(events::submit))
        .route("/v1/events/batch", post(events::submit_batch))
        .route(
            "/v1/notifications",
            post(notifications::submit).get(notifications::list),
        )
        .route("/v1/notifications/bulk", post(notifications::submit_bulk))
        .route("/v1/notifications/ack", post(inbox::acknowledge))
        .route("/v1/notifications/unread-count", get(inbox::unread_count))
        .route("/v1/notifications/{id}", get(notifications::show))
        .route("/v1/notifications/{id}/trace", get(notifications::trace))
        .route("/v1/outbox", get(outbox::list))
        .route("/v1/ws", get(live::upgrade))
        .route("/ws", get(live::upgrade))
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(ApiError::from_panic))
        .layer(middleware::from_fn_with_state(app.clone(), edge::watch));
    // Outermost, so that a page may read refusals too.
    match edge::cors::layer(&app.config.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
    .with_state(app)
}

async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path")
}

async fn no_such_method() -> ApiError {
    ApiError::method_not_allowed()
}

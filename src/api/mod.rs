//! Every route, in one list, and what surrounds them: one error body, no panic that gets out.

mod admin_view;
pub(crate) mod arrival;
pub mod auth;
mod batch;
pub(crate) mod body;
pub(crate) mod cancel;
mod cloud_events;
mod compat_a;
mod consents;
pub(crate) mod dead_letters;
pub(crate) mod error;
mod events;
pub(crate) mod export;
mod health;
mod inbox;
mod json;
pub(crate) mod jwks;
pub(crate) mod key_use;
mod keys;
mod limits;
mod marks;
pub(crate) mod notifications;
mod once;
pub mod openapi;
mod outbox;
pub(crate) mod page;
pub(crate) mod path;
mod preferences;
pub(crate) mod query;
pub(crate) mod queues;
mod quiet_hours;
pub(crate) mod rehearsal;
pub(crate) mod replays;
mod roles;
pub(crate) mod rules;
mod stats;
mod submit;
pub(crate) mod templates;
pub mod token;
mod topics;
pub(crate) mod trace;
pub(crate) mod users;
pub(crate) mod view;
mod web_push;

use axum::routing::get;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use crate::app::App;
use crate::console;
use crate::edge;
use crate::live;
use crate::web;

/// The API over `app`.
pub fn router(app: App) -> Router {
    let (routes, document) = routes();
    let routes = routes
        .route("/ws", get(live::upgrade))
        .route("/openapi.json", openapi::serve(&document))
        .route("/docs", get(openapi::reader::enter))
        .route("/docs/", get(openapi::reader::file))
        .route("/docs/{*file}", get(openapi::reader::file))
        .merge(web::routes())
        .route("/", get(console::enter))
        .route("/console/", get(console::enter))
        .nest("/console", console::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(ApiError::from_panic))
        .layer(middleware::from_fn_with_state(app.clone(), edge::watch))
        .layer(middleware::from_fn(console::dress));
    // Outermost, so that a page may read refusals too.
    match edge::cors::layer(&app.config.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
    .with_state(app)
}

/// Every described route, and their description.
fn routes() -> (Router<App>, OpenApi) {
    let mut routes = OpenApiRouter::new()
        .merge(events::routes())
        .merge(notifications::routes())
        .merge(trace::routes())
        .merge(cancel::routes())
        .merge(inbox::routes())
        .merge(marks::routes())
        .merge(outbox::routes())
        .merge(dead_letters::routes())
        .merge(replays::routes())
        .merge(queues::routes())
        .merge(keys::routes())
        .merge(preferences::routes())
        .merge(quiet_hours::routes())
        .merge(users::routes())
        .merge(web_push::routes())
        .merge(export::routes())
        .merge(topics::routes())
        .merge(rehearsal::routes())
        .merge(rules::routes())
        .merge(limits::routes())
        .merge(consents::routes())
        .merge(templates::routes())
        .merge(stats::routes())
        .merge(compat_a::routes())
        .merge(health::routes())
        .routes(routes!(live::upgrade))
        .merge(live::ticket::routes())
        .merge(live::stream::routes())
        .merge(live::poll::routes());
    let document = openapi::document(&mut routes);
    (routes.into(), document)
}

async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path")
}

async fn no_such_method() -> ApiError {
    ApiError::method_not_allowed()
}

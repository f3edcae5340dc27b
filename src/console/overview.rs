//! The first page: is all well, and what is going on.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;

use super::session::Operator;
use super::shell::{self, Shell};
use crate::api::error::ApiError;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/", get(show))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
}

/// `GET /console`.
async fn show(State(_app): State<App>, operator: Operator) -> Result<Response<Body>, ApiError> {
    let shell = Shell::new(&operator, "/console");
    shell::html(StatusCode::OK, &OverviewPage { shell })
}

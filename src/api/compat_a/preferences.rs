//! `/api/v1/notifications/preferences`: what the signed-in user wants, as under `/v1/preferences`.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use domain::Preferences;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::api::auth::Caller;
use crate::api::body::{Json, JsonBody};
use crate::api::error::ApiError;
use crate::api::once::PostBody;
use crate::api::openapi::people::PreferencesBody;
use crate::api::preferences::{merge_own, replace_own, show_own};
use crate::api::query::Query;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show, replace, merge))
}

/// Show what the signed-in user wants.
#[utoipa::path(
    get, path = "/api/v1/notifications/preferences", tag = TAG,
    operation_id = "show_preferences_of_a",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    responses((status = 200, description = "All of it.", body = PreferencesBody)),
)]
async fn show(
    state: State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<Preferences>, ApiError> {
    show_own(state, caller, query).await
}

/// Replace what the signed-in user wants.
#[utoipa::path(
    put, path = "/api/v1/notifications/preferences", tag = TAG,
    operation_id = "replace_preferences_of_a",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "As stored.", body = PreferencesBody)),
)]
async fn replace(
    state: State<App>,
    caller: Caller,
    query: Query,
    body: JsonBody,
) -> Result<Json<Preferences>, ApiError> {
    replace_own(state, caller, query, body).await
}

/// Change a part of what the signed-in user wants.
#[utoipa::path(
    post, path = "/api/v1/notifications/preferences", tag = TAG,
    operation_id = "merge_preferences_of_a",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "All of it, as stored.", body = PreferencesBody)),
)]
async fn merge(
    state: State<App>,
    caller: Caller,
    query: Query,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    merge_own(state, caller, query, body).await
}

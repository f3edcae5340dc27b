//! `/v1/preferences` and `/v1/users/{user_id}/preferences`: what a user wants to be told, and how.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{Preferences, UserId};
use queue::JOBS_AVAILABLE;
use store::Connection;
use store::preferences::{find_preferences, lock_preferences, upsert_preferences};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use workers::wake_held;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::people::PreferencesBody;
use super::path::UserPath;
use super::query::Query;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show_own, replace_own, merge_own))
        .routes(routes!(show_short, replace_short, merge_short))
        .routes(routes!(show, replace, merge))
}

/// Show what the signed-in user wants.
///
/// Who has said nothing gets the default: everything. An admin key names the user by `user_id`.
#[utoipa::path(
    get, path = "/v1/preferences", tag = "Preferences", operation_id = "show_own_preferences",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    responses((status = 200, description = "All of it.", body = PreferencesBody)),
)]
pub(super) async fn show_own(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<Preferences>, ApiError> {
    let user_id = whose(&caller, query)?;
    find(&app, &caller, &user_id).await
}

/// Replace what the signed-in user wants.
///
/// What is left out goes back to its default.
#[utoipa::path(
    put, path = "/v1/preferences", tag = "Preferences", operation_id = "replace_own_preferences",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "As stored.", body = PreferencesBody)),
)]
pub(super) async fn replace_own(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    body: JsonBody,
) -> Result<Json<Preferences>, ApiError> {
    let user_id = whose(&caller, query)?;
    put(&app, &caller, &user_id, body).await
}

/// Change a part of what the signed-in user wants.
///
/// Objects are merged field by field; `null` takes a field back to its default.
#[utoipa::path(
    post, path = "/v1/preferences", tag = "Preferences", operation_id = "merge_own_preferences",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "All of it, as stored.", body = PreferencesBody)),
)]
pub(super) async fn merge_own(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let user_id = whose(&caller, query)?;
    post(&app, &caller, user_id, body).await
}

/// Show what the signed-in user wants, by the short path.
#[utoipa::path(
    get, path = "/v1/prefs", tag = "Preferences", operation_id = "show_own_prefs",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    responses((status = 200, description = "All of it.", body = PreferencesBody)),
)]
async fn show_short(
    state: State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<Preferences>, ApiError> {
    show_own(state, caller, query).await
}

/// Replace what the signed-in user wants, by the short path.
#[utoipa::path(
    put, path = "/v1/prefs", tag = "Preferences", operation_id = "replace_own_prefs",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "As stored.", body = PreferencesBody)),
)]
async fn replace_short(
    state: State<App>,
    caller: Caller,
    query: Query,
    body: JsonBody,
) -> Result<Json<Preferences>, ApiError> {
    replace_own(state, caller, query, body).await
}

/// Change a part of what the signed-in user wants, by the short path.
#[utoipa::path(
    post, path = "/v1/prefs", tag = "Preferences", operation_id = "merge_own_prefs",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "All of it, as stored.", body = PreferencesBody)),
)]
async fn merge_short(
    state: State<App>,
    caller: Caller,
    query: Query,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    merge_own(state, caller, query, body).await
}

/// Show what a user wants.
///
/// For admins, and for the user.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/preferences", tag = "Preferences",
    operation_id = "show_preferences",
    params(("user_id" = String, Path, description = "Whose.")),
    responses((status = 200, description = "All of it.", body = PreferencesBody)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    UserPath(user_id): UserPath,
) -> Result<Json<Preferences>, ApiError> {
    let user_id = caller.acting_for(Some(user_id))?;
    find(&app, &caller, &user_id).await
}

/// Replace what a user wants.
///
/// For admins, and for the user. What is left out goes back to its default.
#[utoipa::path(
    put, path = "/v1/users/{user_id}/preferences", tag = "Preferences",
    operation_id = "replace_preferences",
    params(("user_id" = String, Path, description = "Whose.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "As stored.", body = PreferencesBody)),
)]
async fn replace(
    State(app): State<App>,
    caller: Caller,
    UserPath(user_id): UserPath,
    body: JsonBody,
) -> Result<Json<Preferences>, ApiError> {
    let user_id = caller.acting_for(Some(user_id))?;
    put(&app, &caller, &user_id, body).await
}

/// Change a part of what a user wants.
///
/// For admins, and for the user. Objects are merged field by field; `null` takes a field back to
/// its default.
#[utoipa::path(
    post, path = "/v1/users/{user_id}/preferences", tag = "Preferences",
    operation_id = "merge_preferences",
    params(("user_id" = String, Path, description = "Whose.")),
    request_body = PreferencesBody,
    responses((status = 200, description = "All of it, as stored.", body = PreferencesBody)),
)]
async fn merge(
    State(app): State<App>,
    caller: Caller,
    UserPath(user_id): UserPath,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let user_id = caller.acting_for(Some(user_id))?;
    post(&app, &caller, user_id, body).await
}

/// The signed-in user, or the one of `?user_id=` for an admin key.
fn whose(caller: &Caller, mut query: Query) -> Result<UserId, ApiError> {
    let asked_for = query.text("user_id").map(UserId::from);
    query.finish()?;
    caller.acting_for(asked_for)
}

async fn find(app: &App, caller: &Caller, user_id: &UserId) -> Result<Json<Preferences>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let preferences = find_preferences(&mut conn, &caller.tenant_id, user_id)
        .await
        .map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, preferences.unwrap_or_default()))
}

async fn put(
    app: &App,
    caller: &Caller,
    user_id: &UserId,
    JsonBody(body): JsonBody,
) -> Result<Json<Preferences>, ApiError> {
    let preferences = Preferences::parse(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let now = app.clock.now();
    let before = lock_preferences(&mut tx, &caller.tenant_id, user_id, now)
        .await
        .map_err(ApiError::from_store)?;
    write(app, caller, &mut tx, user_id, (&before, &preferences)).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    app.bell
        .ring_all(JOBS_AVAILABLE, workers::WOKEN.map(str::to_owned).to_vec());
    Ok(Json(StatusCode::OK, preferences))
}

async fn post(
    app: &App,
    caller: &Caller,
    user_id: UserId,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let mut work = match once::begin(app, caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let now = app.clock.now();
    let before = lock_preferences(&mut work, &caller.tenant_id, &user_id, now)
        .await
        .map_err(ApiError::from_store)?;
    let preferences = before.merged(body.value).map_err(ApiError::invalid)?;
    write(app, caller, &mut work, &user_id, (&before, &preferences)).await?;
    let response = work
        .about(user_id)
        .answer(app, StatusCode::OK, &preferences)
        .await?;
    app.bell
        .ring_all(JOBS_AVAILABLE, workers::WOKEN.map(str::to_owned).to_vec());
    Ok(response)
}

/// Writes what a user wants, and who said so. What they said is theirs and not noted. What quiet
/// hours hold back is looked at again, for they may be over now.
async fn write(
    app: &App,
    caller: &Caller,
    connection: &mut Connection,
    user_id: &UserId,
    (before, preferences): (&Preferences, &Preferences),
) -> Result<(), ApiError> {
    let now = app.clock.now();
    upsert_preferences(connection, &caller.tenant_id, user_id, preferences, now)
        .await
        .map_err(ApiError::from_store)?;
    if before != preferences {
        wake_held(connection, &caller.tenant_id, user_id, now)
            .await
            .map_err(ApiError::from_store)?;
    }
    let subject = user_id.as_str();
    caller
        .sign(app, connection, "preferences.changed", subject, None)
        .await
}

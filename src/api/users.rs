//! `/v1/users`: people who can be notified, where they are reached, and how they are forgotten.

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Addresses, UserId, UserSubmission};
use queue::JOBS_AVAILABLE;
use serde::Serialize;
use serde_json::{Value, json};
use store::users::{User, UserFilter, find_user, list_users, upsert_user};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use workers::wake_held;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::openapi::people::{AddressesBody, UserBody};
use super::page::{NamedPageQuery, Page, PageParams};
use super::path::UserPath;
use super::query::Query;
use super::roles::Admin;
use crate::app::App;
use crate::erasure::Erasure;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, replace, erase))
}

/// A user as stored; the same fields are taken by PUT.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    #[schema(value_type = String)]
    user_id: UserId,
    #[schema(value_type = AddressesBody)]
    addresses: Addresses,
    locale: Option<String>,
    timezone: Option<String>,
    roles: Vec<String>,
    groups: Vec<String>,
    #[schema(value_type = Object)]
    data: Value,
}

impl UserView {
    pub(super) fn of(row: User) -> Self {
        Self {
            user_id: row.user_id,
            addresses: row.addresses,
            locale: row.locale,
            timezone: row.timezone,
            roles: row.roles,
            groups: row.groups,
            data: row.data,
        }
    }
}

/// List users by id.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/v1/users", tag = "Users", operation_id = "list_users",
    params(
        ("role" = Option<String>, Query, description = "Only those who have it."),
        ("group" = Option<String>, Query, description = "Only those who are in it."),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<UserView>)),
)]
async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    mut query: Query,
) -> Result<Json<Page<UserView>>, ApiError> {
    let page = NamedPageQuery::read(&mut query);
    let filter = UserFilter {
        from: None,
        role: query.text("role"),
        group: query.text("group"),
    };
    query.finish()?;
    let after = page.after.map(UserId::from);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let users = list_users(
        &mut conn,
        &caller.tenant_id,
        &filter,
        after.as_ref(),
        i64::from(page.limit) + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let page = Page::by_name(users, page.limit, |user| user.user_id.as_str());
    Ok(Json(StatusCode::OK, page.map(UserView::of)))
}

/// Show a user.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/v1/users/{user_id}", tag = "Users", operation_id = "show_user",
    params(("user_id" = String, Path, description = "The user's id.")),
    responses((status = 200, description = "The user.", body = UserView)),
)]
async fn show(
    State(app): State<App>,
    Admin(caller): Admin,
    UserPath(user_id): UserPath,
) -> Result<Json<UserView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let user = find_user(&mut conn, &caller.tenant_id, &user_id)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)?;
    Ok(Json(StatusCode::OK, UserView::of(user)))
}

/// Store a user: addresses, language, time zone, roles, groups.
///
/// Needs the role `admin`. Replaces all that was known; what is left out is empty.
#[utoipa::path(
    put, path = "/v1/users/{user_id}", tag = "Users", operation_id = "replace_user",
    params(("user_id" = String, Path, description = "The user's id: any characters, encoded.")),
    request_body = UserBody,
    responses((status = 200, description = "As stored.", body = UserView)),
)]
async fn replace(
    State(app): State<App>,
    Admin(caller): Admin,
    UserPath(user_id): UserPath,
    JsonBody(body): JsonBody,
) -> Result<Json<UserView>, ApiError> {
    let said = UserSubmission::parse(body, user_id.as_str()).map_err(ApiError::invalid)?;
    let user = User {
        tenant_id: caller.tenant_id.clone(),
        user_id,
        addresses: said.addresses,
        locale: said.locale,
        timezone: said.timezone,
        roles: said.roles,
        groups: said.groups,
        data: said.data,
    };
    let now = app.clock.now();
    // Roles and groups decide who hears of what; addresses are nobody's business.
    let detail = json!({"roles": user.roles, "groups": user.groups});
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let before = find_user(&mut tx, &user.tenant_id, &user.user_id)
        .await
        .map_err(ApiError::from_store)?;
    upsert_user(&mut tx, &user, now)
        .await
        .map_err(ApiError::from_store)?;
    // Quiet hours may end at another time there.
    if before.is_some_and(|before| before.timezone != user.timezone) {
        wake_held(&mut tx, &user.tenant_id, &user.user_id, now)
            .await
            .map_err(ApiError::from_store)?;
    }
    let subject = user.user_id.as_str();
    caller
        .sign(&app, &mut tx, "user.replaced", subject, Some(detail))
        .await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    app.bell
        .ring_all(JOBS_AVAILABLE, workers::WOKEN.map(str::to_owned).to_vec());
    Ok(Json(StatusCode::OK, UserView::of(user)))
}

/// Erase a user.
///
/// Needs the role `admin`. Addresses, preferences, memberships, the feed, and the content of all
/// that they were told are gone; ids, statuses, channels and times stay, for statistics. What waits
/// to be sent is cancelled. Goes on when the client has gone.
#[utoipa::path(
    delete, path = "/v1/users/{user_id}", tag = "Users", operation_id = "erase_user",
    params(("user_id" = String, Path, description = "The user's id.")),
    responses((status = 204, description = "Nothing is known of them any more.")),
)]
async fn erase(
    State(app): State<App>,
    Admin(caller): Admin,
    UserPath(user_id): UserPath,
) -> Result<StatusCode, ApiError> {
    forget(&app, caller, user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Erases a user.
pub(crate) async fn forget(app: &App, caller: Caller, user_id: UserId) -> Result<(), ApiError> {
    let audit = caller.note(app.clock.now(), "user.erased", user_id.as_str(), None);
    let erasure = Erasure {
        tenant_id: caller.tenant_id,
        user_id,
        audit,
    };
    let store = app.store.clone();
    // A long history takes longer than some clients wait, and a repeat would begin anew.
    let running = app
        .lifetime
        .requests
        .spawn(async move { erasure.run(&store).await });
    let was_known = match running.await {
        Ok(ended) => ended.map_err(ApiError::from_store)?,
        Err(_aborted) => return Err(ApiError::unavailable()),
    };
    if was_known { Ok(()) } else { Err(unknown()) }
}

pub(crate) fn unknown() -> ApiError {
    ApiError::not_found("there is no such user")
}

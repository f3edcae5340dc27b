//! `/v1/limits`: how many messages may go out, changed while the system runs.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{Limit, LimitBook, LimitSubmission};
use serde::Serialize;
use serde_json::json;
use store::limits::{LIMITS_MAX, delete_limit, list_limits, lock_limits, upsert_limit};
use store::{Connection, Tx};
use tracing::{info, warn};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::limits::LimitBody;
use super::openapi::words::{ChannelWord, LimitSourceWord, ScopeWord, UnavailableWord};
use super::page::{NamedPageQuery, Page, PageParams};
use super::path::LimitPath;
use super::query::Query;
use super::roles::{Admin, Looker};
use super::view::Moment;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, remove))
}

/// A rate limit as it holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
struct LimitView {
    /// Null for a default, which is named by its name.
    #[schema(required)]
    id: Option<String>,
    name: String,
    /// `default` ships with the binary; `tenant` is yours, in the place of a default or beside them.
    #[schema(value_type = LimitSourceWord)]
    source: &'static str,
    #[schema(value_type = ScopeWord)]
    scope: &'static str,
    #[schema(required, value_type = Option<ChannelWord>)]
    channel: Option<&'static str>,
    #[schema(required)]
    category: Option<String>,
    #[schema(required)]
    event_type: Option<String>,
    #[schema(required)]
    provider: Option<String>,
    max: u32,
    #[schema(example = "1h")]
    window: String,
    /// Null goes by the channel: sms and voice `defer`, the others `allow`.
    #[schema(required, value_type = Option<UnavailableWord>)]
    when_unavailable: Option<&'static str>,
    enabled: bool,
    /// Null for a default.
    #[schema(required)]
    created_at: Option<Moment>,
    /// Null for a default.
    #[schema(required)]
    updated_at: Option<Moment>,
}

impl LimitView {
    fn of(limit: Limit) -> Self {
        let is_stored = !limit.is_default();
        Self {
            id: is_stored.then(|| limit.id.to_string()),
            source: if is_stored { "tenant" } else { "default" },
            scope: limit.scope.as_str(),
            channel: limit.of.channel.map(domain::Channel::as_str),
            window: limit.window_text(),
            name: limit.name,
            category: limit.of.category,
            event_type: limit.of.event_type,
            provider: limit.of.provider,
            max: limit.max,
            when_unavailable: limit.when_unavailable.map(domain::WhenUnavailable::as_str),
            enabled: limit.enabled,
            created_at: is_stored.then(|| Moment::at(limit.created_at)),
            updated_at: is_stored.then(|| Moment::at(limit.updated_at)),
        }
    }
}

/// List rate limits by name, the defaults among them.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/limits", tag = "Limits", operation_id = "list_limits",
    params(PageParams),
    responses((status = 200, description = "A page.", body = Page<LimitView>)),
)]
async fn list(
    State(app): State<App>,
    Looker(caller): Looker,
    mut query: Query,
) -> Result<Json<Page<LimitView>>, ApiError> {
    let page = NamedPageQuery::read(&mut query);
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let mut limits = all(&mut conn, &caller).await?;
    limits.retain(|limit| page.after.as_ref().is_none_or(|after| limit.name > *after));
    let page = Page::by_name(limits, page.limit, |limit| &limit.name);
    Ok(Json(StatusCode::OK, page.map(LimitView::of)))
}

/// Make a rate limit.
///
/// Needs the role `admin`. One of the name of a default stands in its place. It holds on every node
/// from its next claim of jobs on.
#[utoipa::path(
    post, path = "/v1/limits", tag = "Limits", operation_id = "create_limit",
    request_body = LimitBody,
    responses((status = 201, description = "The limit.", body = LimitView)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let said = LimitSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let stored = lock(&mut work, &caller).await?;
    if stored.iter().any(|limit| limit.name == said.name) {
        return Err(name_taken());
    }
    let limit = added(&app, &stored, said)?;
    write(&app, &caller, &mut work, "limit.created", &limit).await?;
    let before = LimitBook::default_of(&limit.name);
    let answer = work
        .answer(&app, StatusCode::CREATED, &LimitView::of(limit.clone()))
        .await?;
    if let Some(before) = before {
        have_asked_again(&app, &caller, &before, Some(&limit));
    }
    Ok(answer)
}

/// Show a rate limit.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/limits/{id}", tag = "Limits", operation_id = "show_limit",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 200, description = "The limit.", body = LimitView)),
)]
async fn show(
    State(app): State<App>,
    Looker(caller): Looker,
    LimitPath(named): LimitPath,
) -> Result<Json<LimitView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let limits = all(&mut conn, &caller).await?;
    let limit = find(limits, &named).ok_or_else(unknown)?;
    Ok(Json(StatusCode::OK, LimitView::of(limit)))
}

/// Change a rate limit.
///
/// Needs the role `admin`. A default is replaced by yours, which keeps its name. It holds on every
/// node from its next claim of jobs on; what waits already asks again at once where more is let
/// through.
#[utoipa::path(
    put, path = "/v1/limits/{id}", tag = "Limits", operation_id = "replace_limit",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = LimitBody,
    responses(
        (status = 200, description = "As stored.", body = LimitView),
        (status = 409, description = "Another limit has this name."),
    ),
)]
async fn replace(
    State(app): State<App>,
    Admin(caller): Admin,
    LimitPath(named): LimitPath,
    JsonBody(body): JsonBody,
) -> Result<Json<LimitView>, ApiError> {
    let said = LimitSubmission::parse(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = lock(&mut tx, &caller).await?;
    let known = LimitBook::with_defaults(stored.clone());
    let before = find(known, &named).ok_or_else(unknown)?;
    if before.is_default() && said.name != before.name {
        return Err(ApiError::invalid_field("/name", "a default keeps its name"));
    }
    let is_taken = |limit: &Limit| limit.name == said.name && limit.id != before.id;
    if stored.iter().any(is_taken) {
        return Err(name_taken());
    }
    let limit = if before.is_default() {
        added(&app, &stored, said)?
    } else {
        said.into_limit(before.id, before.created_at, app.clock.now())
    };
    write(&app, &caller, &mut tx, "limit.replaced", &limit).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    have_asked_again(&app, &caller, &before, Some(&limit));
    Ok(Json(StatusCode::OK, LimitView::of(limit)))
}

/// Remove a rate limit. The default of its name, if there is one, holds again.
///
/// Needs the role `admin`.
#[utoipa::path(
    delete, path = "/v1/limits/{id}", tag = "Limits", operation_id = "remove_limit",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "It is a default, which can only be switched off."),
    ),
)]
async fn remove(
    State(app): State<App>,
    Admin(caller): Admin,
    LimitPath(named): LimitPath,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = lock(&mut tx, &caller).await?;
    let limit = find(LimitBook::with_defaults(stored), &named).ok_or_else(unknown)?;
    if limit.is_default() {
        return Err(ApiError::conflict(
            "a default cannot be removed; put one of its name with `enabled` false",
        ));
    }
    delete_limit(&mut tx, limit.id)
        .await
        .map_err(ApiError::from_store)?;
    note(&app, &caller, &mut tx, "limit.removed", &limit).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    let after = LimitBook::default_of(&limit.name);
    have_asked_again(&app, &caller, &limit, after.as_ref());
    Ok(StatusCode::NO_CONTENT)
}

/// Has what waits for a limit ask again, where its change may let something through. Nobody waits
/// for that, and what is missed when the process stops asks again by itself.
fn have_asked_again(app: &App, caller: &Caller, before: &Limit, after: Option<&Limit>) {
    if !before.is_loosened_by(after) {
        return;
    }
    let (store, bell, clock) = (app.store.clone(), app.bell.clone(), app.clock.clone());
    let tenant_id = caller.tenant_id.clone();
    let channels = before.channels();
    let asking = async move {
        match workers::reconsider(&store, &bell, &clock, &tenant_id, &channels).await {
            Ok(sends) => info!(sends, "a limit lets more through, what waits asks again"),
            Err(error) => warn!(
                error = queue::describe(&error),
                "not all that waits for a limit was told that it has changed"
            ),
        }
    };
    drop(app.lifetime.requests.spawn(asking));
}

async fn all(connection: &mut Connection, caller: &Caller) -> Result<Vec<Limit>, ApiError> {
    let stored = list_limits(connection, &caller.tenant_id)
        .await
        .map_err(ApiError::from_store)?;
    Ok(LimitBook::with_defaults(stored))
}

/// The stored limits; whoever else would change them waits.
async fn lock(tx: &mut Tx, caller: &Caller) -> Result<Vec<Limit>, ApiError> {
    lock_limits(tx, &caller.tenant_id)
        .await
        .map_err(ApiError::from_store)
}

/// By name, or by the id of a stored one. No name looks like an id.
fn find(limits: Vec<Limit>, named: &str) -> Option<Limit> {
    let id = Uuid::parse_str(named).ok();
    let mut limits = limits.into_iter();
    limits.find(|limit| match id {
        Some(id) => !limit.is_default() && limit.id == id,
        None => limit.name == named,
    })
}

fn added(app: &App, stored: &[Limit], said: LimitSubmission) -> Result<Limit, ApiError> {
    if stored.len() >= LIMITS_MAX {
        let detail = format!("a tenant has at most {LIMITS_MAX} limits of its own");
        return Err(ApiError::conflict(detail));
    }
    let now = app.clock.now();
    Ok(said.into_limit(queue::uuid_at(now), now, now))
}

async fn write(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    action: &str,
    limit: &Limit,
) -> Result<(), ApiError> {
    upsert_limit(tx, &caller.tenant_id, limit)
        .await
        .map_err(ApiError::from_store)?;
    note(app, caller, tx, action, limit).await
}

async fn note(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    action: &str,
    limit: &Limit,
) -> Result<(), ApiError> {
    let detail = json!({
        "name": limit.name, "max": limit.max, "window": limit.window_text(),
        "enabled": limit.enabled,
    });
    let subject = limit.id.to_string();
    caller.sign(app, tx, action, &subject, Some(detail)).await
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such limit")
}

fn name_taken() -> ApiError {
    ApiError::conflict("another limit has this name")
}

//! `/v1/templates`: what is said to people, written while Postrider runs.
//!
//! Those that ship with Postrider are listed, too. One that is stored under the same name stands
//! before a shipped one for its tenant, until it is removed.

pub(super) mod named;
mod preview;
pub(crate) mod save;
pub(crate) mod view;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::Value;
use store::Connection;
use store::templates::{TemplateFilter, TemplateRef, list_taken, list_templates, list_versions};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::save::{Sound, find, see, unknown};
use self::view::{OutlineView, TemplateView, VersionView};
use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::templates::TemplateBody;
use super::page::{NamedPageQuery, Page, PageParams, limit};
use super::path::TemplatePath;
use super::query::Query;
use super::roles::{Admin, Looker};
use crate::app::App;

/// The routes of this folder.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, remove))
        .routes(routes!(versions))
        .merge(preview::routes())
}

/// List templates by name, without their texts.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/templates", tag = "Templates", operation_id = "list_templates",
    params(
        ("tag" = Option<String>, Query, description = "Those with this tag."),
        ("category" = Option<String>, Query),
        ("enabled" = Option<bool>, Query),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<OutlineView>)),
)]
async fn list(
    State(app): State<App>,
    Looker(caller): Looker,
    mut query: Query,
) -> Result<Json<Page<OutlineView>>, ApiError> {
    let page = NamedPageQuery::read(&mut query);
    let filter = TemplateFilter {
        tag: query.text("tag"),
        category: query.text("category"),
        enabled: query.parsed("enabled", "must be true or false", |text| text.parse().ok()),
    };
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let after = page.after.as_deref();
    let limit = i64::from(page.limit) + 1;
    let shown = outlines(&app, &caller, &mut conn, &filter, after, limit).await?;
    let keys: Vec<_> = shown.iter().map(OutlineView::key).collect();
    let rows = keys.into_iter().zip(shown).collect();
    let page = Page::by_name(rows, page.limit, |(key, _): &(String, OutlineView)| key);
    Ok(Json(StatusCode::OK, page.map(|(_, view)| view)))
}

/// Up to `limit` templates in the order of their keys, from after the key `after`: a tenant's own,
/// and those that ship with Postrider.
pub(crate) async fn outlines(
    app: &App,
    caller: &Caller,
    conn: &mut Connection,
    filter: &TemplateFilter,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<OutlineView>, ApiError> {
    let stored = list_templates(conn, &caller.tenant_id, filter, after, limit)
        .await
        .map_err(ApiError::from_store)?;
    let mut shown: Vec<_> = stored.into_iter().map(OutlineView::of).collect();
    shown.extend(builtins(app, caller, conn, filter, after).await?);
    shown.sort_by_cached_key(OutlineView::key);
    shown.truncate(limit as usize);
    Ok(shown)
}

/// The templates that ship with Postrider, where the tenant has none of their name.
async fn builtins(
    app: &App,
    caller: &Caller,
    conn: &mut Connection,
    filter: &TemplateFilter,
    after: Option<&str>,
) -> Result<Vec<OutlineView>, ApiError> {
    let shelf = app.catalog.latest();
    let is_wanted = |view: &OutlineView, key: &str| {
        after.is_none_or(|after| key > after) && view.answers_to(filter)
    };
    let mut views: Vec<_> = shelf
        .templates()
        .iter()
        .map(|template| OutlineView::of_builtin(template))
        .map(|view| (view.key(), view))
        .filter(|(key, view)| is_wanted(view, key))
        .collect();
    let keys: Vec<_> = views.iter().map(|(key, _)| key.clone()).collect();
    let taken = list_taken(conn, &caller.tenant_id, &keys)
        .await
        .map_err(ApiError::from_store)?;
    views.retain(|(key, _)| !taken.contains(key));
    Ok(views.into_iter().map(|(_, view)| view).collect())
}

/// Make a template.
///
/// Needs the role `admin`. It must render every one of its samples in each of its languages. One
/// with the name of a template that ships with Postrider stands before that one.
#[utoipa::path(
    post, path = "/v1/templates", tag = "Templates", operation_id = "create_template",
    request_body = TemplateBody,
    responses((status = 201, description = "The template.", body = TemplateView)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let sound = Sound::read(&app, body.value).await?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let stored = save::create(&app, &caller, &mut work, &sound).await?;
    let answer = work
        .answer(&app, StatusCode::CREATED, &TemplateView::of(stored))
        .await?;
    see(&app).await;
    Ok(answer)
}

/// Show a template.
///
/// Needs the role `read`. A name is found in any case, with `_` for `.`.
#[utoipa::path(
    get, path = "/v1/templates/{id}", tag = "Templates", operation_id = "show_template",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 200, description = "The template.", body = TemplateView)),
)]
async fn show(
    State(app): State<App>,
    Looker(caller): Looker,
    TemplatePath(template): TemplatePath,
) -> Result<Json<TemplateView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    if let Some(stored) = find(&mut conn, &caller, &template).await? {
        return Ok(Json(StatusCode::OK, TemplateView::of(stored)));
    }
    let shelf = app.catalog.latest();
    let builtin = match &template {
        TemplateRef::Name(name) => shelf.templates().get(name),
        TemplateRef::Id(_) => None,
    };
    let builtin = builtin.ok_or_else(unknown)?;
    let view = TemplateView::of_builtin(builtin.body());
    Ok(Json(StatusCode::OK, view))
}

/// Give a template a new version.
///
/// Needs the role `admin`. What was planned before is still told in the version of then. A
/// template keeps its name.
#[utoipa::path(
    put, path = "/v1/templates/{id}", tag = "Templates", operation_id = "replace_template",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = TemplateBody,
    responses((status = 200, description = "As stored.", body = TemplateView)),
)]
async fn replace(
    State(app): State<App>,
    Admin(caller): Admin,
    TemplatePath(template): TemplatePath,
    JsonBody(mut body): JsonBody,
) -> Result<Json<TemplateView>, ApiError> {
    if let Value::Object(fields) = &mut body
        && !fields.contains_key("name")
    {
        let name = name_of(&app, &caller, &template).await?;
        fields.insert("name".to_owned(), name.into());
    }
    let sound = Sound::read(&app, body).await?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = save::replace(&app, &caller, &mut tx, &template, &sound).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    see(&app).await;
    Ok(Json(StatusCode::OK, TemplateView::of(stored)))
}

/// The name that a template has.
async fn name_of(app: &App, caller: &Caller, template: &TemplateRef) -> Result<String, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    if let Some(stored) = find(&mut conn, caller, template).await? {
        return Ok(stored.head.name);
    }
    let shelf = app.catalog.latest();
    match template {
        TemplateRef::Name(name) => shelf.templates().find(name).map(str::to_owned),
        TemplateRef::Id(_) => None,
    }
    .ok_or_else(unknown)
}

/// Remove a template.
///
/// Needs the role `admin`. What was planned with it is still told. If one of its name ships with
/// Postrider, that is found again.
#[utoipa::path(
    delete, path = "/v1/templates/{id}", tag = "Templates", operation_id = "remove_template",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "It ships with Postrider."),
    ),
)]
async fn remove(
    State(app): State<App>,
    Admin(caller): Admin,
    TemplatePath(template): TemplatePath,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    save::remove(&app, &caller, &mut tx, &template).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    see(&app).await;
    Ok(StatusCode::NO_CONTENT)
}

/// List the versions of a template, newest first.
///
/// Needs the role `read`. Versions that nothing can need any more are removed in time.
#[utoipa::path(
    get, path = "/v1/templates/{id}/versions", tag = "Templates",
    operation_id = "list_template_versions",
    params(("id" = String, Path, description = "Its id or its name."), PageParams),
    responses((status = 200, description = "A page.", body = Page<VersionView>)),
)]
async fn versions(
    State(app): State<App>,
    Looker(caller): Looker,
    TemplatePath(template): TemplatePath,
    mut query: Query,
) -> Result<Json<Page<VersionView>>, ApiError> {
    let limit = limit(&mut query);
    let before = query.parsed(
        "cursor",
        "must be a next_cursor from an earlier page",
        |text| {
            text.parse::<u32>()
                .ok()
                .filter(|it| i32::try_from(*it).is_ok())
        },
    );
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let stored = find(&mut conn, &caller, &template).await?;
    let stored = stored.ok_or_else(unknown)?;
    let id = stored.head.template_id;
    let rows = list_versions(&mut conn, id, before, i64::from(limit) + 1)
        .await
        .map_err(ApiError::from_store)?;
    let views: Vec<_> = rows.into_iter().map(VersionView::of).collect();
    let page = Page::by_number(views, limit, VersionView::number);
    Ok(Json(StatusCode::OK, page))
}

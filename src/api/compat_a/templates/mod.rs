//! `/api/v1/admin/templates`: templates as system A shows and takes them.
//!
//! A template of A has one channel. Here one may have several: A's `type` is the first of them, and
//! a change under A's names leaves the others, the translations and the rest as they are.

mod translate;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{Channel, FieldError};
use serde::Serialize;
use serde_json::Value;
use store::Connection;
use store::templates::{TemplateFilter, TemplateRef};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::translate::{names_in, of_a, section_of, to_a};
use super::TAG;
use super::offset::{OffsetParams, OffsetQuery};
use crate::api::auth::Caller;
use crate::api::body::{Json, JsonBody};
use crate::api::error::ApiError;
use crate::api::once::{self, Begun, PostBody};
use crate::api::openapi::rules::anything;
use crate::api::openapi::words::{ChannelAsked, ChannelWord};
use crate::api::path::TemplatePath;
use crate::api::query::Query;
use crate::api::roles::Admin;
use crate::api::templates::outlines;
use crate::api::templates::save::{self, Sound, find, see, unknown};
use crate::api::templates::view::OutlineView;
use crate::api::view::Moment;
use crate::app::App;

/// Templates read at once.
const READ_AT_ONCE: i64 = 1000;

/// The routes of this folder.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
}

/// A template as system A is told of it.
#[derive(ToSchema)]
#[schema(
    as = TemplateOfABody,
    example = json!({
        "name": "welcome", "type": "email", "subject": "Welcome, {{ name }}",
        "content": "Hello {{ name }}.", "variables": ["name"], "is_active": true,
    }),
)]
#[allow(dead_code, reason = "only described; `translate` reads the real one")]
struct TemplateOfABody {
    /// Must be the one it has, where it is changed.
    #[schema(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// The channel.
    r#type: Option<ChannelAsked>,
    #[schema(nullable)]
    subject: Option<String>,
    /// What is said. HTML, if it is a mail's and begins with `<`.
    content: Option<String>,
    /// The names of what it uses, or a JSON Schema of it.
    #[schema(schema_with = anything)]
    variables: Option<Value>,
    #[schema(nullable, default = true)]
    is_active: Option<bool>,
    #[schema(nullable)]
    description: Option<String>,
    #[schema(nullable)]
    category: Option<String>,
}

/// A template as system A shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateOfA)]
struct TemplateOfA {
    id: String,
    name: String,
    #[schema(required)]
    description: Option<String>,
    #[schema(required)]
    category: Option<String>,
    /// The first of `types`.
    #[schema(required, value_type = Option<ChannelWord>)]
    r#type: Option<Channel>,
    /// The channels it has a text for.
    #[schema(value_type = Vec<ChannelWord>)]
    types: Vec<Channel>,
    /// Not in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Not in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// Not in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<Vec<String>>,
    is_active: bool,
    version: u32,
    #[schema(required)]
    created_at: Option<Moment>,
    #[schema(required)]
    updated_at: Option<Moment>,
}

impl TemplateOfA {
    fn of(outline: OutlineView) -> Self {
        Self {
            id: outline.id,
            name: outline.name,
            description: outline.description,
            category: outline.category,
            r#type: outline.channels.first().copied(),
            types: outline.channels,
            subject: None,
            content: None,
            variables: None,
            is_active: outline.enabled,
            version: outline.version,
            created_at: outline.created_at,
            updated_at: outline.updated_at,
        }
    }

    fn whole(outline: OutlineView, body: &Value) -> Self {
        let shown = Self::of(outline);
        let (subject, content) = shown
            .r#type
            .map_or((None, None), |channel| section_of(body, channel));
        Self {
            subject,
            content,
            variables: Some(names_in(&body["variables"])),
            ..shown
        }
    }
}

/// List the templates, by name.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/api/v1/admin/templates", tag = TAG, operation_id = "list_templates_of_a",
    params(OffsetParams),
    responses((status = 200, description = "A page.", body = Vec<TemplateOfA>)),
)]
async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    mut query: Query,
) -> Result<Json<Vec<TemplateOfA>>, ApiError> {
    let page = OffsetQuery::read(&mut query);
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let all = TemplateFilter::default();
    let mut found = Vec::new();
    // As many as may be skipped, and no more than a tenant may have.
    while found.len() < page.offset + page.limit {
        let after = found.last().map(OutlineView::key);
        let after = after.as_deref();
        let next = outlines(&app, &caller, &mut conn, &all, after, READ_AT_ONCE).await?;
        let is_last = next.len() < READ_AT_ONCE as usize;
        found.extend(next);
        if is_last {
            break;
        }
    }
    let shown = page.of(found.into_iter()).into_iter();
    Ok(Json(StatusCode::OK, shown.map(TemplateOfA::of).collect()))
}

/// Make a template.
///
/// Needs the role `admin`. Every field of `POST /v1/templates` is taken as well.
#[utoipa::path(
    post, path = "/api/v1/admin/templates", tag = TAG, operation_id = "create_template_of_a",
    request_body = TemplateOfABody,
    responses((status = 201, description = "The template.", body = TemplateOfA)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let (said, channel) = of_a(body.value, None).map_err(ApiError::invalid)?;
    let sound = read(&app, said, channel).await?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let stored = save::create(&app, &caller, &mut work, &sound).await?;
    let shown = TemplateOfA::whole(OutlineView::of(stored.head), &stored.body);
    let answer = work.answer(&app, StatusCode::CREATED, &shown).await?;
    see(&app).await;
    Ok(answer)
}

/// Show a template.
///
/// Needs the role `admin`. Found by its id or, as events find it, by its name: in any case, `_`
/// equal to `.`.
#[utoipa::path(
    get, path = "/api/v1/admin/templates/{id}", tag = TAG, operation_id = "show_template_of_a",
    params(("id" = String, Path, description = "The template's id or its name.")),
    responses((status = 200, description = "The template.", body = TemplateOfA)),
)]
async fn show(
    State(app): State<App>,
    Admin(caller): Admin,
    TemplatePath(template): TemplatePath,
) -> Result<Json<TemplateOfA>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let (outline, body) = present(&app, &caller, &mut conn, &template).await?;
    Ok(Json(StatusCode::OK, TemplateOfA::whole(outline, &body)))
}

/// Change a template.
///
/// Needs the role `admin`. What is not given stays as it is.
#[utoipa::path(
    put, path = "/api/v1/admin/templates/{id}", tag = TAG, operation_id = "change_template_of_a",
    params(("id" = String, Path, description = "The template's id or its name.")),
    request_body = TemplateOfABody,
    responses((status = 200, description = "As stored.", body = TemplateOfA)),
)]
async fn change(
    State(app): State<App>,
    Admin(caller): Admin,
    TemplatePath(template): TemplatePath,
    JsonBody(body): JsonBody,
) -> Result<Json<TemplateOfA>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let (_, before) = present(&app, &caller, &mut conn, &template).await?;
    drop(conn);
    let (body, channel) = of_a(body, Some(before)).map_err(ApiError::invalid)?;
    let sound = read(&app, body, channel).await?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = save::replace(&app, &caller, &mut tx, &template, &sound).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    see(&app).await;
    let shown = TemplateOfA::whole(OutlineView::of(stored.head), &stored.body);
    Ok(Json(StatusCode::OK, shown))
}

/// Remove a template.
///
/// Needs the role `admin`. If one of its name ships with Postrider, that is found again.
#[utoipa::path(
    delete, path = "/api/v1/admin/templates/{id}", tag = TAG,
    operation_id = "remove_template_of_a",
    params(("id" = String, Path, description = "The template's id or its name.")),
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

/// Reads a translated body, and names what is wrong with it under A's names.
async fn read(app: &App, body: Value, channel: Option<Channel>) -> Result<Sound, ApiError> {
    let under_a = |error: FieldError| to_a(error, channel);
    Sound::read_as(app, body, under_a).await
}

/// The template that is there now, stored or shipped.
async fn present(
    app: &App,
    caller: &Caller,
    conn: &mut Connection,
    template: &TemplateRef,
) -> Result<(OutlineView, Value), ApiError> {
    if let Some(stored) = find(conn, caller, template).await? {
        return Ok((OutlineView::of(stored.head), stored.body));
    }
    let shelf = app.catalog.latest();
    let builtin = match template {
        TemplateRef::Name(name) => shelf.templates().get(name),
        TemplateRef::Id(_) => None,
    };
    let builtin = builtin.ok_or_else(unknown)?;
    Ok((OutlineView::of_builtin(builtin), builtin.body().to_value()))
}

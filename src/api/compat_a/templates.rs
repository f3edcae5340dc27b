//! `GET /api/v1/admin/templates` and one of them: the templates that ship with this process.

use axum::extract::State;
use axum::http::StatusCode;
use domain::Channel;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use super::offset::{OffsetParams, OffsetQuery};
use crate::api::body::Json;
use crate::api::error::ApiError;
use crate::api::openapi::words::ChannelWord;
use crate::api::path::name;
use crate::api::query::Query;
use crate::api::roles::Admin;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
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
    /// The channels it has a text for.
    #[schema(value_type = Vec<ChannelWord>)]
    types: Vec<Channel>,
    is_active: bool,
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
    Admin(_): Admin,
    mut query: Query,
) -> Result<Json<Vec<TemplateOfA>>, ApiError> {
    let page = OffsetQuery::read(&mut query);
    query.finish()?;
    let shelf = app.catalog.latest();
    let names = page.of(shelf.templates().names());
    let shown = names.into_iter().filter_map(|name| view(&app, name));
    Ok(Json(StatusCode::OK, shown.collect()))
}

/// Show a template.
///
/// Needs the role `admin`. Found as events find it: in any case, `_` equal to `.`.
#[utoipa::path(
    get, path = "/api/v1/admin/templates/{id}", tag = TAG, operation_id = "show_template_of_a",
    params(("id" = String, Path, description = "The template's name.")),
    responses((status = 200, description = "The template.", body = TemplateOfA)),
)]
async fn show(
    State(app): State<App>,
    Admin(_): Admin,
    TemplatePath(id): TemplatePath,
) -> Result<Json<TemplateOfA>, ApiError> {
    let found = view(&app, &id);
    let shown = found.ok_or_else(|| ApiError::not_found("there is no such template"))?;
    Ok(Json(StatusCode::OK, shown))
}

/// The name that `{id}` is.
struct TemplatePath(String);

impl axum::extract::FromRequestParts<App> for TemplatePath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &App,
    ) -> Result<Self, ApiError> {
        name(parts, app, "id").await.map(Self)
    }
}

fn view(app: &App, name: &str) -> Option<TemplateOfA> {
    let shelf = app.catalog.latest();
    let template = shelf.templates().outline(name)?;
    Some(TemplateOfA {
        id: template.name.to_owned(),
        name: template.name.to_owned(),
        description: template.description.map(str::to_owned),
        category: template.category.map(str::to_owned),
        types: template.channels,
        is_active: true,
    })
}

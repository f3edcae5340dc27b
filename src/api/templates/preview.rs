//! `POST /v1/templates/{id}/preview`: a message as it would be sent, and nothing sent.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::PreviewSubmission;
use render::Template;
use serde::Serialize;
use serde_json::Value;
use store::Connection;
use store::templates::{TemplateRef, VersionRef};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::save::{find, unknown};
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::api::once::{self, Begun, PostBody};
use crate::api::openapi::templates::PreviewBody;
use crate::api::openapi::words::optional_any_object;
use crate::api::path::TemplatePath;
use crate::api::roles::Looker;
use crate::app::App;
use crate::templates::{Trial, try_out};

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(preview))
}

/// A message as it would be sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplatePreview)]
struct PreviewView {
    /// Null where the channel has none.
    #[schema(required)]
    subject: Option<String>,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_html: Option<String>,
    /// What the channel carries beside the words.
    #[schema(schema_with = optional_any_object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// The language it is in: the nearest to the one asked for.
    locale: String,
    /// Of the template; 0 ships with Postrider.
    version: u32,
}

/// Show a message as a template would make it.
///
/// Needs the role `read`. Nothing is sent. Without `data` it is the template's first sample. A
/// disabled template can be looked at, too.
#[utoipa::path(
    post, path = "/v1/templates/{id}/preview", tag = "Templates",
    operation_id = "preview_template",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = PreviewBody,
    responses((status = 200, description = "The message.", body = PreviewView)),
)]
async fn preview(
    State(app): State<App>,
    Looker(caller): Looker,
    TemplatePath(template): TemplatePath,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let wanted = PreviewSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let (template, version) = compiled(&app, &caller, &mut work, &template).await?;
    let brand = app.config.brand();
    let trial = Trial {
        channel: wanted.channel,
        locale: wanted.locale.as_deref(),
        data: wanted.data.as_ref(),
        brand: &brand,
        now: app.clock.now(),
    };
    let rendered = try_out(&template, &trial).map_err(ApiError::invalid)?;
    let message = rendered.message;
    let view = PreviewView {
        subject: message.subject,
        body: message.body,
        body_html: message.body_html,
        data: message.data,
        locale: rendered.locale,
        version,
    };
    work.answer(&app, StatusCode::OK, &view).await
}

/// The current version of a template.
async fn compiled(
    app: &App,
    caller: &Caller,
    conn: &mut Connection,
    template: &TemplateRef,
) -> Result<(Arc<Template>, u32), ApiError> {
    if let Some(stored) = find(conn, caller, template).await? {
        let version = VersionRef {
            tenant_id: caller.tenant_id.clone(),
            key: domain::template_key(&stored.head.name),
            version: stored.head.version,
        };
        let pinned = app.catalog.pinned(conn, std::slice::from_ref(&version));
        let pinned = pinned.await.map_err(ApiError::from_store)?;
        let text = pinned.get(&version);
        let text = text.map_err(|error| ApiError::invalid_field("", error.to_string()))?;
        return Ok((text, version.version));
    }
    let shelf = app.catalog.latest();
    let builtin = match template {
        TemplateRef::Name(name) => shelf.templates().get(name),
        TemplateRef::Id(_) => None,
    };
    Ok((Arc::clone(builtin.ok_or_else(unknown)?), 0))
}

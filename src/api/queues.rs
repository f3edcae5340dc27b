//! `/v1/admin/queues`: what waits where, and the switch of each queue.
//!
//! Queues are shared by all tenants, so only the tenant that runs the installation, `default`, may
//! look at them and stop them.

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use queue::JOBS_AVAILABLE;
use queue::inspect::QueueDepth;
use store::Connection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admin_view::{QueueView, SwitchView};
use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::once::{self, Begun, OnceHeader, OnceKey};
use super::page::Page;
use super::roles::Operator;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// List the queues: what waits, what runs, how old the oldest is, and whether it is paused.
///
/// Needs the role `admin` of the tenant `default`.
#[utoipa::path(
    get, path = "/v1/admin/queues", tag = "Operate", operation_id = "list_queues",
    responses((status = 200, description = "All of them.", body = Page<QueueView>)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Operator(_): Operator,
) -> Result<Json<Page<QueueView>>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let depths = queue::inspect::depths(&mut conn, app.clock.fixed())
        .await
        .map_err(|source| ApiError::from_queue("look at the queues", source))?;
    let depths = QueueDepth::of_all(workers::queues::all(), depths);
    let page = Page {
        items: depths.into_iter().map(QueueView::of).collect(),
        next_cursor: None,
    };
    Ok(Json(StatusCode::OK, page))
}

/// Stop claiming from a queue, on every node. What runs goes on.
///
/// Needs the role `admin` of the tenant `default`. Pausing it again changes nothing.
#[utoipa::path(
    post, path = "/v1/admin/queues/{name}/pause", tag = "Operate", operation_id = "pause_queue",
    params(("name" = String, Path, description = "The queue.")),
    responses((status = 200, description = "It is paused.", body = SwitchView)),
)]
pub(super) async fn pause(
    State(app): State<App>,
    Operator(caller): Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
    OnceHeader(once): OnceHeader,
) -> Result<Response<Body>, ApiError> {
    switch(&app, &caller, params, once, true).await
}

/// Claim from a queue again.
///
/// Needs the role `admin` of the tenant `default`. Resuming it again changes nothing.
#[utoipa::path(
    post, path = "/v1/admin/queues/{name}/resume", tag = "Operate", operation_id = "resume_queue",
    params(("name" = String, Path, description = "The queue.")),
    responses((status = 200, description = "It runs.", body = SwitchView)),
)]
pub(super) async fn resume(
    State(app): State<App>,
    Operator(caller): Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
    OnceHeader(once): OnceHeader,
) -> Result<Response<Body>, ApiError> {
    switch(&app, &caller, params, once, false).await
}

async fn switch(
    app: &App,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
    once: Option<OnceKey>,
    is_paused: bool,
) -> Result<Response<Body>, ApiError> {
    let name = queue_name(params).ok_or_else(|| ApiError::not_found("there is no such queue"))?;
    let mut work = match once::begin(app, caller, once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    turn(app, caller, &mut work, name, is_paused).await?;
    let view = SwitchView::of(name, is_paused);
    let response = work.answer(app, StatusCode::OK, &view).await?;
    if !is_paused {
        app.bell.ring(JOBS_AVAILABLE, name);
    }
    Ok(response)
}

/// Pauses or resumes a queue, and notes it. Once a resumed one is committed, its bell is rung.
pub(crate) async fn turn(
    app: &App,
    caller: &Caller,
    tx: &mut Connection,
    name: &'static str,
    is_paused: bool,
) -> Result<(), ApiError> {
    let (switched, action) = if is_paused {
        let paused = queue::control::pause(tx, name, app.clock.fixed()).await;
        (paused, "queue.paused")
    } else {
        let resumed = queue::control::resume(tx, name).await;
        (resumed, "queue.resumed")
    };
    switched.map_err(|source| ApiError::from_queue("switch a queue", source))?;
    caller.sign(app, tx, action, name, None).await
}

/// The queue that the path names, if there is one.
pub(crate) fn queue_name(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Option<&'static str> {
    let params = params.ok()?;
    let (_, asked) = params.iter().find(|(name, _)| *name == "name")?;
    known(asked)
}

/// The queue of this name, if there is one.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    workers::queues::all().find(|queue| *queue == name)
}

//! `/v1/admin/replays`: how far replays of dead letters have come, and stopping one.

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use domain::{ReplayId, ReplayState, TenantId};
use store::Connection;
use store::replays::Replay;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admin_view::{ReplayItemView, ReplayView, WholeReplayView};
use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::once::{self, Begun, OnceHeader};
use super::page::{Page, PageParams, PageQuery};
use super::path::path_id;
use super::query::Query;
use super::roles::Admin;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(cancel))
}

/// List replays, newest first.
///
/// Needs the role `admin`. Those from the command line are shown to the tenant `default`.
#[utoipa::path(
    get, path = "/v1/admin/replays", tag = "Operate", operation_id = "list_replays",
    params(PageParams),
    responses((status = 200, description = "A page.", body = Page<ReplayView>)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    mut query: Query,
) -> Result<Json<Page<ReplayView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = store::replays::list_replays(
        &mut conn,
        Some(&caller.tenant_id),
        page.after.map(ReplayId::from),
        i64::from(page.limit) + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.replay_id.as_uuid());
    Ok(Json(StatusCode::OK, page.map(ReplayView::of)))
}

/// Show a replay: its counts, and page by page what became of each dead letter.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/v1/admin/replays/{id}", tag = "Operate", operation_id = "show_replay",
    params(("id" = String, Path, description = "Its `replay_id`."), PageParams),
    responses((status = 200, description = "It.", body = WholeReplayView)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut query: Query,
) -> Result<Json<WholeReplayView>, ApiError> {
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let id = path_id(params).ok_or_else(not_found)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let replay = find(&mut conn, &caller, id).await?;
    let limit = i64::from(page.limit) + 1;
    let items = store::replays::list_items(&mut conn, id, page.after, limit)
        .await
        .map_err(ApiError::from_store)?;
    let items = Page::new(items, page.limit, |item| item.job_id).map(ReplayItemView::of);
    let view = WholeReplayView {
        replay: ReplayView::of(replay),
        items,
    };
    Ok(Json(StatusCode::OK, view))
}

/// Stop a replay. What was replayed before stays so.
///
/// Needs the role `admin`. 409 once it is done.
#[utoipa::path(
    post, path = "/v1/admin/replays/{id}/cancel", tag = "Operate", operation_id = "cancel_replay",
    params(("id" = String, Path, description = "Its `replay_id`.")),
    responses((status = 200, description = "It has stopped.", body = ReplayView)),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
    OnceHeader(once): OnceHeader,
) -> Result<Response<Body>, ApiError> {
    let id = path_id(params).ok_or_else(not_found)?;
    let mut work = match once::begin(&app, &caller, once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let replay = stop(&app, &caller, &mut work, id).await?;
    work.answer(&app, StatusCode::OK, &ReplayView::of(replay))
        .await
}

/// Stops a replay of the caller's within `tx`, and notes it.
pub(crate) async fn stop(
    app: &App,
    caller: &Caller,
    tx: &mut Connection,
    id: ReplayId,
) -> Result<Replay, ApiError> {
    let before = find(tx, caller, id).await?;
    let replay = workers::replay::cancel(tx, id, app.clock.fixed())
        .await
        .map_err(ApiError::from_replay)?
        .ok_or_else(not_found)?;
    if replay.state != ReplayState::Cancelled {
        let detail = format!("the replay is {} already", replay.state);
        return Err(ApiError::conflict(detail));
    }
    if before.state != ReplayState::Cancelled {
        caller
            .sign(app, tx, "replay.cancelled", &id.to_string(), None)
            .await?;
    }
    Ok(replay)
}

/// One of the caller's replays.
pub(crate) async fn find(
    conn: &mut Connection,
    caller: &Caller,
    id: ReplayId,
) -> Result<Replay, ApiError> {
    store::replays::find_replay(conn, id)
        .await
        .map_err(ApiError::from_store)?
        .filter(|replay| is_own(replay, &caller.tenant_id))
        .ok_or_else(not_found)
}

/// The tenant that runs the installation sees what its operators do from the command line.
fn is_own(replay: &Replay, tenant_id: &TenantId) -> bool {
    match &replay.tenant_id {
        Some(own) => own == tenant_id,
        None => *tenant_id == TenantId::default(),
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("there is no such replay")
}

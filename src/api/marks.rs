//! What a user does about one notification of their feed: `POST /v1/notifications/{id}/read` and its
//! siblings.
//!
//! Each state includes the one before: what is archived was read, what was read was seen. A
//! notification marked unread comes back into the list.

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use domain::Role;
use store::reading::Mark;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::error::ApiError;
use super::inbox::{Unread, audit};
use super::once::{self, Begun, OnceHeader};
use super::path::path_id;
use crate::app::App;
use crate::live;
use crate::live::hub::Reader;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read))
        .routes(routes!(unread))
        .routes(routes!(seen))
        .routes(routes!(archive))
        .routes(routes!(unarchive))
}

type Params = Result<RawPathParams, RawPathParamsRejection>;

/// Mark a notification as read.
///
/// Repeating it changes nothing, nor does it where nothing of the notification is in the feed.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/read", tag = "Feed", operation_id = "mark_read",
    params(("id" = String, Path)),
    responses((status = 200, description = "What is still unread.", body = Unread)),
)]
async fn read(
    State(app): State<App>,
    caller: Caller,
    once: OnceHeader,
    params: Params,
) -> Result<Response<Body>, ApiError> {
    mark(app, caller, once, params, Mark::Read).await
}

/// Mark a notification as unread: back into the list, if it was archived.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/unread", tag = "Feed", operation_id = "mark_unread",
    params(("id" = String, Path)),
    responses((status = 200, description = "What is unread now.", body = Unread)),
)]
async fn unread(
    State(app): State<App>,
    caller: Caller,
    once: OnceHeader,
    params: Params,
) -> Result<Response<Body>, ApiError> {
    mark(app, caller, once, params, Mark::Unread).await
}

/// Mark a notification as seen: it was shown, not yet read.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/seen", tag = "Feed", operation_id = "mark_seen",
    params(("id" = String, Path)),
    responses((status = 200, description = "What is still unread.", body = Unread)),
)]
async fn seen(
    State(app): State<App>,
    caller: Caller,
    once: OnceHeader,
    params: Params,
) -> Result<Response<Body>, ApiError> {
    mark(app, caller, once, params, Mark::Seen).await
}

/// Archive a notification: read, and left out of its user's list.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/archive", tag = "Feed", operation_id = "archive",
    params(("id" = String, Path)),
    responses((status = 200, description = "What is still unread.", body = Unread)),
)]
async fn archive(
    State(app): State<App>,
    caller: Caller,
    once: OnceHeader,
    params: Params,
) -> Result<Response<Body>, ApiError> {
    mark(app, caller, once, params, Mark::Archived).await
}

/// Take a notification back out of the archive; it stays read.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/unarchive", tag = "Feed", operation_id = "unarchive",
    params(("id" = String, Path)),
    responses((status = 200, description = "What is unread.", body = Unread)),
)]
async fn unarchive(
    State(app): State<App>,
    caller: Caller,
    once: OnceHeader,
    params: Params,
) -> Result<Response<Body>, ApiError> {
    mark(app, caller, once, params, Mark::Unarchived).await
}

async fn mark(
    app: App,
    caller: Caller,
    once: OnceHeader,
    params: Params,
    mark: Mark,
) -> Result<Response<Body>, ApiError> {
    if caller.user_id.is_none() && !caller.may(Role::Admin) {
        return Err(ApiError::forbidden(
            "acting for a user needs their token or an admin key",
        ));
    }
    let not_found = || ApiError::not_found("there is no such notification");
    let id = path_id(params).ok_or_else(not_found)?;
    let mut work = match once::begin(&app, &caller, once.0).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let found = store::notifications::find_notification(&mut work, &caller.tenant_id, id)
        .await
        .map_err(ApiError::from_store)?
        // Another user's looks exactly like one that never was.
        .filter(|found| caller.may(Role::Admin) || caller.user_id.as_ref() == Some(&found.user_id))
        .ok_or_else(not_found)?;
    let reader = Reader {
        tenant_id: found.tenant_id,
        user_id: found.user_id,
    };
    let marked = live::mark(&mut work, &reader, &[id], mark, app.clock.now())
        .await
        .map_err(ApiError::from_store)?;
    audit(
        &mut work,
        &app,
        &caller,
        &reader,
        word(mark),
        &id.to_string(),
    )
    .await?;
    let unread = Unread {
        unread: marked.unread,
    };
    let response = work.answer(&app, StatusCode::OK, &unread).await?;
    // Nobody's bell says what was seen.
    if mark != Mark::Seen {
        live::show_marked(&app, &reader, &marked);
    }
    Ok(response)
}

/// What the audit calls it.
fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Seen => "notification.seen",
        Mark::Read => "notification.read",
        Mark::Unread => "notification.unread",
        Mark::Archived => "notification.archived",
        Mark::Unarchived => "notification.unarchived",
    }
}

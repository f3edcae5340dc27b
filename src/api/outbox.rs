//! `GET /v1/outbox`: what was accepted on channels that no provider carries.

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Channel, DeliveryId, Role, UserId};
use store::outbox::OutboxFilter;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::openapi::words::ChannelWord;
use super::page::{Page, PageParams, PageQuery};
use super::query::Query;
use super::view::OutboxView;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List what the outbox took in place of a provider, newest first.
///
/// Needs the role `read`: a user reads their feed.
#[utoipa::path(
    get, path = "/v1/outbox", tag = "Look up", operation_id = "list_outbox",
    params(
        ("user_id" = Option<String>, Query, description = "Whose."),
        ("channel" = Option<ChannelWord>, Query),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<OutboxView>)),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<OutboxView>>, ApiError> {
    if !caller.may(Role::Read) {
        return Err(ApiError::forbidden("the outbox needs the role `read`"));
    }
    let page = PageQuery::read(&mut query);
    let filter = OutboxFilter {
        user_id: query.text("user_id").map(UserId::from),
        channel: query.parsed("channel", "must be a channel such as email", Channel::parse),
    };
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = store::outbox::list_outbox(
        &mut conn,
        &caller.tenant_id,
        &filter,
        page.after.map(DeliveryId::from),
        i64::from(page.limit) + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.delivery_id.as_uuid());
    Ok(Json(StatusCode::OK, page.map(OutboxView::of)))
}

//! `/v1/web-push`: the key that browsers subscribe with, and the browsers of the signed-in user.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{BrowserSubmission, UserId};
use serde::Serialize;
use store::users::{lock_addresses, write_addresses};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::people::{EndpointBody, SubscriptionBody};
use super::query::Query;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show_key))
        .routes(routes!(subscribe, unsubscribe))
}

/// What a browser subscribes with.
#[derive(Debug, Serialize, ToSchema)]
struct WebPushKey {
    /// The public VAPID key, in base64 for URLs.
    public_key: String,
}

/// What became of a subscription.
#[derive(Debug, Serialize, ToSchema)]
struct Subscribed {
    /// Browsers of the user, this one included.
    subscriptions: usize,
}

/// Show the key that browsers subscribe with.
#[utoipa::path(
    get, path = "/v1/web-push/key", tag = "Web push", operation_id = "show_web_push_key",
    responses(
        (status = 200, description = "The key.", body = WebPushKey),
        (status = 404, description = "There is none: this house pushes to no browser."),
    ),
)]
async fn show_key(State(app): State<App>, _caller: Caller) -> Result<Json<WebPushKey>, ApiError> {
    let public_key = app.config.web_push.public_key.as_deref();
    let public_key = public_key
        .ok_or_else(|| ApiError::not_found("there is no key for web push"))?
        .trim_end_matches('=')
        .to_owned();
    Ok(Json(StatusCode::OK, WebPushKey { public_key }))
}

/// Notify a browser of the signed-in user.
///
/// A browser is known by its endpoint: saying it again changes its keys. Of more than 20 the oldest
/// is forgotten. An admin key names the user by `user_id`.
#[utoipa::path(
    post, path = "/v1/web-push/subscriptions", tag = "Web push",
    operation_id = "subscribe_browser",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = SubscriptionBody,
    responses((status = 200, description = "It is stored.", body = Subscribed)),
)]
async fn subscribe(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let user_id = whose(&caller, query)?;
    let browser = BrowserSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let (tenant_id, now) = (&caller.tenant_id, app.clock.now());
    let mut addresses = lock_addresses(&mut work, tenant_id, &user_id, now)
        .await
        .map_err(ApiError::from_store)?;
    addresses.add_browser(&browser);
    write_addresses(&mut work, tenant_id, &user_id, &addresses, now)
        .await
        .map_err(ApiError::from_store)?;
    let subject = user_id.as_str();
    caller
        .sign(&app, &mut work, "web_push.subscribed", subject, None)
        .await?;
    let subscribed = Subscribed {
        subscriptions: addresses.web_push.len(),
    };
    work.about(user_id)
        .answer(&app, StatusCode::OK, &subscribed)
        .await
}

/// Notify a browser of the signed-in user no more.
///
/// Repeating it changes nothing. An admin key names the user by `user_id`.
#[utoipa::path(
    delete, path = "/v1/web-push/subscriptions", tag = "Web push",
    operation_id = "unsubscribe_browser",
    params(("user_id" = Option<String>, Query, description = "Whose; for admin keys.")),
    request_body = EndpointBody,
    responses((status = 204, description = "It is not notified any more.")),
)]
async fn unsubscribe(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, ApiError> {
    let user_id = whose(&caller, query)?;
    let endpoint = BrowserSubmission::parse_endpoint(body).map_err(ApiError::invalid)?;
    let (tenant_id, now) = (&caller.tenant_id, app.clock.now());
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let mut addresses = lock_addresses(&mut tx, tenant_id, &user_id, now)
        .await
        .map_err(ApiError::from_store)?;
    // Who had nothing to take away gets no row for asking.
    if !addresses.remove_browser(&endpoint) {
        return Ok(StatusCode::NO_CONTENT);
    }
    write_addresses(&mut tx, tenant_id, &user_id, &addresses, now)
        .await
        .map_err(ApiError::from_store)?;
    let subject = user_id.as_str();
    caller
        .sign(&app, &mut tx, "web_push.unsubscribed", subject, None)
        .await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The signed-in user, or the one of `?user_id=` for an admin key.
fn whose(caller: &Caller, mut query: Query) -> Result<UserId, ApiError> {
    let asked_for = query.text("user_id").map(UserId::from);
    query.finish()?;
    caller.acting_for(asked_for)
}

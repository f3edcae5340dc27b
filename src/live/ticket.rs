//! `POST /v1/ws/ticket`: a one-time ticket to the live feed, for clients that can set no header.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use domain::UserId;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::tickets::NewTicket;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::body::Json;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;

/// How long a ticket may be used: the way to the next connection.
const VALID: Duration = Duration::from_mins(1);

/// The routes of this file.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(issue))
}

/// Admits once to the feed of one user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ticket {
    pub(crate) ticket: String,
}

/// Get a one-time ticket to the live feed.
///
/// It is good for one connection (`?ticket=`) within a minute, to the feed of the user whose token
/// asks. The connection ends with that token. An admin key names the user by `user_id`.
#[utoipa::path(
    post, path = "/v1/ws/ticket", tag = "Feed", operation_id = "issue_ticket",
    params(("user_id" = Option<String>, Query, description = "Whose feed; for admin keys.")),
    responses((status = 200, description = "The ticket.", body = Ticket)),
)]
pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Ticket>, ApiError> {
    let asked_for = query.text("user_id").map(UserId::from);
    query.finish()?;
    let user_id = caller.acting_for(asked_for)?;
    let ticket = format!("{:032x}", rand::random::<u128>());
    let new = NewTicket {
        hash: hash_of(&ticket),
        tenant_id: caller.tenant_id,
        user_id,
        expires_at: app.clock.now() + VALID,
        session_ends_at: caller.expires_at,
    };
    let issued = app.desk.issue(new).await;
    issued.or(Err(ApiError::unavailable()))?;
    Ok(Json(StatusCode::OK, Ticket { ticket }))
}

/// What is stored of a ticket.
pub(super) fn hash_of(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

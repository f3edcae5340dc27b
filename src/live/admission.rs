//! Who may follow a feed: the credential, wherever a client of that kind can put it.
//!
//! A browser sets no header on a WebSocket or an `EventSource`, so there are a subprotocol and
//! one-time tickets; a token in the URL works too, unless it is switched off.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header;
use chrono::{DateTime, Utc};
use domain::UserId;
use store::tickets::Redeemed;

use super::hub::Reader;
use super::ticket;
use crate::api::auth::{Caller, credential_of};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::Visit;

/// What comes before the token in a protocol header.
const BEARER: &str = "bearer.";

/// Whose feed somebody may follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) reader: Reader,
    /// For how long the credential is good; `None` if it does not end.
    pub(super) ends_in: Option<Duration>,
}

/// What a client showed.
enum Shown {
    /// A user token.
    Token(String),
    Ticket(String),
}

/// Finds out whose feed may be followed: an error that
/// [is about the credential](ApiError::is_unauthorized) if there is none, or a bad one.
///
/// What else there is in the query has been read before, and is judged here: a ticket is not spent on
/// a request that is refused for something else.
pub(super) async fn admit(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    mut query: Query,
) -> Result<Admission, Refusal> {
    let asked_for = query.text("user_id").map(UserId::from);
    let shown = shown(app, headers, &query).ok_or_else(|| {
        let detail = "a feed needs a user token or a ticket";
        Refusal::NothingShown(ApiError::unauthorized(detail))
    })?;
    query.finish().map_err(Refusal::Failed)?;
    let admission = match shown {
        Shown::Ticket(ticket) => app
            .desk
            .redeem(ticket::hash_of(&ticket))
            .await
            .or(Err(Refusal::Failed(ApiError::unavailable())))?
            .map(|redeemed| Admission::of_ticket(redeemed, app.clock.now()))
            .ok_or_else(|| {
                app.edge.failed(visit);
                let detail = "the ticket was used, is over, or never was";
                Refusal::Bad(ApiError::unauthorized(detail))
            })?,
        Shown::Token(token) => {
            let authenticated = app.authenticate(visit, &token).await;
            let caller = authenticated.map_err(Refusal::of_credential)?;
            let service = || Refusal::Bad(ApiError::unauthorized("a service has no feed"));
            Admission::of_caller(caller, app.clock.now()).ok_or_else(service)?
        }
    };
    if asked_for.is_some_and(|user_id| user_id != admission.reader.user_id) {
        let detail = "a feed is its user's alone, whom the token names";
        return Err(Refusal::Failed(ApiError::forbidden(detail)));
    }
    Ok(admission)
}

/// Why nobody is admitted. Sockets tell a bad credential in another way than the others.
pub(super) enum Refusal {
    NothingShown(ApiError),
    Bad(ApiError),
    Failed(ApiError),
}

impl Refusal {
    fn of_credential(error: ApiError) -> Self {
        if error.is_unauthorized() {
            Self::Bad(error)
        } else {
            Self::Failed(error)
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (Refusal::NothingShown(error) | Refusal::Bad(error) | Refusal::Failed(error)) = refusal;
        error
    }
}

impl Admission {
    /// A service has no feed.
    fn of_caller(caller: Caller, now: DateTime<Utc>) -> Option<Self> {
        Some(Self {
            reader: Reader {
                tenant_id: caller.tenant_id,
                user_id: caller.user_id?,
            },
            ends_in: caller.expires_at.map(|end| left(end, now)),
        })
    }

    fn of_ticket(ticket: Redeemed, now: DateTime<Utc>) -> Self {
        Self {
            reader: Reader {
                tenant_id: ticket.tenant_id,
                user_id: ticket.user_id,
            },
            ends_in: ticket.session_ends_at.map(|end| left(end, now)),
        }
    }
}

fn left(end: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (end - now).to_std().unwrap_or_default()
}

/// The first credential there is, in the order of the contract.
fn shown(app: &App, headers: &HeaderMap, query: &Query) -> Option<Shown> {
    let in_query = || query.raw("token").filter(|_| app.config.auth.query_token);
    bearer_of(headers)
        .map(|token| Shown::Token(token.to_owned()))
        .or_else(|| query.raw("ticket").map(Shown::Ticket))
        .or_else(|| in_query().map(Shown::Token))
        .or_else(|| credential_of(headers).map(|token| Shown::Token(token.to_owned())))
}

/// The token in `Sec-WebSocket-Protocol: postrider.v1, bearer.<jwt>`.
fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER))
}

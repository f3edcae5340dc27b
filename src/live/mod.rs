//! The live feed: sockets, who they belong to, and how a committed notification reaches them.
//!
//! [`feed`] reads what was committed, [`hub`] knows who is connected here, [`session`] speaks with
//! one socket in the words of [`frame`].

pub(crate) mod feed;
pub(crate) mod frame;
pub(crate) mod hub;
mod session;

use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Response, header};
use chrono::{DateTime, Utc};
use domain::NotificationId;
use store::reading::{Ack, Mark, Marked};
use store::{Connection, StoreError};

use self::hub::Reader;
use self::session::{Admission, code};
use crate::api::auth::{Caller, credential_of};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::Visit;

/// The protocol we speak.
const PROTOCOL: &str = "postrider.v1";

/// What comes before the token in a protocol header.
const BEARER: &str = "bearer.";

/// Largest frame a client may send: an ack is a tenth of a kilobyte.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Read buffer per socket. The library's 128 KiB would cost 10 000 idle sockets more than a
/// gigabyte.
const READ_BUFFER_BYTES: usize = 4096;

/// Largest frame that can be written to a socket: a notification carries its event's payload, which
/// in a batch of 16 MiB may be nearly all of it, and grows where numbers are written anew. Frames
/// are written one at a time, so this is a bound, not a buffer.
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Open the live feed (WebSocket).
///
/// Without any credential the upgrade itself is refused. A bad one is told by close code 4401,
/// because a browser cannot read the status of a failed upgrade.
#[utoipa::path(
    get, path = "/v1/ws", tag = "Feed", operation_id = "live_feed",
    params(
        ("token" = Option<String>, Query, description = "A user token, where no header can be set."),
        ("last_seq" = Option<i64>, Query, minimum = 0, description = "Go on after this number."),
    ),
    responses(
        (status = 101, description = "The socket is open."),
        (status = 400, description = "Not a WebSocket handshake."),
    ),
)]
pub(crate) async fn upgrade(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    mut query: Query,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let upgrade =
        upgrade.map_err(|_plain| ApiError::malformed("", "this path speaks WebSocket"))?;
    let last_seq = query.parsed("last_seq", "must be a seq from this feed", |text| {
        text.parse::<i64>().ok().filter(|seq| *seq >= 0)
    });
    let credential = bearer_of(&headers)
        .map(str::to_owned)
        .or_else(|| query.raw("token").filter(|_| app.config.auth.query_token))
        .or_else(|| credential_of(&headers).map(str::to_owned))
        .ok_or_else(|| ApiError::unauthorized("a socket needs a user token"))?;
    query.finish()?;
    let admission = match app.authenticate(&visit, &credential).await {
        Ok(caller) => admit(caller, last_seq, app.clock.now()),
        Err(error) if error.is_unauthorized() => None,
        Err(error) => return Err(error),
    };

    // Shutdown waits for the socket, however it is served.
    let tracked = app.lifetime.tasks.token();
    let response = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(|mut socket| async move {
            if let Some(admission) = admission {
                session::run(app, socket, admission).await;
            } else {
                app.metrics.websocket_errors.inc();
                session::close(&mut socket, code::BAD_CREDENTIAL, "bad credential").await;
            }
            drop(tracked);
        });
    Ok(response)
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

/// What a caller gets to see; a service has no feed.
fn admit(caller: Caller, last_seq: Option<i64>, now: DateTime<Utc>) -> Option<Admission> {
    Some(Admission {
        reader: Reader {
            tenant_id: caller.tenant_id,
            user_id: caller.user_id?,
        },
        last_seq,
        expires_in: caller.expires_at.and_then(|end| (end - now).to_std().ok()),
    })
}

/// Marks notifications as read, in the caller's transaction.
pub(crate) async fn acknowledge(
    connection: &mut Connection,
    reader: &Reader,
    ack: &Ack,
    now: DateTime<Utc>,
) -> Result<Marked, StoreError> {
    let Reader { tenant_id, user_id } = reader;
    store::reading::ack(connection, tenant_id, user_id, ack, now).await
}

/// Marks notifications in any way, in the caller's transaction.
pub(crate) async fn mark(
    connection: &mut Connection,
    reader: &Reader,
    ids: &[NotificationId],
    mark: Mark,
    now: DateTime<Utc>,
) -> Result<Marked, StoreError> {
    let Reader { tenant_id, user_id } = reader;
    store::reading::mark(connection, tenant_id, user_id, ids, mark, now).await
}

/// Tells all of the user's sockets here what was read, and how many are unread now. Call it after
/// the commit.
pub(crate) fn show_read(app: &App, reader: &Reader, marked: &Marked) {
    if !marked.changed.is_empty() {
        app.hub
            .read(reader, marked.read.as_slice().into(), marked.unread);
    }
}

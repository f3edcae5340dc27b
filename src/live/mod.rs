//! The live feed: who follows it, and how a committed notification reaches them.
//!
//! [`feed`] reads what was committed, [`hub`] knows who is connected here, and a [`follower`](follow)
//! makes of both every row once and in order. A [socket](session), a [`stream`] and a [`poll`] are
//! three ways to hand that to a client, whom [`admission`] lets in, by a [`ticket`] perhaps. What
//! everybody asks when they come is asked for all together at the [`desk`].

mod admission;
mod allowance;
pub(crate) mod desk;
pub(crate) mod feed;
mod follow;
pub(crate) mod frame;
mod gather;
mod goodbye;
pub(crate) mod hub;
mod mailbox;
pub(crate) mod poll;
mod session;
pub(crate) mod stream;
pub(crate) mod ticket;

use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Response};
use chrono::{DateTime, Utc};
use domain::{FeedNews, NotificationId};
use store::reading::{Ack, Mark, Marked};
use store::{Connection, StoreError};

use self::admission::{Refusal, admit};
use self::follow::Ended;
use self::hub::Reader;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::Visit;

/// The protocol we speak.
const PROTOCOL: &str = "postrider.v1";

/// Largest frame a client may send.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// Read buffer per socket, for acks of a tenth of a kilobyte; larger frames get theirs while they
/// come. The library's 128 KiB would cost 10 000 idle sockets more than a gigabyte.
const READ_BUFFER_BYTES: usize = 1024;

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
        ("ticket" = Option<String>, Query, description = "A one-time ticket."),
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
    if !app.edge.pages.may_connect(&headers) {
        let detail = "pages of this origin may not connect; see cors.origins";
        return Err(ApiError::forbidden(detail));
    }
    let last_seq = seq_of(&mut query, "last_seq");
    let admission = match admit(&app, &visit, &headers, query).await {
        Ok(admission) => Some(admission),
        Err(Refusal::Bad(_)) => None,
        Err(refusal) => return Err(refusal.into()),
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
        .on_upgrade(move |mut socket| async move {
            if let Some(admission) = admission {
                session::run(app, socket, admission, last_seq).await;
            } else {
                app.metrics.websocket_errors.inc();
                session::turn_away(&mut socket).await;
            }
            drop(tracked);
        });
    Ok(response)
}

/// A place in the feed, as a client names it.
fn seq_of(query: &mut Query, name: &str) -> Option<i64> {
    query.parsed(name, "must be a seq from this feed", parse_seq)
}

fn parse_seq(text: &str) -> Option<i64> {
    text.parse().ok().filter(|seq| *seq >= 0)
}

/// Why a request does not get to follow the feed.
fn refuse(ended: Ended) -> ApiError {
    match ended {
        Ended::TooMany(_) => ApiError::too_many(RETRY_AFTER, "too many follow the feed already"),
        Ended::Unanswered(_) => ApiError::unavailable(),
        Ended::Database(error) => ApiError::from_store(error),
    }
}

/// When to ask again after too many.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

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

/// Marks notifications as read, in a transaction of its own.
async fn acknowledge_alone(
    app: &App,
    reader: &Reader,
    ack: &Ack,
    now: DateTime<Utc>,
) -> Result<Marked, StoreError> {
    let mut tx = app.store.begin().await?;
    let marked = acknowledge(&mut tx, reader, ack, now).await?;
    tx.commit().await?;
    Ok(marked)
}

/// Wakes all who follow the feed, here and elsewhere, to read what was marked. Call it after the
/// commit.
pub(crate) fn show_marked(app: &App, reader: &Reader, marked: &Marked) {
    if !marked.changed.is_empty() {
        let token = reader.token(FeedNews::Mark);
        app.bell.ring(workers::INBOX_CHANGED, &token);
    }
}

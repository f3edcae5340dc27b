//! `GET /v1/stream`: the feed as server-sent events, where sockets do not get through.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::admit;
use super::follow::{Ended, Follower};
use super::goodbye;
use super::mailbox::{Kind, News};
use super::session::Counted;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::Visit;

/// How often a quiet stream says that it lives: proxies close what is silent for a minute.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// How long a client waits before it comes back, by itself: the usual time of browsers.
const RETRY: Duration = Duration::from_secs(3);

/// The least that it is told to wait when the process stops: it keeps to that until it has reached
/// another.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The routes of this file.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Follow the live feed (server-sent events).
///
/// Each event's `data` is a frame as the WebSocket has it; the `id` of a notification is its `seq`,
/// which a browser sends as `Last-Event-ID` when it comes back. A credential that ends, ends the
/// stream.
#[utoipa::path(
    get, path = "/v1/stream", tag = "Feed", operation_id = "stream_feed",
    params(
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "Go on after this seq."),
        ("last_seq" = Option<i64>, Query, minimum = 0, description = "The same, the first time."),
        ("ticket" = Option<String>, Query, description = "A one-time ticket."),
        ("token" = Option<String>, Query, description = "A user token, where no header can be set."),
    ),
    responses((status = 200, description = "The events.", content_type = "text/event-stream")),
)]
pub(crate) async fn stream(
    State(app): State<App>,
    mut query: Query,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let last_seq = super::seq_of(&mut query, "last_seq");
    let last_event = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    if last_event.is_some_and(|text| !text.is_empty() && super::parse_seq(text).is_none()) {
        query.refuse("Last-Event-ID", "must be a seq from this feed");
    }
    let admission = admit(&app, &visit, &headers, query).await?;
    // What the browser remembers is newer than what the page wrote into the address.
    let last_seq = last_event.and_then(super::parse_seq).or(last_seq);
    let joined = Box::pin(Follower::join(&app, admission.reader, last_seq)).await;
    let (follower, hello) = joined.map_err(super::refuse)?;
    let now = Instant::now();
    let events = Events {
        _counted: Counted::up(&app.metrics.live_streams),
        ends_at: admission.ends_in.and_then(|left| now.checked_add(left)),
        next_comment: now + COMMENT_INTERVAL,
        // With the number it begins after, so that a browser that loses it before the first
        // notification goes on from there, too.
        beginning: Some(format!(
            "retry: {}\nid: {}\ndata: {}\n\n",
            RETRY.as_millis(),
            last_seq.unwrap_or(hello.seq),
            hello.frame().to_text()
        )),
        app,
        follower,
    };
    let body = Body::from_stream(stream::unfold(Some(events), Events::next));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let value = axum::http::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    // nginx would keep events back until a buffer is full.
    headers.insert("x-accel-buffering", value("no"));
    Ok(response)
}

struct Events {
    app: App,
    follower: Follower,
    _counted: Counted,
    beginning: Option<String>,
    ends_at: Option<Instant>,
    next_comment: Instant,
}

impl Events {
    /// The next bytes; after the last there is nobody left to ask.
    async fn next(this: Option<Self>) -> Option<(Result<Bytes, Infallible>, Option<Self>)> {
        let mut this = this?;
        if let Some(beginning) = this.beginning.take() {
            return Some((Ok(beginning.into()), Some(this)));
        }
        let ended = super::session::until(this.ends_at);
        let text = tokio::select! {
            // A stream is a request, and requests end before sockets do.
            () = this.app.lifetime.stopping.cancelled() => {
                let pause = goodbye::pause(this.app.hub.crowd_at_closing(), this.app.chance.next());
                let goodbye = format!("retry: {}\n\n", pause.max(RETRY_MIN).as_millis());
                return Some((Ok(goodbye.into()), None));
            }
            () = ended => return None,
            news = this.follower.next() => match news {
                Ok(news) => {
                    if news.kind == Kind::Row {
                        this.app.metrics.websocket_messages_sent.inc();
                    }
                    event(&news)
                }
                Err(ended) => {
                    if let Ended::Database(error) = &ended {
                        warn!(error = queue::describe(error), "a stream's feed could not be read");
                    }
                    this.app.metrics.websocket_errors.inc();
                    return None;
                }
            },
            () = sleep_until(this.next_comment) => ":\n\n".to_owned(),
        };
        this.next_comment = Instant::now() + COMMENT_INTERVAL;
        Some((Ok(text.into()), Some(this)))
    }
}

/// A frame as an event. JSON has no line breaks.
fn event(news: &News) -> String {
    match news.kind {
        Kind::Row | Kind::Resync => format!("id: {}\ndata: {}\n\n", news.seq, news.text),
        Kind::Mark => format!("data: {}\n\n", news.text),
    }
}

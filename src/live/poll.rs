//! `GET /v1/poll`: the feed a request at a time, where not even a stream gets through.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::admit;
use super::follow::{Ended, Follower, Hello};
use super::mailbox::{Kind, News};
use super::session::Counted;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::Visit;

/// How long a poll waits when it does not say.
const WAIT: Duration = Duration::from_secs(25);

/// The longest wait: below what proxies allow a silent request.
const WAIT_MAX: Duration = Duration::from_secs(55);

/// Rows of one answer.
const ROWS_MAX: usize = 200;

/// The routes of this file.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(poll))
}

/// What is new in the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PollAnswer {
    /// Notifications as the WebSocket has them, oldest first.
    items: Vec<Value>,
    /// Ask for what comes after this next.
    seq: i64,
    unread: i64,
    /// Whether what lies before is gone: fetch the list.
    resync: bool,
}

/// Follow the live feed (long polling).
///
/// Answers at once with what came after `after_seq`, else as soon as something comes or is marked,
/// else after `wait` with nothing. Ask again with the answer's `seq`. Without `after_seq` it says
/// where the feed stands.
#[utoipa::path(
    get, path = "/v1/poll", tag = "Feed", operation_id = "poll_feed",
    params(
        ("after_seq" = Option<i64>, Query, minimum = 0, description = "The last seq you have."),
        ("wait" = Option<String>, Query,
            description = "How long to wait for news, such as 25s; at most 55s."),
        ("ticket" = Option<String>, Query, description = "A one-time ticket."),
        ("token" = Option<String>, Query, description = "A user token, where no header can be set."),
    ),
    responses((status = 200, description = "What is new.", body = PollAnswer)),
)]
pub(crate) async fn poll(
    State(app): State<App>,
    mut query: Query,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let after_seq = super::seq_of(&mut query, "after_seq");
    let wait = query.parsed(
        "wait",
        "must be a time of at most 55s, such as 25s",
        parse_wait,
    );
    let admission = admit(&app, &visit, &headers, query).await?;
    let _counted = Counted::up(&app.metrics.live_streams);
    let joined = Box::pin(Follower::join(&app, admission.reader, after_seq)).await;
    let (mut follower, hello) = joined.map_err(super::refuse)?;
    let wait = match after_seq {
        Some(_) => wait.unwrap_or(WAIT),
        None => Duration::ZERO,
    };
    let wait = admission.ends_in.map_or(wait, |left| left.min(wait));
    let news = gather(&app, &mut follower, Instant::now() + wait).await;
    let news = news.map_err(super::refuse)?;
    Ok(answer(hello, after_seq, &news))
}

/// What is there; if there is nothing, what comes until `deadline`.
async fn gather(app: &App, follower: &mut Follower, deadline: Instant) -> Result<Vec<News>, Ended> {
    let mut news = Vec::new();
    // A poll is a request, and requests end before sockets do.
    let stopping = app.lifetime.stopping.cancelled();
    let gathering = async {
        while news.len() < ROWS_MAX
            && let Some(next) = follower.missed().await?
        {
            news.push(next);
        }
        if news.is_empty() {
            tokio::select! {
                () = sleep_until(deadline) => {}
                first = follower.next() => news.push(first?),
            }
        }
        Ok::<_, Ended>(())
    };
    tokio::select! {
        () = stopping => {}
        gathered = gathering => gathered?,
    }
    let rows = news.iter().filter(|news| news.kind == Kind::Row).count();
    app.metrics.websocket_messages_sent.inc_by(rows as u64);
    Ok(news)
}

/// The frames that are notifications are items; what the others say is said beside them.
fn answer(hello: Hello, after_seq: Option<i64>, news: &[News]) -> Response<Body> {
    let items: Vec<&str> = news
        .iter()
        .filter(|news| news.kind == Kind::Row)
        .map(|news| news.text.as_str())
        .collect();
    let last = news.iter().rev().find(|news| news.kind != Kind::Mark);
    let seq = last.map_or(after_seq.unwrap_or(hello.seq), |news| news.seq);
    let resync = news.iter().any(|news| news.kind == Kind::Resync);
    // Written here, since the frames are text already.
    let text = format!(
        r#"{{"items":[{}],"seq":{seq},"unread":{},"resync":{resync}}}"#,
        items.join(","),
        unread(hello, news),
    );
    let mut response = Response::new(Body::from(text));
    let value = axum::http::HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, value("application/json"));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    response
}

/// How many are unread after all that is told: what was marked says so, and each row since is one
/// more.
fn unread(hello: Hello, news: &[News]) -> i64 {
    let mut unread = hello.unread;
    for news in news {
        match news.kind {
            Kind::Mark => unread = news.seq,
            // Those that were missed were counted already.
            Kind::Row if news.seq > hello.seq => unread += 1,
            Kind::Row | Kind::Resync => {}
        }
    }
    unread
}

/// Reads `25s`, or seconds as a plain number.
fn parse_wait(text: &str) -> Option<Duration> {
    let seconds = || text.parse().ok().map(Duration::from_secs);
    let wait = seconds().or_else(|| humantime::parse_duration(text).ok())?;
    (wait <= WAIT_MAX).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_of_seconds_with_or_without_its_unit() {
        assert_eq!(parse_wait("25s"), Some(Duration::from_secs(25)));
        assert_eq!(parse_wait("0"), Some(Duration::ZERO));
        assert_eq!(parse_wait("1500ms"), Some(Duration::from_millis(1500)));
        for text in ["56s", "-1", "soon", "1h"] {
            assert_eq!(parse_wait(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_unread_counts_marks_and_what_came_since() {
        let hello = Hello { seq: 5, unread: 2 };
        let row = |seq| News::row(seq, "{}".into());

        assert_eq!(unread(hello, &[row(4), row(5)]), 2);
        assert_eq!(unread(hello, &[row(5), row(6)]), 3);
        assert_eq!(unread(hello, &[News::mark(0, "{}".into())]), 0);
    }
}

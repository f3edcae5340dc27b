//! Turns what is committed to feeds into news for the sockets connected here.
//!
//! A wake-up names feeds by a short hash, so it says nothing about anybody; a false match costs one
//! read. Below the wake-ups lies a poll: what is correct never depends on a notification. One read
//! serves all feeds concerned, and each row is written as text once, whatever number of sockets it
//! goes to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use chrono::SecondsFormat;
use domain::feed_token;
use store::inbox::{FeedItem, FeedPosition};
use store::{Store, StoreError};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::frame::{NotificationFrame, ServerFrame};
use super::hub::{Hub, Reader};

/// Feeds read in one statement.
const FEEDS_MAX: usize = 1000;

/// Rows of one feed read in one statement; a feed with more is read again at once.
pub(super) const ROWS_MAX: i64 = 200;

/// Pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Feeds that may have news.
enum Concerned {
    Everybody,
    /// Those whose token is named.
    Tokens(HashSet<String>),
}

/// Reads feeds and hands their rows to the hub, until `closing`.
pub(crate) async fn run(
    store: Store,
    hub: Hub,
    mut wake_ups: Receiver<Arc<str>>,
    poll_interval: Duration,
    closing: CancellationToken,
) {
    let mut next_poll = Instant::now() + poll_interval;
    let mut is_deaf = false;
    loop {
        let concerned = tokio::select! {
            () = closing.cancelled() => return,
            () = sleep_until(next_poll) => {
                next_poll = Instant::now() + poll_interval;
                Concerned::Everybody
            }
            wake_up = wake_ups.recv(), if !is_deaf => match wake_up {
                Ok(tokens) => gather(&tokens, &mut wake_ups),
                Err(RecvError::Lagged(_)) => Concerned::Everybody,
                // Nobody listens for us any more; polling goes on.
                Err(RecvError::Closed) => {
                    is_deaf = true;
                    continue;
                }
            },
        };
        let passed_on = timeout(READ_MAX, pass_on(&store, &hub, &concerned)).await;
        let failed = match passed_on {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(queue::describe(&error)),
            Err(elapsed) => Some(elapsed.to_string()),
        };
        if let Some(error) = failed {
            warn!(error, "feeds could not be read");
            sleep(PAUSE).await;
            next_poll = Instant::now();
        }
    }
}

/// How long reading feeds may take before it is begun anew: a connection whose other end has vanished
/// never answers, and this task serves every socket.
const READ_MAX: Duration = Duration::from_secs(15);

/// Joins a wake-up with those already waiting behind it.
fn gather(first: &str, wake_ups: &mut Receiver<Arc<str>>) -> Concerned {
    let mut tokens = HashSet::new();
    let mut next: Option<Arc<str>> = Some(Arc::from(first));
    while let Some(payload) = next {
        if payload.as_ref() == queue::EVERYTHING {
            return Concerned::Everybody;
        }
        tokens.extend(payload.split(',').map(str::to_owned));
        next = wake_ups.try_recv().ok();
    }
    Concerned::Tokens(tokens)
}

/// Reads the feeds concerned from where the hub stands to their ends.
async fn pass_on(store: &Store, hub: &Hub, concerned: &Concerned) -> Result<(), StoreError> {
    let mut positions = hub.positions(|reader| match concerned {
        Concerned::Everybody => true,
        Concerned::Tokens(tokens) => {
            tokens.contains(&feed_token(&reader.tenant_id, &reader.user_id))
        }
    });
    while !positions.is_empty() {
        let mut unfinished = Vec::new();
        for chunk in positions.chunks(FEEDS_MAX) {
            let asked: Vec<FeedPosition> = chunk
                .iter()
                .map(|(reader, seq)| FeedPosition {
                    tenant_id: reader.tenant_id.clone(),
                    user_id: reader.user_id.clone(),
                    after_seq: *seq,
                })
                .collect();
            let mut conn = store.acquire().await?;
            let rows = store::inbox::feed_after_many(&mut conn, &asked, ROWS_MAX).await?;
            drop(conn);
            for feed in rows.chunk_by(is_same_feed) {
                unfinished.extend(hand_out(hub, feed));
            }
        }
        positions = unfinished;
    }
    Ok(())
}

fn is_same_feed(one: &FeedItem, other: &FeedItem) -> bool {
    one.user_id == other.user_id && one.tenant_id == other.tenant_id
}

/// Hands out the rows of one feed, and answers where to go on when there may be more.
fn hand_out(hub: &Hub, feed: &[FeedItem]) -> Option<(Reader, i64)> {
    let last = feed.last()?;
    let reader = Reader {
        tenant_id: last.tenant_id.clone(),
        user_id: last.user_id.clone(),
    };
    for row in feed {
        hub.arrived(&reader, row.seq, to_text(row));
    }
    (feed.len() as i64 >= ROWS_MAX).then_some((reader, last.seq))
}

/// A row of the feed as its frame.
pub(super) fn to_text(row: &FeedItem) -> Utf8Bytes {
    ServerFrame::Notification(NotificationFrame {
        seq: row.seq,
        id: row.notification_id,
        title: row.title.as_deref(),
        message: &row.message,
        data: row.data.as_ref(),
        priority: row.priority.as_str(),
        category: row.category.as_deref(),
        template: row.template.as_deref(),
        created_at: row.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
    })
    .to_text()
}

//! One follower of a feed: every row once and in order, whoever brings it.
//!
//! The order is: take a seat, read where the feed stands, then what was missed, then what the hub
//! brings. The follower owns its cursor: a row at or below it is skipped, and one that leaves a gap
//! makes it read the feed itself. So no `seq` is repeated or left out, whatever the hub does, and one
//! whose mailbox overflows in a burst reads on by itself. Sockets, streams and polls are all made of
//! this.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use store::StoreError;
use store::inbox::{FeedItem, Head};
use tokio::time::timeout;
use tracing::warn;

use super::desk::{Arrival, MISSED_MAX};
use super::feed::{READ_MAX, ROWS_MAX, to_text};
use super::frame::ServerFrame;
use super::gather::Unanswered;
use super::hub::{Reader, Seat, TooMany};
use super::mailbox::{Kind, Mailbox, News};
use crate::app::App;

/// Why a follower ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Database(#[from] StoreError),
}

/// Where the feed stood when the follower came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) seq: i64,
    pub(super) unread: i64,
}

impl Hello {
    pub(super) fn frame(self) -> ServerFrame<'static> {
        ServerFrame::Hello {
            seq: self.seq,
            unread: self.unread,
        }
    }
}

pub(super) struct Follower {
    app: App,
    seat: Seat,
    /// The last row that was handed out or waits in the backlog.
    cursor: i64,
    /// Up to here there must be rows.
    owed: i64,
    backlog: VecDeque<News>,
    /// Whether there is more to read before the hub is listened to again.
    is_behind: bool,
    /// Whether marks were thrown away, so that the client has to be told how many are unread.
    is_to_count: bool,
    /// A read that was begun. A wait that is given up leaves it here, so that a client that speaks
    /// all the time does not make it begin anew for ever.
    reading: Option<Reading>,
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<FeedItem>, Ended>> + Send>>;

/// How often a greeting is asked for anew because something was marked meanwhile. After that a look
/// at the list has to tell.
const GREETINGS_MAX: usize = 3;

impl Follower {
    /// Takes a seat and finds out what was missed after `last_seq`; `None` begins with what comes
    /// next.
    pub(super) async fn join(
        app: &App,
        reader: Reader,
        last_seq: Option<i64>,
    ) -> Result<(Self, Hello), Ended> {
        let seat = app.hub.sit_down(reader)?;
        let reader = Arc::clone(&seat.reader);
        let arrival = Arrival { reader, last_seq };
        let mut greeting = app.desk.greet(arrival.clone()).await?;
        let mut since = app.hub.begin_at(&seat.reader, greeting.told());
        for _ in 1..GREETINGS_MAX {
            if !since.has_marks {
                break;
            }
            greeting = app.desk.greet(arrival.clone()).await?;
            since = app.hub.begin_at(&seat.reader, greeting.told());
        }
        let seq = greeting.seq;
        let mut follower = Self {
            app: app.clone(),
            seat,
            cursor: last_seq.unwrap_or(seq),
            owed: seq,
            backlog: VecDeque::new(),
            is_behind: false,
            is_to_count: false,
            reading: None,
        };
        let replay_max = i64::from(app.config.live.replay_max);
        let is_too_old = replay_max > 0 && seq - follower.cursor > replay_max;
        if follower.cursor > seq || is_too_old {
            // Either a number we never gave out, from another database than this one, or too much
            // to tell.
            follower.resync(seq);
        } else if follower.cursor < seq {
            match greeting.missed {
                Some(rows) => follower.append(&rows, MISSED_MAX),
                None => follower.is_behind = true,
            }
        }
        follower.is_behind |= since.has_rows;
        let unread = greeting.unread;
        Ok((follower, Hello { seq, unread }))
    }

    /// The next frame. A wait that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Result<News, Ended> {
        loop {
            if let Some(news) = self.missed().await? {
                return Ok(news);
            }
            let Ok(news) = self.seat.mailbox.take().await else {
                // More came at once than has room there. All of it can be read.
                self.is_behind = true;
                self.is_to_count = true;
                continue;
            };
            match news.kind {
                Kind::Mark => return Ok(news),
                Kind::Resync => {
                    self.cursor = news.seq;
                    return Ok(news);
                }
                Kind::Row if news.seq <= self.cursor => {}
                Kind::Row if news.seq == self.cursor + 1 => {
                    self.cursor = news.seq;
                    return Ok(news);
                }
                Kind::Row => {
                    self.owed = news.seq;
                    self.is_behind = true;
                }
            }
        }
    }

    /// The next frame of what there is already, without waiting for more. To give it up loses
    /// nothing.
    pub(super) async fn missed(&mut self) -> Result<Option<News>, Ended> {
        loop {
            if let Some(news) = self.backlog.pop_front() {
                if self.backlog.is_empty() {
                    // Idle followers are many.
                    self.backlog = VecDeque::new();
                }
                return Ok(Some(news));
            }
            if self.is_behind {
                let begin = || {
                    let (app, reader) = (self.app.clone(), Arc::clone(&self.seat.reader));
                    Box::pin(read_on(app, reader, self.cursor)) as Reading
                };
                let rows = self.reading.get_or_insert_with(begin).await;
                self.reading = None;
                self.append(&rows?, ROWS_MAX);
                continue;
            }
            if self.is_to_count {
                let Head { seq, unread } =
                    Box::pin(read_head(&self.app, &self.seat.reader)).await?;
                self.is_to_count = false;
                if seq < self.cursor {
                    // The feed has begun anew, and who said so was thrown away.
                    self.resync(seq);
                }
                let text = ServerFrame::Read { ids: &[], unread }.to_text();
                self.backlog.push_back(News::mark(unread, text));
                continue;
            }
            return Ok(None);
        }
    }

    /// Where what comes waits for it.
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.seat.mailbox
    }

    /// Whose feed it is.
    pub(super) fn reader(&self) -> &Reader {
        &self.seat.reader
    }

    /// Puts rows that were read, of at most `limit`, behind the backlog.
    fn append(&mut self, rows: &[FeedItem], limit: usize) {
        for row in rows {
            if row.seq != self.cursor + 1 {
                // What lies between has been removed.
                self.resync(row.seq - 1);
            }
            self.backlog.push_back(News::row(row.seq, to_text(row)));
            self.cursor = row.seq;
        }
        self.is_behind = rows.len() >= limit;
        if !self.is_behind && self.cursor < self.owed {
            // Not even the last of them is there any more.
            self.resync(self.owed);
        }
    }

    /// Tells the client to fetch the list and go on from `seq`.
    fn resync(&mut self, seq: i64) {
        self.cursor = seq;
        let text = ServerFrame::Resync { seq }.to_text();
        self.backlog.push_back(News::resync(seq, text));
    }
}

/// Reads the feed after a number.
async fn read_on(app: App, reader: Arc<Reader>, after_seq: i64) -> Result<Vec<FeedItem>, Ended> {
    let reading = async {
        let mut conn = app.store.acquire().await?;
        let Reader { tenant_id, user_id } = reader.as_ref();
        store::inbox::feed_after(&mut conn, tenant_id, user_id, after_seq, ROWS_MAX as i64).await
    };
    in_time(reading).await
}

/// Reads where the feed stands, and how many are unread.
async fn read_head(app: &App, reader: &Reader) -> Result<Head, Ended> {
    let reading = async {
        let mut conn = app.store.acquire().await?;
        store::inbox::head(&mut conn, &reader.tenant_id, &reader.user_id).await
    };
    in_time(reading).await
}

/// A connection whose other end has vanished never answers.
async fn in_time<T>(reading: impl Future<Output = Result<T, StoreError>>) -> Result<T, Ended> {
    let read = timeout(READ_MAX, reading).await;
    let read = read.map_err(|elapsed| {
        warn!(error = %elapsed, "a feed could not be read");
        Unanswered
    })?;
    Ok(read?)
}

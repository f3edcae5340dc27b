//! Turns what is committed to feeds into news for the followers connected here.
//!
//! A wake-up names feeds by a short hash, so it says nothing about anybody; a false match costs one
//! read. Below the wake-ups lies a poll, spread over its interval: what is correct never depends on
//! a notification. One read serves all feeds concerned, and each row is written as text once,
//! whatever number of followers it goes to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use chrono::SecondsFormat;
use domain::{FeedNews, TenantId, UserId};
use store::following::{Changed, MarksPosition, Standing};
use store::inbox::{FeedItem, FeedPosition};
use store::{Store, StoreError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::frame::{NotificationFrame, ServerFrame};
use super::hub::{Hub, Reader, Told};
use super::mailbox::News;

/// Feeds looked at in one statement.
const FEEDS_MAX: usize = 1000;

/// Rows of one feed read in one statement; a feed with more is read again at once.
pub(super) const ROWS_MAX: usize = 200;

/// Pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long reading feeds may take before it is begun anew: a connection whose other end has vanished
/// never answers, and this task serves every follower.
pub(super) const READ_MAX: Duration = Duration::from_secs(15);

/// Reads feeds and hands their rows to the hub, until `closing`.
pub(crate) async fn run(
    store: Store,
    hub: Hub,
    mut wake_ups: Receiver<Arc<str>>,
    poll_interval: Duration,
    closing: CancellationToken,
) {
    let feed = Feed { store, hub };
    let mut round = Round::new(poll_interval);
    let mut is_deaf = false;
    loop {
        let work = tokio::select! {
            () = closing.cancelled() => return,
            () = sleep_until(round.next_at) => None,
            wake_up = wake_ups.recv(), if !is_deaf => match wake_up {
                Ok(tokens) => gather(&tokens, &mut wake_ups),
                Err(RecvError::Lagged(_)) => None,
                // Nobody listens for us any more; polling goes on.
                Err(RecvError::Closed) => {
                    is_deaf = true;
                    continue;
                }
            },
        };
        let reading = async {
            match &work {
                Some(wanted) => feed.follow_up(wanted).await,
                // Either a part of them is due, or somebody said that all may have news.
                None if Instant::now() >= round.next_at => feed.poll(&mut round).await,
                None => feed.poll_all().await,
            }
        };
        let error = match timeout(READ_MAX, reading).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => queue::describe(&error),
            Err(elapsed) => elapsed.to_string(),
        };
        warn!(error, "feeds could not be read");
        tokio::select! {
            () = closing.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
        if work.is_some() {
            // What was named is not known any more.
            round.begin_now();
        }
    }
}

/// Which feeds may have which news.
#[derive(Debug, Default)]
struct Wanted {
    arrivals: HashSet<u32>,
    marks: HashSet<u32>,
}

/// Joins a wake-up with those already waiting behind it; `None` means everybody.
fn gather(first: &str, wake_ups: &mut Receiver<Arc<str>>) -> Option<Wanted> {
    let mut wanted = Wanted::default();
    let mut next: Option<Arc<str>> = Some(Arc::from(first));
    while let Some(payload) = next {
        if payload.as_ref() == queue::EVERYTHING {
            return None;
        }
        for token in payload.split(',') {
            match FeedNews::parse(token) {
                Some((FeedNews::Arrival, hash)) => wanted.arrivals.insert(hash),
                Some((FeedNews::Mark, hash)) => wanted.marks.insert(hash),
                // From a later version, perhaps; the poll sees what it meant.
                None => false,
            };
        }
        next = match wake_ups.try_recv() {
            Ok(payload) => Some(payload),
            Err(TryRecvError::Lagged(_)) => return None,
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        };
    }
    Some(wanted)
}

/// One round of the poll through all feeds followed here, a part at a time.
struct Round {
    interval: Duration,
    next_at: Instant,
    /// The last feed that was looked at; `None` begins anew.
    after: Option<Arc<Reader>>,
}

impl Round {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            next_at: Instant::now() + interval,
            after: None,
        }
    }

    fn begin_now(&mut self) {
        self.after = None;
        self.next_at = Instant::now();
    }

    /// Notes how far it came, of how many.
    fn went_to(&mut self, last: Option<Arc<Reader>>, feeds: usize) {
        self.after = last;
        let parts = feeds.div_ceil(FEEDS_MAX).max(1) as u32;
        self.next_at = Instant::now() + self.interval / parts;
    }
}

struct Feed {
    store: Store,
    hub: Hub,
}

impl Feed {
    /// Reads what wake-ups have announced.
    async fn follow_up(&self, wanted: &Wanted) -> Result<(), StoreError> {
        let meant = |hashes: &HashSet<u32>| -> Vec<(Arc<Reader>, Told)> {
            let meant = hashes.iter().map(|hash| self.hub.meant_by(*hash));
            meant.flatten().collect()
        };
        self.read_arrivals(meant(&wanted.arrivals)).await?;
        self.read_marks(meant(&wanted.marks)).await
    }

    /// Looks at the next part of all feeds.
    async fn poll(&self, round: &mut Round) -> Result<(), StoreError> {
        let part = self.hub.next_after(round.after.as_ref(), FEEDS_MAX);
        let is_last = part.len() < FEEDS_MAX;
        let last = part.last().map(|(reader, _)| Arc::clone(reader));
        self.look_at(part).await?;
        round.went_to(last.filter(|_| !is_last), self.hub.feeds());
        Ok(())
    }

    /// Looks at all feeds.
    async fn poll_all(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let part = self.hub.next_after(after.as_ref(), FEEDS_MAX);
            let Some((last, _)) = part.last() else {
                return Ok(());
            };
            after = Some(Arc::clone(last));
            self.look_at(part).await?;
        }
    }

    /// Reads where feeds stand, and what is new in those that went on.
    async fn look_at(&self, part: Vec<(Arc<Reader>, Option<Told>)>) -> Result<(), StoreError> {
        let begun: HashMap<Arc<Reader>, Told> = part
            .into_iter()
            .filter_map(|(reader, told)| Some((reader, told?)))
            .collect();
        if begun.is_empty() {
            return Ok(());
        }
        let feeds: Vec<(TenantId, UserId)> = begun
            .keys()
            .map(|reader| (reader.tenant_id.clone(), reader.user_id.clone()))
            .collect();
        let mut conn = self.store.acquire().await?;
        let standings = store::following::standings(&mut conn, &feeds).await?;
        drop(conn);
        let (mut arrivals, mut marks) = (Vec::new(), Vec::new());
        let mut found: HashSet<Arc<Reader>> = HashSet::new();
        for standing in standings {
            let Some((reader, told)) = begun.get_key_value(&reader_of(&standing)) else {
                continue;
            };
            found.insert(Arc::clone(reader));
            if standing.seq < told.seq {
                let (seq, marks) = (standing.seq, standing.marks);
                self.begin_anew(reader, Told { seq, marks });
                continue;
            }
            if standing.seq > told.seq {
                arrivals.push((Arc::clone(reader), *told));
            }
            if standing.marks > told.marks {
                marks.push((Arc::clone(reader), *told));
            }
        }
        // Of whom nothing is known, nothing was ever told, or they were erased meanwhile.
        let unknown = begun.iter().filter(|(reader, _)| !found.contains(*reader));
        for (reader, _) in unknown.filter(|(_, told)| told.seq > 0) {
            self.begin_anew(reader, Told { seq: 0, marks: 0 });
        }
        self.read_arrivals(arrivals).await?;
        self.read_marks(marks).await
    }

    /// Lets a feed begin anew whose numbers have: an erased user is told things again from one on.
    fn begin_anew(&self, reader: &Reader, told: Told) {
        let seq = told.seq;
        let news = News::resync(seq, ServerFrame::Resync { seq }.to_text());
        self.hub.begin_anew(reader, told, &news);
    }

    /// Reads feeds from where the hub stands to their ends.
    async fn read_arrivals(&self, feeds: Vec<(Arc<Reader>, Told)>) -> Result<(), StoreError> {
        let mut positions: Vec<FeedPosition> = feeds
            .into_iter()
            .map(|(reader, told)| FeedPosition {
                tenant_id: reader.tenant_id.clone(),
                user_id: reader.user_id.clone(),
                after_seq: told.seq,
            })
            .collect();
        while !positions.is_empty() {
            let mut unfinished = Vec::new();
            for chunk in positions.chunks(FEEDS_MAX) {
                let mut conn = self.store.acquire().await?;
                let limit = ROWS_MAX as i64;
                let rows = store::inbox::feed_after_many(&mut conn, chunk, limit).await?;
                drop(conn);
                for feed in rows.chunk_by(is_same_feed) {
                    unfinished.extend(self.hand_out(feed));
                }
            }
            positions = unfinished;
        }
        Ok(())
    }

    /// Hands out the rows of one feed, and answers where to go on when there may be more.
    fn hand_out(&self, feed: &[FeedItem]) -> Option<FeedPosition> {
        let last = feed.last()?;
        let reader = Reader {
            tenant_id: last.tenant_id.clone(),
            user_id: last.user_id.clone(),
        };
        for row in feed {
            let news = News::row(row.seq, to_text(row));
            self.hub.arrived(&reader, row.seq, &news);
        }
        (feed.len() >= ROWS_MAX).then_some(FeedPosition {
            tenant_id: reader.tenant_id,
            user_id: reader.user_id,
            after_seq: last.seq,
        })
    }

    /// Reads what was marked in feeds since the hub last told.
    async fn read_marks(&self, feeds: Vec<(Arc<Reader>, Told)>) -> Result<(), StoreError> {
        let positions: Vec<MarksPosition> = feeds
            .into_iter()
            .map(|(reader, told)| MarksPosition {
                tenant_id: reader.tenant_id.clone(),
                user_id: reader.user_id.clone(),
                after: told.marks,
            })
            .collect();
        for chunk in positions.chunks(FEEDS_MAX) {
            let mut conn = self.store.acquire().await?;
            let changes = store::following::changes_after(&mut conn, chunk).await?;
            drop(conn);
            // Rows that are in the count of what is unread are told before it: a client that counts
            // would count them twice.
            let behind = changes.iter().filter_map(|changed| {
                let (reader, told) = self.hub.told(&reader_of(&changed.standing))?;
                (changed.standing.seq > told.seq).then_some((reader, told))
            });
            self.read_arrivals(behind.collect()).await?;
            for changed in changes {
                let reader = reader_of(&changed.standing);
                let news = marks_of(&changed);
                self.hub.marked(&reader, changed.standing.marks, &news);
            }
        }
        Ok(())
    }
}

fn reader_of(standing: &Standing) -> Reader {
    Reader {
        tenant_id: standing.tenant_id.clone(),
        user_id: standing.user_id.clone(),
    }
}

fn is_same_feed(one: &FeedItem, other: &FeedItem) -> bool {
    one.user_id == other.user_id && one.tenant_id == other.tenant_id
}

/// What is said of marks: which were read, and if there was more, that a look at the list is due.
fn marks_of(changed: &Changed) -> Vec<News> {
    let unread = changed.standing.unread;
    let frame = |ids| News::mark(unread, ServerFrame::Read { ids, unread }.to_text());
    let mut news = Vec::new();
    if !changed.read.is_empty() {
        news.push(frame(changed.read.as_slice()));
    }
    if changed.is_altered || changed.read.is_empty() {
        news.push(frame(&[]));
    }
    news
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

//! What waits for one follower: bounded, and nothing at all while it is idle.
//!
//! A channel would allocate its first block at once, which is a kilobyte and a half for each of ten
//! thousand sockets that mostly wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

/// Frames whose room is kept when all have been taken.
const KEPT: usize = 8;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A row of the feed.
    Row,
    /// A gap that cannot be filled.
    Resync,
    /// Something was marked.
    Mark,
}

/// A frame for a follower, already written as text and shared by all it goes to.
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub(crate) kind: Kind,
    /// Where it leaves the feed; of a mark, how many are unread.
    pub(crate) seq: i64,
    pub(crate) text: Utf8Bytes,
}

impl News {
    pub(crate) fn row(seq: i64, text: Utf8Bytes) -> Self {
        let kind = Kind::Row;
        Self { kind, seq, text }
    }

    pub(crate) fn resync(seq: i64, text: Utf8Bytes) -> Self {
        let kind = Kind::Resync;
        Self { kind, seq, text }
    }

    pub(crate) fn mark(unread: i64, text: Utf8Bytes) -> Self {
        Self {
            kind: Kind::Mark,
            seq: unread,
            text,
        }
    }
}

/// More came than there was room for, and all of it is gone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more came than there was room for")]
pub(crate) struct Overflown;

#[derive(Debug)]
pub(crate) struct Mailbox {
    capacity: usize,
    inside: Mutex<Inside>,
    /// Somebody has put something in. One task waits for it at a time.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: VecDeque<News>,
    is_overflown: bool,
}

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inside: Mutex::default(),
            filled: Notify::new(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside
            .lock()
            .expect("nothing panics while it holds a mailbox")
    }

    /// Puts a frame in; one too many, and all are thrown away until that was noticed.
    pub(crate) fn put(&self, news: News) {
        let mut inside = self.inside();
        if inside.is_overflown {
            return;
        }
        if inside.waiting.len() >= self.capacity {
            inside.is_overflown = true;
            inside.waiting = VecDeque::new();
        } else {
            inside.waiting.push_back(news);
        }
        drop(inside);
        self.filled.notify_one();
    }

    /// Takes the next frame out, or waits for one. A wait that is given up loses nothing. After an
    /// error it begins anew.
    pub(crate) async fn take(&self) -> Result<News, Overflown> {
        loop {
            {
                let mut inside = self.inside();
                if std::mem::take(&mut inside.is_overflown) {
                    return Err(Overflown);
                }
                if let Some(news) = inside.waiting.pop_front() {
                    if inside.waiting.is_empty() && inside.waiting.capacity() > KEPT {
                        inside.waiting = VecDeque::new();
                    }
                    return Ok(news);
                }
            }
            self.filled.notified().await;
        }
    }

    /// Waits until it has overflown.
    pub(crate) async fn overflown(&self) {
        while !self.inside().is_overflown {
            self.filled.notified().await;
        }
    }
}

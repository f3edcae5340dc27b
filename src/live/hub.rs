//! Who is connected here, and how a frame reaches all of a user's sockets.
//!
//! A user may have several sockets; each is told everything. The hub hands out frames and never
//! waits: a socket whose buffer is full is marked slow and closes itself with 4408. It decides
//! nothing about order: every session checks `seq` itself and fetches what it missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ws::Utf8Bytes;
use domain::{NotificationId, TenantId, UserId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A user within a tenant: whose feed it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reader {
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
}

/// What a session hears from the hub.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// A row of the feed, already written as text.
    Arrived { seq: i64, text: Utf8Bytes },
    /// Some were marked as read.
    Read {
        ids: Arc<[NotificationId]>,
        unread: i64,
    },
}

/// A session's place in the hub; leaving it is dropping this.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Hub,
    reader: Reader,
    number: u64,
    pub(crate) news: mpsc::Receiver<News>,
    /// Cancelled when the buffer was full: the reader is too slow.
    pub(crate) slow: CancellationToken,
}

/// Why a socket finds no seat.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sockets are open")]
pub(crate) struct TooMany;

/// How many sockets there may be; 0 leaves it open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) send_buffer: usize,
    pub(crate) sockets_max: usize,
    pub(crate) sockets_per_user_max: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Hub {
    limits: Limits,
    rooms: Arc<Mutex<Rooms>>,
}

#[derive(Debug, Default)]
struct Rooms {
    by_reader: HashMap<Reader, Room>,
    sockets: usize,
    /// Numbers the seats; never reused.
    next_number: u64,
}

/// One user's sockets.
#[derive(Debug, Default)]
struct Room {
    seats: Vec<Occupant>,
    /// The last row handed out here. `None` until a session has read where the feed stands.
    seq: Option<i64>,
}

#[derive(Debug)]
struct Occupant {
    number: u64,
    news: mpsc::Sender<News>,
    slow: CancellationToken,
}

impl Hub {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: Arc::default(),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms
            .lock()
            .expect("nothing panics while it holds the hub's lock")
    }

    /// Takes a seat. From now on nothing is missed; before, the session has to read for itself.
    pub(crate) fn sit_down(&self, reader: Reader) -> Result<Seat, TooMany> {
        let mut guard = self.rooms();
        let rooms = &mut *guard;
        if is_over(rooms.sockets, self.limits.sockets_max) {
            return Err(TooMany);
        }
        let taken = rooms
            .by_reader
            .get(&reader)
            .map_or(0, |room| room.seats.len());
        if is_over(taken, self.limits.sockets_per_user_max) {
            return Err(TooMany);
        }
        let (sender, news) = mpsc::channel(self.limits.send_buffer);
        let slow = CancellationToken::new();
        let number = rooms.next_number;
        rooms.next_number += 1;
        rooms.sockets += 1;
        let occupant = Occupant {
            number,
            news: sender,
            slow: slow.clone(),
        };
        rooms
            .by_reader
            .entry(reader.clone())
            .or_default()
            .seats
            .push(occupant);
        drop(guard);
        Ok(Seat {
            hub: self.clone(),
            reader,
            number,
            news,
            slow,
        })
    }

    /// Lets the feed begin at `seq`, unless it has begun.
    pub(crate) fn begin_at(&self, reader: &Reader, seq: i64) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader) {
            room.seq.get_or_insert(seq);
        }
    }

    /// Where the feed of every user connected here stands, of those `wanted`.
    pub(crate) fn positions(&self, wanted: impl Fn(&Reader) -> bool) -> Vec<(Reader, i64)> {
        let rooms = self.rooms();
        let positions = rooms.by_reader.iter().filter(|(reader, _)| wanted(reader));
        positions
            .filter_map(|(reader, room)| Some((reader.clone(), room.seq?)))
            .collect()
    }

    /// Hands a row of the feed to the user's sockets.
    pub(crate) fn arrived(&self, reader: &Reader, seq: i64, text: Utf8Bytes) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader) {
            room.seq = room.seq.max(Some(seq));
            room.tell(&News::Arrived { seq, text });
        }
    }

    /// Tells the user's sockets what has been read.
    pub(crate) fn read(&self, reader: &Reader, ids: Arc<[NotificationId]>, unread: i64) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader) {
            room.tell(&News::Read { ids, unread });
        }
    }

    fn leave(&self, reader: &Reader, number: u64) {
        let mut rooms = self.rooms();
        let Some(room) = rooms.by_reader.get_mut(reader) else {
            return;
        };
        room.seats.retain(|seat| seat.number != number);
        if room.seats.is_empty() {
            rooms.by_reader.remove(reader);
        }
        rooms.sockets -= 1;
    }
}

impl Room {
    fn tell(&mut self, news: &News) {
        for seat in &self.seats {
            if let Err(mpsc::error::TrySendError::Full(_)) = seat.news.try_send(news.clone()) {
                seat.slow.cancel();
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.reader, self.number);
    }
}

fn is_over(count: usize, max: usize) -> bool {
    max > 0 && count >= max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(send_buffer: usize) -> Hub {
        Hub::new(Limits {
            send_buffer,
            sockets_max: 3,
            sockets_per_user_max: 2,
        })
    }

    fn reader(user: &str) -> Reader {
        Reader {
            tenant_id: TenantId::default(),
            user_id: UserId::from(user),
        }
    }

    fn seq_of(news: News) -> i64 {
        match news {
            News::Arrived { seq, .. } => seq,
            News::Read { .. } => panic!("expected a row of the feed"),
        }
    }

    #[tokio::test]
    async fn every_socket_of_a_user_is_told_and_nobody_else() {
        let hub = hub(8);
        let mut first = hub.sit_down(reader("a")).unwrap();
        let mut second = hub.sit_down(reader("a")).unwrap();
        let mut other = hub.sit_down(reader("b")).unwrap();

        hub.arrived(&reader("a"), 1, "x".into());

        assert_eq!(seq_of(first.news.recv().await.unwrap()), 1);
        assert_eq!(seq_of(second.news.recv().await.unwrap()), 1);
        assert!(other.news.try_recv().is_err());
    }

    #[test]
    fn closing_one_tab_leaves_the_other_connected() {
        let hub = hub(8);
        let first = hub.sit_down(reader("a")).unwrap();
        let mut second = hub.sit_down(reader("a")).unwrap();

        drop(first);
        hub.arrived(&reader("a"), 1, "x".into());

        assert!(second.news.try_recv().is_ok());
        drop(second);
        assert!(hub.positions(|_| true).is_empty());
        assert_eq!(hub.rooms().sockets, 0);
    }

    #[test]
    fn a_full_buffer_marks_its_socket_slow_and_holds_up_nobody() {
        let hub = hub(1);
        let slow = hub.sit_down(reader("a")).unwrap();
        let mut quick = hub.sit_down(reader("a")).unwrap();

        hub.arrived(&reader("a"), 1, "x".into());
        quick.news.try_recv().unwrap();
        hub.arrived(&reader("a"), 2, "y".into());

        assert!(slow.slow.is_cancelled());
        assert!(!quick.slow.is_cancelled());
        assert_eq!(seq_of(quick.news.try_recv().unwrap()), 2);
    }

    #[test]
    fn limits_hold_per_user_and_for_all() {
        let hub = hub(8);
        let _first = hub.sit_down(reader("a")).unwrap();
        let _second = hub.sit_down(reader("a")).unwrap();
        assert_eq!(hub.sit_down(reader("a")).unwrap_err(), TooMany);

        let _third = hub.sit_down(reader("b")).unwrap();
        assert_eq!(hub.sit_down(reader("c")).unwrap_err(), TooMany);
    }

    #[test]
    fn the_feed_of_a_user_begins_where_a_session_found_it() {
        let hub = hub(8);
        let _seat = hub.sit_down(reader("a")).unwrap();
        assert!(hub.positions(|_| true).is_empty());

        hub.begin_at(&reader("a"), 41);
        hub.begin_at(&reader("a"), 50);
        assert_eq!(hub.positions(|_| true), [(reader("a"), 41)]);

        hub.arrived(&reader("a"), 42, "x".into());
        assert_eq!(hub.positions(|_| true), [(reader("a"), 42)]);
    }
}

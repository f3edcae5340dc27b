//! Who is connected here, and how a frame reaches all of a user's followers.
//!
//! A follower is a socket, a stream or a poll; a user may have several, and each is told everything.
//! The hub hands out frames and never waits: a follower whose mailbox is full is marked and ends. It
//! decides nothing about order: every follower checks `seq` itself and fetches what it missed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use domain::{FeedNews, TenantId, UserId, feed_hash};

use super::mailbox::{Mailbox, News};

/// A user within a tenant: whose feed it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reader {
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
}

impl Reader {
    fn hash(&self) -> u32 {
        feed_hash(&self.tenant_id, &self.user_id)
    }

    /// The wake-up that says there is such news in this feed.
    pub(crate) fn token(&self, news: FeedNews) -> String {
        news.token(self.hash())
    }
}

/// Where the feed of somebody connected here stands, as far as the hub has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The last row handed out.
    pub(crate) seq: i64,
    /// The marks that were told.
    pub(crate) marks: i64,
}

/// A follower's place in the hub; leaving it is dropping this.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Hub,
    pub(crate) reader: Arc<Reader>,
    pub(crate) mailbox: Arc<Mailbox>,
}

/// Why a follower finds no seat.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sockets are open")]
pub(crate) struct TooMany;

/// How many followers there may be; 0 leaves it open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Frames that may wait for one of them.
    pub(crate) send_buffer: usize,
    pub(crate) sockets_max: usize,
    pub(crate) sockets_per_user_max: usize,
}

/// What a follower may have missed between reading a feed and beginning to follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) has_rows: bool,
    pub(crate) has_marks: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Hub {
    limits: Limits,
    rooms: Arc<Mutex<Rooms>>,
    crowd: Arc<OnceLock<usize>>,
}

#[derive(Debug, Default)]
struct Rooms {
    /// In order, so that polling goes through them a part at a time.
    by_reader: BTreeMap<Arc<Reader>, Room>,
    /// Whom a wake-up means.
    by_hash: HashMap<u32, Vec<Arc<Reader>>>,
    followers: usize,
}

/// One user's followers.
#[derive(Debug, Default)]
struct Room {
    mailboxes: Vec<Arc<Mailbox>>,
    /// `None` until a follower has read where the feed stands.
    told: Option<Told>,
    /// A wake-up came before that, and found nobody who could be told. It stays until the feed has
    /// gone on here: each who had read by then may have missed it.
    is_woken: bool,
}

impl Hub {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: Arc::default(),
            crowd: Arc::default(),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms
            .lock()
            .expect("nothing panics while it holds the hub's lock")
    }

    /// How many follow here.
    pub(crate) fn followers(&self) -> usize {
        self.rooms().followers
    }

    /// How many followed when the first was sent away because the process stops: the fewer are left,
    /// the more have to be spared.
    pub(crate) fn crowd_at_closing(&self) -> usize {
        // The one who asks has left its seat.
        *self.crowd.get_or_init(|| self.followers() + 1)
    }

    /// Takes a seat. From now on nothing is missed; before, the follower has to read for itself.
    pub(crate) fn sit_down(&self, reader: Reader) -> Result<Seat, TooMany> {
        let mut guard = self.rooms();
        let rooms = &mut *guard;
        if is_over(rooms.followers, self.limits.sockets_max) {
            return Err(TooMany);
        }
        let known = rooms.by_reader.get_key_value(&reader);
        let taken = known.map_or(0, |(_, room)| room.mailboxes.len());
        if is_over(taken, self.limits.sockets_per_user_max) {
            return Err(TooMany);
        }
        let reader = if let Some((reader, _)) = known {
            Arc::clone(reader)
        } else {
            let reader = Arc::new(reader);
            let sharing = rooms.by_hash.entry(reader.hash()).or_default();
            sharing.push(Arc::clone(&reader));
            reader
        };
        let mailbox = Arc::new(Mailbox::new(self.limits.send_buffer));
        let room = rooms.by_reader.entry(Arc::clone(&reader)).or_default();
        room.mailboxes.push(Arc::clone(&mailbox));
        rooms.followers += 1;
        drop(guard);
        Ok(Seat {
            hub: self.clone(),
            reader,
            mailbox,
        })
    }

    /// Lets the feed begin where somebody has found it, unless it has begun. Answers what may have
    /// gone on since: another may have found it further on, and what lies between is told nobody.
    pub(crate) fn begin_at(&self, reader: &Reader, found: Told) -> Since {
        let mut rooms = self.rooms();
        let Some(room) = rooms.by_reader.get_mut(reader) else {
            return Since::default();
        };
        let told = *room.told.get_or_insert(found);
        Since {
            has_rows: room.is_woken || told.seq > found.seq,
            has_marks: told.marks > found.marks,
        }
    }

    /// Begins a feed anew whose numbers have: its user was forgotten meanwhile.
    pub(crate) fn begin_anew(&self, reader: &Reader, told: Told, news: &News) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader) {
            room.told = Some(told);
            room.tell(news);
        }
    }

    /// Where the feeds stand that a wake-up may mean.
    pub(crate) fn meant_by(&self, hash: u32) -> Vec<(Arc<Reader>, Told)> {
        let mut guard = self.rooms();
        let rooms = &mut *guard;
        let mut meant = Vec::new();
        for reader in rooms.by_hash.get(&hash).into_iter().flatten() {
            let Some(room) = rooms.by_reader.get_mut(reader) else {
                continue;
            };
            match room.told {
                Some(told) => meant.push((Arc::clone(reader), told)),
                None => room.is_woken = true,
            }
        }
        meant
    }

    /// Where a feed stands that is followed here.
    pub(crate) fn told(&self, reader: &Reader) -> Option<(Arc<Reader>, Told)> {
        let rooms = self.rooms();
        let (reader, room) = rooms.by_reader.get_key_value(reader)?;
        Some((Arc::clone(reader), room.told?))
    }

    /// The next feeds after one, in their order, up to `limit`, and where they stand.
    pub(crate) fn next_after(
        &self,
        after: Option<&Arc<Reader>>,
        limit: usize,
    ) -> Vec<(Arc<Reader>, Option<Told>)> {
        let rooms = self.rooms();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = rooms
            .by_reader
            .range::<Arc<Reader>, _>((from, Bound::Unbounded));
        next.take(limit)
            .map(|(reader, room)| (Arc::clone(reader), room.told))
            .collect()
    }

    /// How many feeds are followed here.
    pub(crate) fn feeds(&self) -> usize {
        self.rooms().by_reader.len()
    }

    /// Hands a row of the feed to the user's followers.
    pub(crate) fn arrived(&self, reader: &Reader, seq: i64, news: &News) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader) {
            if let Some(told) = &mut room.told {
                told.seq = told.seq.max(seq);
            }
            room.is_woken = false;
            room.tell(news);
        }
    }

    /// Tells the user's followers what was marked, unless they have heard of it.
    pub(crate) fn marked(&self, reader: &Reader, marks: i64, news: &[News]) {
        if let Some(room) = self.rooms().by_reader.get_mut(reader)
            && let Some(told) = &mut room.told
            && told.marks < marks
        {
            told.marks = marks;
            for news in news {
                room.tell(news);
            }
        }
    }

    fn leave(&self, reader: &Arc<Reader>, mailbox: &Arc<Mailbox>) {
        let mut guard = self.rooms();
        let rooms = &mut *guard;
        let Some(room) = rooms.by_reader.get_mut(reader) else {
            return;
        };
        room.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        rooms.followers -= 1;
        if !room.mailboxes.is_empty() {
            return;
        }
        rooms.by_reader.remove(reader);
        let hash = reader.hash();
        if let Some(sharing) = rooms.by_hash.get_mut(&hash) {
            sharing.retain(|other| other != reader);
            if sharing.is_empty() {
                rooms.by_hash.remove(&hash);
            }
        }
    }
}

impl Room {
    fn tell(&self, news: &News) {
        for mailbox in &self.mailboxes {
            mailbox.put(news.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.reader, &self.mailbox);
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

    fn row(seq: i64) -> News {
        News::row(seq, "x".into())
    }

    async fn next_seq(seat: &Seat) -> i64 {
        seat.mailbox.take().await.unwrap().seq
    }

    #[tokio::test]
    async fn every_follower_of_a_user_is_told_and_nobody_else() {
        let hub = hub(8);
        let first = hub.sit_down(reader("a")).unwrap();
        let second = hub.sit_down(reader("a")).unwrap();
        let other = hub.sit_down(reader("b")).unwrap();

        hub.arrived(&reader("a"), 1, &row(1));
        hub.arrived(&reader("b"), 7, &row(7));

        assert_eq!(next_seq(&first).await, 1);
        assert_eq!(next_seq(&second).await, 1);
        assert_eq!(next_seq(&other).await, 7);
    }

    #[tokio::test]
    async fn closing_one_tab_leaves_the_other_connected_and_the_last_leaves_nothing() {
        let hub = hub(8);
        let first = hub.sit_down(reader("a")).unwrap();
        let second = hub.sit_down(reader("a")).unwrap();

        drop(first);
        hub.arrived(&reader("a"), 1, &row(1));

        assert_eq!(next_seq(&second).await, 1);
        drop(second);
        let rooms = hub.rooms();
        assert!(rooms.by_reader.is_empty() && rooms.by_hash.is_empty());
        assert_eq!(rooms.followers, 0);
    }

    #[tokio::test]
    async fn a_full_mailbox_ends_its_follower_and_holds_up_nobody() {
        let hub = hub(1);
        let slow = hub.sit_down(reader("a")).unwrap();
        let quick = hub.sit_down(reader("a")).unwrap();

        hub.arrived(&reader("a"), 1, &row(1));
        assert_eq!(next_seq(&quick).await, 1);
        hub.arrived(&reader("a"), 2, &row(2));

        slow.mailbox.overflown().await;
        assert!(slow.mailbox.take().await.is_err());
        assert_eq!(next_seq(&quick).await, 2);
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
    fn a_feed_begins_where_it_was_found_and_goes_on_with_what_is_told() {
        let hub = hub(8);
        let _seat = hub.sit_down(reader("a")).unwrap();
        let hash = reader("a").hash();
        // Woken before anybody knew where it stands: whoever finds out looks once more.
        assert!(hub.meant_by(hash).is_empty());

        let found = |seq| Told { seq, marks: 3 };
        assert!(hub.begin_at(&reader("a"), found(41)).has_rows);
        assert!(hub.begin_at(&reader("a"), found(41)).has_rows);
        assert_eq!(hub.meant_by(hash), [(Arc::new(reader("a")), found(41))]);

        hub.arrived(&reader("a"), 42, &row(42));
        assert_eq!(hub.meant_by(hash)[0].1, found(42));
        assert_eq!(hub.begin_at(&reader("a"), found(42)), Since::default());
    }

    /// Two tabs greet at once, and the one that found the feed further on begins first.
    #[test]
    fn whoever_found_a_feed_further_back_than_another_has_missed_something() {
        let hub = hub(8);
        let _seats = [(); 2].map(|()| hub.sit_down(reader("a")).unwrap());
        let told = |seq, marks| Told { seq, marks };

        assert_eq!(hub.begin_at(&reader("a"), told(45, 4)), Since::default());
        let since = hub.begin_at(&reader("a"), told(41, 3));

        assert!(since.has_rows && since.has_marks);
    }

    #[tokio::test]
    async fn marks_are_told_once() {
        let hub = hub(8);
        let seat = hub.sit_down(reader("a")).unwrap();
        hub.begin_at(&reader("a"), Told { seq: 0, marks: 3 });

        for marks in [3, 4, 4] {
            hub.marked(&reader("a"), marks, &[News::mark(0, "m".into())]);
        }
        hub.arrived(&reader("a"), 1, &row(1));

        let told = seat.mailbox.take().await.unwrap();
        assert_eq!(told.text.as_str(), "m");
        assert_eq!(next_seq(&seat).await, 1);
    }

    #[test]
    fn feeds_are_gone_through_a_part_at_a_time() {
        let hub = Hub::new(Limits {
            send_buffer: 8,
            sockets_max: 0,
            sockets_per_user_max: 0,
        });
        let users = ["a", "b", "c", "d", "e"];
        let _seats: Vec<_> = users.map(|user| hub.sit_down(reader(user)).unwrap()).into();

        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let part = hub.next_after(after.as_ref(), 2);
            assert!(part.len() <= 2);
            let Some((last, _)) = part.last() else { break };
            after = Some(Arc::clone(last));
            seen.extend(part.iter().map(|(reader, _)| reader.user_id.to_string()));
        }
        assert_eq!(seen, users);
    }
}

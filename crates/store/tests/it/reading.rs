//! Seen, read, archived and back: against a plain model, and by many at once.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, NotificationId, TenantId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Row;
use store::Effect;
use store::effect::InboxArrival;
use store::feed_pruning::prune;
use store::reading::{Ack, Mark, Marked, ack, list_unread, mark};
use store::settlement::{Limits, apply_within};

use crate::kit::{Kit, rendered};

/// Few enough that the model meets the limit all the time.
const LIMITS: Limits = Limits { unread_max: 6 };

const MARKS: [Mark; 5] = [
    Mark::Seen,
    Mark::Read,
    Mark::Unread,
    Mark::Archived,
    Mark::Unarchived,
];

fn tenant() -> TenantId {
    TenantId::default()
}

/// An in-app delivery that is ready to arrive.
async fn ready(kit: &Kit, user: &str) -> (NotificationId, Effect) {
    let (id, deliveries) = kit.planned(user, &[Channel::InApp]).await;
    kit.settle(&[rendered(deliveries[0], "Hi")]).await;
    (id, kit.arrival(id, deliveries[0], user))
}

async fn settle(kit: &Kit, effects: &[Effect]) {
    let mut tx = kit.store.begin().await.unwrap();
    apply_within(&mut tx, effects, LIMITS).await.unwrap();
    tx.commit().await.unwrap();
}

async fn marked(kit: &Kit, user: &str, ids: &[NotificationId], what: Mark) -> Marked {
    let mut tx = kit.store.begin().await.unwrap();
    let marked = mark(&mut tx, &tenant(), &user.into(), ids, what, kit.now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    marked
}

async fn acked(kit: &Kit, user: &str, what: Ack) -> Marked {
    let mut tx = kit.store.begin().await.unwrap();
    let acked = ack(&mut tx, &tenant(), &user.into(), &what, kit.now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    acked
}

async fn unread(kit: &Kit, user: &str) -> i64 {
    let mut connection = kit.store.acquire().await.unwrap();
    store::inbox::head(&mut connection, &tenant(), &user.into())
        .await
        .unwrap()
        .unread
}

async fn unread_ids(kit: &Kit, user: &str) -> Vec<NotificationId> {
    let mut connection = kit.store.acquire().await.unwrap();
    list_unread(&mut connection, &tenant(), &user.into(), 1000)
        .await
        .unwrap()
}

/// An entry as the model has it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    id: NotificationId,
    at: DateTime<Utc>,
    seq: i64,
    is_seen: bool,
    is_read: bool,
    is_archived: bool,
}

#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    last: i64,
}

impl Model {
    fn arrive(&mut self, id: NotificationId, at: DateTime<Utc>) {
        self.last += 1;
        self.entries.push(Entry {
            id,
            at,
            seq: self.last,
            is_seen: false,
            is_read: false,
            is_archived: false,
        });
    }

    fn trim(&mut self) {
        let excess = self.unread().saturating_sub(LIMITS.unread_max as usize);
        let unread = self.entries.iter_mut().filter(|entry| !entry.is_read);
        for entry in unread.take(excess) {
            (entry.is_read, entry.is_seen) = (true, true);
        }
    }

    fn unread(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.is_read).count()
    }

    /// Answers what was read by it.
    fn mark(&mut self, is_meant: impl Fn(&Entry) -> bool, mark: Mark) -> Vec<NotificationId> {
        let mut read = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| is_meant(entry)) {
            let was_read = entry.is_read;
            match mark {
                Mark::Seen => entry.is_seen = true,
                Mark::Read => (entry.is_seen, entry.is_read) = (true, true),
                Mark::Unread => (entry.is_read, entry.is_archived) = (false, false),
                Mark::Archived => {
                    (entry.is_seen, entry.is_read, entry.is_archived) = (true, true, true);
                }
                Mark::Unarchived => entry.is_archived = false,
            }
            if entry.is_read && !was_read {
                read.push(entry.id);
            }
        }
        read
    }
}

async fn assert_same(kit: &Kit, model: &Model, step: &str) {
    let rows = sqlx::query(
        "select seq, notification_id, seen_at, read_at, archived_at from inbox
         where user_id = 'ada' order by seq",
    )
    .fetch_all(kit.store.pool())
    .await
    .unwrap();
    let is_set = |row: &sqlx::postgres::PgRow, column: &str| {
        row.get::<Option<DateTime<Utc>>, _>(column).is_some()
    };
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            let id: uuid::Uuid = row.get("notification_id");
            (
                (row.get::<i64, _>("seq"), NotificationId::from(id)),
                is_set(row, "seen_at"),
                is_set(row, "read_at"),
                is_set(row, "archived_at"),
            )
        })
        .collect();
    let entries = model.entries.iter().map(|entry| {
        let states = (entry.is_seen, entry.is_read, entry.is_archived);
        ((entry.seq, entry.id), states.0, states.1, states.2)
    });
    assert_eq!(found, entries.collect::<Vec<_>>(), "{step}");
    assert_eq!(unread(kit, "ada").await, model.unread() as i64, "{step}");
    let newest_first = model.entries.iter().rev().filter(|entry| !entry.is_read);
    assert_eq!(
        unread_ids(kit, "ada").await,
        newest_first.map(|entry| entry.id).collect::<Vec<_>>(),
        "{step}"
    );
}

/// One step of anything that can happen to a feed, done to both.
async fn step(kit: &Kit, model: &mut Model, rng: &mut StdRng, number: i64) -> String {
    match rng.random_range(0..10) {
        0..=3 => {
            // Time goes on with the numbers, so that age can decide what is removed.
            let at = kit.now + TimeDelta::minutes(number);
            let mut effects = Vec::new();
            for _ in 0..rng.random_range(1..4) {
                let (id, arrival) = ready(kit, "ada").await;
                let Effect::InboxArrived(arrival) = arrival else {
                    panic!("an arrival is an arrival");
                };
                effects.push(Effect::InboxArrived(InboxArrival { at, ..arrival }));
                model.arrive(id, at);
            }
            settle(kit, &effects).await;
            model.trim();
            format!("{} arrive", effects.len())
        }
        4 | 5 => {
            let seq = rng.random_range(0..=model.last + 1);
            let answer = acked(kit, "ada", Ack::UpTo(seq)).await;
            let read = model.mark(|entry| entry.seq <= seq, Mark::Read);
            assert_eq!((answer.read, answer.unread), (read, model.unread() as i64));
            format!("ack up to {seq}")
        }
        6 => {
            let cutoff = kit.now + TimeDelta::minutes(number - rng.random_range(5..25));
            let mut tx = kit.store.begin().await.unwrap();
            prune(&mut tx, None, cutoff).await.unwrap();
            tx.commit().await.unwrap();
            model.entries.retain(|entry| entry.at >= cutoff);
            format!("prune before {cutoff}")
        }
        _ => {
            let mark = MARKS[rng.random_range(0..MARKS.len())];
            let mut ids: Vec<_> = model.entries.iter().map(|entry| entry.id).collect();
            ids.retain(|_| rng.random_bool(0.3));
            let answer = marked(kit, "ada", &ids, mark).await;
            let read = model.mark(|entry| ids.contains(&entry.id), mark);
            assert_eq!((answer.read, answer.unread), (read, model.unread() as i64));
            format!("mark {} as {mark:?}", ids.len())
        }
    }
}

#[tokio::test]
async fn any_sequence_of_operations_leaves_what_a_plain_model_says() {
    for seed in 0..5 {
        let kit = Kit::create().await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model = Model::default();
        for number in 0..60 {
            let done = step(&kit, &mut model, &mut rng, number).await;
            assert_same(&kit, &model, &format!("seed {seed}, step {number}: {done}")).await;
        }
    }
}

/// Tabs that mark at random, while workers go on delivering to the same two users.
#[tokio::test(flavor = "multi_thread")]
async fn the_unread_count_is_exact_whoever_marks_at_once() {
    let kit = Arc::new(Kit::create().await);
    let users = ["ada", "bob"];
    let mut known = Vec::new();
    for user in users {
        let (mut ids, mut effects) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let (id, arrival) = ready(&kit, user).await;
            ids.push(id);
            effects.push(arrival);
        }
        kit.settle(&effects).await;
        known.push(ids);
    }
    let known = Arc::new(known);
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..8 {
        let (kit, known) = (Arc::clone(&kit), Arc::clone(&known));
        tasks.spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..15 {
                let whose = rng.random_range(0..users.len());
                let ids: Vec<_> = (0..3)
                    .map(|_| known[whose][rng.random_range(0..20)])
                    .collect();
                match seed {
                    0 | 1 => {
                        let (_, first) = ready(&kit, users[0]).await;
                        let (_, second) = ready(&kit, users[1]).await;
                        kit.settle(&[first, second]).await;
                    }
                    2 => {
                        acked(&kit, users[whose], Ack::UpTo(rng.random_range(1..40))).await;
                    }
                    _ => {
                        let mark = MARKS[rng.random_range(0..MARKS.len())];
                        marked(&kit, users[whose], &ids, mark).await;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }

    for user in users {
        let rows = unread_ids(&kit, user).await.len() as i64;
        assert_eq!(unread(&kit, user).await, rows, "{user}");
        let read_below: i64 = sqlx::query_scalar(
            "select count(*) from inbox join inbox_heads as head using (tenant_id, user_id)
             where user_id = $1 and inbox.seq <= head.read_seq and read_at is null",
        )
        .bind(user)
        .fetch_one(kit.store.pool())
        .await
        .unwrap();
        assert_eq!(read_below, 0, "{user}");
    }
}

#[tokio::test]
async fn a_state_includes_those_before_it_and_unread_comes_back_into_the_list() {
    let kit = Kit::create().await;
    let id = kit.arrived("ada", "Hi").await;
    let states = async || {
        let delivery = kit.deliveries(id).await.remove(0);
        let reading = delivery.reading;
        [reading.seen_at, reading.read_at, reading.archived_at].map(|at| at.is_some())
    };

    marked(&kit, "ada", &[id], Mark::Seen).await;
    assert_eq!(states().await, [true, false, false]);
    assert_eq!(unread(&kit, "ada").await, 1);

    let archived = marked(&kit, "ada", &[id], Mark::Archived).await;
    assert_eq!(states().await, [true, true, true]);
    assert_eq!((archived.read, archived.unread), (vec![id], 0));

    marked(&kit, "ada", &[id], Mark::Unarchived).await;
    assert_eq!(states().await, [true, true, false]);

    marked(&kit, "ada", &[id], Mark::Archived).await;
    let back = marked(&kit, "ada", &[id], Mark::Unread).await;
    assert_eq!(states().await, [true, false, false]);
    assert_eq!((back.changed, back.unread), (vec![id], 1));
}

#[tokio::test]
async fn nobody_marks_for_another() {
    let kit = Kit::create().await;
    let id = kit.arrived("ada", "Hi").await;
    kit.arrived("bob", "Hi").await;

    for mark in MARKS {
        let foreign = marked(&kit, "bob", &[id], mark).await;
        assert_eq!((foreign.changed, foreign.unread), (vec![], 1), "{mark:?}");
        let stranger = marked(&kit, "eve", &[id], mark).await;
        assert_eq!(stranger, Marked::default());
    }
    assert_eq!(unread(&kit, "ada").await, 1);
}

#[tokio::test]
async fn feeds_are_pruned_in_turns_and_a_long_one_in_parts() {
    let kit = Kit::create().await;
    for user in ["ada", "bob", "eve"] {
        kit.arrived(user, "Hi").await;
    }
    let mut effects = Vec::new();
    for _ in 0..250 {
        effects.push(ready(&kit, "bob").await.1);
    }
    kit.settle(&effects).await;
    let pruned = async |cutoff: DateTime<Utc>| {
        let mut tx = kit.store.begin().await.unwrap();
        let pruned = prune(&mut tx, None, cutoff).await.unwrap();
        tx.commit().await.unwrap();
        (pruned.removed, pruned.is_unfinished, pruned.next)
    };

    assert_eq!(pruned(kit.now).await, (0, false, None));
    let later = kit.now + TimeDelta::seconds(1);
    assert_eq!(pruned(later).await, (202, true, None));
    assert_eq!(pruned(later).await, (51, false, None));
    assert_eq!(unread(&kit, "bob").await, 0);
    let next = kit.arrived("bob", "after").await;
    assert_eq!(unread_ids(&kit, "bob").await, [next]);
    assert_eq!(kit.seqs("bob").await, [252]);
}

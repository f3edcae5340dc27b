//! Digests in settlements: every item is in one digest, and every digest closes once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use domain::{
    Channel, DigestId, DigestKey, EventId, Priority, RuleId, Severity, Telling, TenantId,
};
use store::digests::{Digest, DigestStatus, cancel_digest, list_digests, list_items, list_to_tell};
use store::effect::{DigestJoin, Effect};
use store::events::{NewEvent, insert_events};
use store::settlement::apply;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::kit::Kit;

fn rule() -> RuleId {
    Uuid::from_u128(7).into()
}

pub(crate) fn key(user: &str, batch_key: &str) -> DigestKey {
    DigestKey {
        tenant_id: TenantId::default(),
        user_id: user.into(),
        rule_id: Some(rule()),
        action: 0,
        batch_key: batch_key.to_owned(),
    }
}

impl Kit {
    pub(crate) fn join(
        &self,
        key: &DigestKey,
        source_id: Uuid,
        size_max: Option<u32>,
    ) -> DigestJoin {
        DigestJoin {
            key: key.clone(),
            source_id,
            subject_id: source_id,
            digest_id: DigestId::at(self.now),
            closes_at: self.now + TimeDelta::minutes(5),
            size_max,
            priority: Priority::Normal,
            severity: None,
            telling: Telling::default(),
            at: self.now,
        }
    }

    /// A new item of a digest without a size.
    pub(crate) fn item(&self, key: &DigestKey) -> (Uuid, Effect) {
        let id = EventId::at(self.now).as_uuid();
        (id, joined(self.join(key, id, None)))
    }

    pub(crate) async fn digest(&self, id: DigestId) -> Digest {
        let mut db = self.store.acquire().await.unwrap();
        let mut found = list_digests(&mut db, &[id]).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// All digests with their items, in the order in which they were opened.
    pub(crate) async fn digests(&self) -> Vec<(Digest, Vec<Uuid>)> {
        let mut db = self.store.acquire().await.unwrap();
        let rows: Vec<(Uuid, Uuid)> =
            sqlx::query_as("select digest_id, source_id from digest_items order by 1, 2")
                .fetch_all(&mut *db)
                .await
                .unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar("select digest_id from digests order by 1")
            .fetch_all(&mut *db)
            .await
            .unwrap();
        let mut items: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for (digest_id, source_id) in rows {
            items.entry(digest_id).or_default().push(source_id);
        }
        let ids: Vec<_> = ids.into_iter().map(DigestId::from).collect();
        let digests = list_digests(&mut db, &ids).await.unwrap().into_iter();
        let mut digests: Vec<_> = digests
            .map(|digest| {
                let items = items.remove(&digest.id.as_uuid()).unwrap_or_default();
                (digest, items)
            })
            .collect();
        assert!(items.is_empty(), "items of no digest: {items:?}");
        digests.sort_by_key(|(digest, _)| digest.id);
        digests
    }

    pub(crate) async fn event(&self, payload: serde_json::Value) -> EventId {
        let id = EventId::at(self.now);
        let row = NewEvent {
            id,
            tenant_id: TenantId::default(),
            created_at: self.now,
            occurred_at: None,
            event_id: id.to_string(),
            producer: String::new(),
            kind: "order.filled".into(),
            severity: None,
            dedupe_key: None,
            payload,
        };
        let mut db = self.store.acquire().await.unwrap();
        insert_events(&mut db, [&row]).await.unwrap();
        id
    }
}

pub(crate) fn joined(join: DigestJoin) -> Effect {
    Effect::DigestJoined(Box::new(join))
}

#[tokio::test]
async fn items_of_one_key_meet_in_one_digest_which_is_opened_once() {
    let kit = Kit::create().await;
    let key = key("ada", "account 7");
    let (first, one) = kit.item(&key);
    let (second, two) = kit.item(&key);
    let (third, three) = kit.item(&key);

    // Later items may be settled first.
    let applied = kit.settle(&[three, one]).await;
    let again = kit.settle(&[two]).await;

    assert_eq!((applied.opened.len(), applied.closed.len()), (1, 0));
    assert_eq!(applied.opened[0].closes_at, kit.now + TimeDelta::minutes(5));
    assert_eq!((again.opened, again.closed), (vec![], vec![]));
    let digests = kit.digests().await;
    assert_eq!(digests.len(), 1);
    let (digest, items) = &digests[0];
    assert_eq!(digest.id, applied.opened[0].digest_id);
    assert_eq!(items, &[first, second, third]);
    assert_eq!((digest.count, digest.status), (3, DigestStatus::Open));
    assert_eq!(digest.key, key);
}

/// Keys are compared whole: `a` in `b` is not `b` in `a`, and an empty one is a key like any other.
#[tokio::test]
async fn every_part_of_a_key_tells_digests_apart() {
    let kit = Kit::create().await;
    let of = |change: fn(&mut DigestKey)| {
        let mut key = key("ada", "eu/1");
        change(&mut key);
        key
    };
    let keys = [
        of(|_| {}),
        of(|key| key.batch_key = "eu".into()),
        of(|key| key.batch_key = "1/eu".into()),
        of(|key| key.batch_key = String::new()),
        of(|key| key.batch_key = "EU/1".into()),
        of(|key| key.batch_key = "eu/1".repeat(10_000)),
        of(|key| key.user_id = "eve".into()),
        of(|key| key.tenant_id = "other".into()),
        of(|key| key.action = 1),
        of(|key| key.rule_id = Some(Uuid::from_u128(8).into())),
        of(|key| key.rule_id = None),
    ];
    let effects: Vec<_> = keys.iter().map(|key| kit.item(key).1).collect();

    let applied = kit.settle(&effects).await;
    let again: Vec<_> = keys.iter().map(|key| kit.item(key).1).collect();
    let second = kit.settle(&again).await;

    assert_eq!(applied.opened.len(), keys.len());
    assert_eq!(second.opened, []);
    let digests = kit.digests().await;
    let found: BTreeSet<_> = digests
        .iter()
        .map(|(digest, _)| digest.key.clone())
        .collect();
    assert_eq!(found, keys.into_iter().collect());
    assert!(digests.iter().all(|(_, items)| items.len() == 2));
}

#[tokio::test]
async fn a_digest_closes_with_the_join_that_fills_it_and_the_next_opens_another() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let sized = |n: usize| -> Vec<Effect> {
        (0..n)
            .map(|_| joined(kit.join(&key, EventId::at(kit.now).as_uuid(), Some(3))))
            .collect()
    };

    let first = kit.settle(&sized(2)).await;
    // Those of one settlement stay together, so there may be more than three.
    let second = kit.settle(&sized(2)).await;
    let third = kit.settle(&sized(1)).await;
    let whole = kit.settle(&sized(2)).await;
    let at_once = kit.settle(&sized(4)).await;

    let turns = |applied: &store::settlement::Applied| {
        let ids = |turns: &[store::settlement::DigestTurn]| -> Vec<_> {
            turns.iter().map(|turn| turn.digest_id).collect()
        };
        (ids(&applied.opened), ids(&applied.closed))
    };
    let id = first.opened[0].digest_id;
    assert_eq!(turns(&first), (vec![id], vec![]));
    assert_eq!(turns(&second), (vec![], vec![id]));
    let next = third.opened[0].digest_id;
    assert_eq!(turns(&whole), (vec![], vec![next]));
    assert_eq!(at_once.opened, [], "opened and closed at once");
    assert_eq!(at_once.closed.len(), 1);
    let digests = kit.digests().await;
    let sizes: Vec<_> = digests.iter().map(|(_, items)| items.len()).collect();
    assert_eq!(sizes, [4, 3, 4]);
    let is_closed = |(digest, _): &(Digest, _)| digest.status == DigestStatus::Closed;
    assert!(digests.iter().all(is_closed));
}

#[tokio::test]
async fn only_who_closes_a_digest_is_told_so_and_nothing_joins_it_any_more() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let (_, one) = kit.item(&key);
    let id = kit.settle(&[one]).await.opened[0].digest_id;
    let close = kit.digest(id).await.close(kit.now);

    // A join that is settled together with the end of the window still belongs to it.
    let (_, two) = kit.item(&key);
    let first = kit.settle(&[close.clone(), two]).await;
    let second = kit.settle(std::slice::from_ref(&close)).await;
    let (_, three) = kit.item(&key);
    let opened = kit.settle(&[three]).await.opened;
    let third = kit.settle(&[close.clone(), close]).await;

    assert_eq!(first.closed.len(), 1);
    assert_eq!(first.closed[0].digest_id, id);
    assert_eq!((second.closed, third.closed), (vec![], vec![]));
    let digests = kit.digests().await;
    let seen: Vec<_> = digests
        .iter()
        .map(|(digest, items)| (digest.id, digest.status, items.len()))
        .collect();
    assert_eq!(
        seen,
        [
            (id, DigestStatus::Closed, 2),
            (opened[0].digest_id, DigestStatus::Open, 1)
        ],
        "and no empty one was left behind"
    );
}

/// Its `batch_flush` is late, or a dead letter: nothing gathers for ever.
#[tokio::test]
async fn a_join_after_the_window_closes_the_digest_that_was_left_open() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let (_, one) = kit.item(&key);
    kit.settle(&[one]).await;
    let late = DigestJoin {
        at: kit.now + TimeDelta::minutes(5),
        ..kit.join(&key, EventId::at(kit.now).as_uuid(), None)
    };

    let applied = kit.settle(&[joined(late)]).await;

    assert_eq!((applied.opened.len(), applied.closed.len()), (0, 1));
    assert_eq!(kit.digests().await[0].1.len(), 2);
}

#[tokio::test]
async fn an_item_that_joins_twice_is_there_once() {
    let kit = Kit::create().await;
    let (id, join) = kit.item(&key("ada", ""));

    kit.settle(&[join.clone(), join.clone()]).await;
    kit.settle(&[join]).await;

    assert_eq!(kit.digests().await[0].1, [id]);
}

#[tokio::test]
async fn the_most_urgent_item_makes_the_digest_so() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let of = |priority, severity| {
        joined(DigestJoin {
            priority,
            severity,
            ..kit.join(&key, EventId::at(kit.now).as_uuid(), None)
        })
    };

    kit.settle(&[
        of(Priority::Low, None),
        of(Priority::High, Some(Severity::Medium)),
    ])
    .await;
    kit.settle(&[of(Priority::Normal, Some(Severity::High))])
        .await;
    kit.settle(&[of(Priority::Low, None)]).await;

    let (digest, _) = &kit.digests().await[0];
    assert_eq!(digest.priority, Priority::High);
    assert_eq!(digest.severity, Some(Severity::High));
}

#[tokio::test]
async fn the_trace_of_an_event_names_its_digest_and_not_the_key() {
    let kit = Kit::create().await;
    let (event, join) = kit.item(&key("ada", "ada@example.com"));

    let id = kit.settle(&[join]).await.opened[0].digest_id;

    let mut db = kit.store.acquire().await.unwrap();
    let steps: serde_json::Value =
        sqlx::query_scalar("select steps from traces where subject_id = $1")
            .bind(event)
            .fetch_one(&mut *db)
            .await
            .unwrap();
    assert_eq!(steps[0]["decision"], "joined");
    assert_eq!(steps[0]["detail"]["digest_id"], id.to_string());
    let text = steps.to_string();
    assert!(!text.contains("ada"), "{text}");
}

#[tokio::test]
async fn a_digest_that_is_told_names_its_notification_and_is_named_by_it() {
    let kit = Kit::create().await;
    let (_, join) = kit.item(&key("ada", ""));
    let id = kit.settle(&[join]).await.opened[0].digest_id;
    let close = kit.digest(id).await.close(kit.now);
    kit.settle(&[close]).await;

    let mut notification = kit.notification("ada");
    notification.decided.digest_id = Some(id);
    let notification_id = notification.id;
    kit.settle(&[
        Effect::NotificationPlanned(Box::new(notification)),
        Effect::DigestTold {
            id,
            notification_id: Some(notification_id),
        },
    ])
    .await;

    let digest = kit.digest(id).await;
    assert_eq!(digest.status, DigestStatus::Told);
    assert_eq!(digest.notification_id, Some(notification_id));
    let mut db = kit.store.acquire().await.unwrap();
    let named: Option<Uuid> =
        sqlx::query_scalar("select digest_id from notifications where id = $1")
            .bind(notification_id.as_uuid())
            .fetch_one(&mut *db)
            .await
            .unwrap();
    assert_eq!(named, Some(id.as_uuid()));
}

#[tokio::test]
async fn what_an_operator_takes_back_is_closed_for_joins_and_for_telling() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let id = kit.settle(&[kit.item(&key).1]).await.opened[0].digest_id;
    let close = kit.digest(id).await.close(kit.now);
    let mut db = kit.store.acquire().await.unwrap();

    assert!(cancel_digest(&mut db, id, kit.now).await.unwrap());
    assert!(!cancel_digest(&mut db, id, kit.now).await.unwrap());
    drop(db);

    assert_eq!(kit.settle(&[close]).await.closed, []);
    assert_eq!(kit.settle(&[kit.item(&key).1]).await.opened.len(), 1);
    assert_eq!(kit.digest(id).await.status, DigestStatus::Cancelled);
}

#[tokio::test]
async fn items_are_read_in_the_order_in_which_they_came_and_the_last_is_the_subject() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(kit.event(serde_json::json!({"n": n})).await);
    }
    for n in [3, 0, 4, 1, 2] {
        let join = kit.join(&key, ids[n].as_uuid(), None);
        kit.settle(&[joined(join)]).await;
    }
    // What quiet hours hold back is a delivery, whose notification knows its event.
    let (_, deliveries) = kit.planned("ada", &[Channel::Email]).await;
    let held = deliveries[0];
    let held_key = DigestKey {
        rule_id: None,
        batch_key: "email".into(),
        ..key.clone()
    };
    let join = kit.join(&held_key, held.as_uuid(), None);
    kit.settle(&[joined(join)]).await;
    let gone = EventId::at(kit.now).as_uuid();
    kit.settle(&[joined(kit.join(&held_key, gone, None))]).await;

    let digests = kit.digests().await;
    let [of_rule, of_night] = [0, 1].map(|n| digests[n].0.id);
    let mut db = kit.store.acquire().await.unwrap();
    let items = list_items(&mut db, &[of_rule, of_night]).await.unwrap();
    let to_tell = list_to_tell(&mut db, &[of_rule]).await.unwrap();

    let numbers: Vec<_> = items[&of_rule].payloads.iter().map(|it| &it["n"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(items[&of_night].count, 2);
    assert_eq!(
        items[&of_night].payloads.len(),
        2,
        "the lost one stands empty"
    );
    assert_eq!(items[&of_night].payloads[0]["title"], "Notification");
    assert_eq!(to_tell[0].last_event, Some(ids[4]));
    assert_eq!(to_tell[0].kind.as_deref(), Some("order.filled"));
    assert_eq!(to_tell[0].count, 5);
}

/// A template is handed a bounded part of a digest, and the true count.
#[tokio::test]
async fn a_digest_of_thousands_is_handed_out_in_part_and_counted_whole() {
    let kit = Kit::create().await;
    let (many, large) = (key("ada", "many"), key("ada", "large"));
    let small = kit.event(serde_json::json!({})).await.as_uuid();
    let mut effects: Vec<_> = (0..2500).map(|_| kit.item(&many).1).collect();
    effects.push(joined(kit.join(&many, small, None)));
    for _ in 0..5 {
        let payload = serde_json::json!({"text": "x".repeat(900_000)});
        let id = kit.event(payload).await.as_uuid();
        effects.push(joined(kit.join(&large, id, None)));
    }
    let opened = kit.settle(&effects).await.opened;
    let ids: Vec<_> = opened.iter().map(|turn| turn.digest_id).collect();

    let mut db = kit.store.acquire().await.unwrap();
    let items = list_items(&mut db, &ids).await.unwrap();

    let mut seen: Vec<_> = items
        .values()
        .map(|it| (it.count, it.payloads.len()))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(5, 2), (2501, 1000)]);
}

/// What a closed digest held when its closing was committed.
#[derive(Debug, Default)]
struct Seen {
    closed: Mutex<BTreeMap<DigestId, Vec<Uuid>>>,
    opened: Mutex<HashSet<DigestId>>,
    deadlocks: Mutex<Vec<String>>,
}

/// One settlement of random joins and closings; a third of them die before their commit.
async fn settle_at_random(kit: &Kit, seen: &Seen, effects: &[Effect], is_killed: bool) -> bool {
    let mut tx = kit.store.begin().await.unwrap();
    let applied = match apply(&mut tx, effects).await {
        Ok(applied) => applied,
        Err(error) => {
            seen.deadlocks.lock().unwrap().push(error.to_string());
            return false;
        }
    };
    let mut held = Vec::new();
    for turn in &applied.closed {
        let items: Vec<Uuid> = sqlx::query_scalar(
            "select source_id from digest_items where digest_id = $1 order by source_id",
        )
        .bind(turn.digest_id.as_uuid())
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        held.push((turn.digest_id, items));
    }
    if is_killed {
        tx.rollback().await.unwrap();
        return false;
    }
    tx.commit().await.unwrap();
    for (id, items) in held {
        let before = seen.closed.lock().unwrap().insert(id, items);
        assert!(before.is_none(), "{id} closed twice");
    }
    for turn in applied.opened {
        assert!(seen.opened.lock().unwrap().insert(turn.digest_id));
    }
    true
}

/// A sequence of numbers that looks like chance and is the same every time.
fn chance(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// 64 tasks join twelve keys in any order, some with a size, close what they find open, and are
/// killed before their commit: against the model that every item that was committed is in one
/// digest, and that a digest does not change after it has closed.
#[tokio::test(flavor = "multi_thread")]
async fn racing_joins_and_closings_lose_nothing_and_never_meet_in_a_circle() {
    const TASKS: u64 = 64;
    const ROUNDS: usize = 12;
    let kit = Arc::new(Kit::create().await);
    let seen = Arc::new(Seen::default());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (kit, seen) = (Arc::clone(&kit), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut state = task + 1;
            let mut committed: Vec<(DigestKey, Uuid)> = Vec::new();
            for _ in 0..ROUNDS {
                let mut effects = Vec::new();
                let mut items = Vec::new();
                for _ in 0..=chance(&mut state) % 8 {
                    let n = chance(&mut state) % 12;
                    let key = key(&format!("user {}", n % 4), &format!("key {n}"));
                    let source = EventId::at(kit.now).as_uuid();
                    let size = n.is_multiple_of(3).then_some(5);
                    effects.push(joined(kit.join(&key, source, size)));
                    items.push((key, source));
                }
                let mut open: Vec<DigestId> = seen.opened.lock().unwrap().iter().copied().collect();
                open.sort_unstable();
                if !open.is_empty() {
                    // Any of them, whether it has closed or not.
                    let id = open[chance(&mut state) % open.len()];
                    let at = chance(&mut state) % (effects.len() + 1);
                    effects.insert(at, kit.digest(id).await.close(kit.now));
                }
                let is_killed = chance(&mut state).is_multiple_of(3);
                if settle_at_random(&kit, &seen, &effects, is_killed).await {
                    committed.extend(items);
                }
            }
            committed
        });
    }
    let mut committed = Vec::new();
    while let Some(task) = tasks.join_next().await {
        committed.extend(task.unwrap());
    }

    assert_eq!(*seen.deadlocks.lock().unwrap(), Vec::<String>::new());
    assert!(committed.len() > 1000, "{}", committed.len());
    let closed = std::mem::take(&mut *seen.closed.lock().unwrap());
    let mut found: Vec<(DigestKey, Uuid)> = Vec::new();
    let mut open = HashSet::new();
    for (digest, items) in kit.digests().await {
        assert!(items.is_sorted());
        assert_eq!(digest.count as usize, items.len());
        match closed.get(&digest.id) {
            Some(held) => assert_eq!(&items, held, "changed after it had closed"),
            None => assert!(open.insert(digest.key.clone()), "two are open of one key"),
        }
        let is_closed = digest.status == DigestStatus::Closed;
        assert_eq!(is_closed, closed.contains_key(&digest.id));
        found.extend(items.into_iter().map(|item| (digest.key.clone(), item)));
    }
    found.sort_by_key(|(_, item)| *item);
    committed.sort_by_key(|(_, item)| *item);
    assert_eq!(found, committed, "each in one digest of its key");
    assert!(closed.len() > 50, "{}", closed.len());
}

/// The tables of digests are read by key, however they were analysed.
#[tokio::test]
async fn settlements_meet_digests_by_key() {
    let kit = Kit::create().await;
    let keys: Vec<_> = (0..300).map(|n| key("ada", &n.to_string())).collect();
    let effects: Vec<_> = keys.iter().map(|key| kit.item(key).1).collect();
    let opened = kit.settle(&effects).await.opened;
    let mut db = kit.store.acquire().await.unwrap();
    sqlx::raw_sql("analyze").execute(&mut *db).await.unwrap();
    drop(db);

    let mut tx = kit.store.begin().await.unwrap();
    let effects: Vec<_> = keys.iter().map(|key| kit.item(key).1).collect();
    apply(&mut tx, &effects).await.unwrap();
    let ids: Vec<_> = opened.iter().map(|turn| turn.digest_id).collect();
    list_to_tell(&mut tx, &ids).await.unwrap();
    list_items(&mut tx, &ids).await.unwrap();

    let (seq_scans, updates, on_page): (i64, i64, i64) = sqlx::query_as(
        "select sum(seq_scan)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint
         from pg_stat_xact_user_tables where relname in ('digests', 'digest_items')",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!((seq_scans, updates), (0, 300));
    assert!(on_page > 100, "{on_page}");
}

//! Ten thousand events, a hundred keys, nodes that die: every event is told once, and in order.
//!
//! The nodes are whole ones, with all workers on the real engine. Each has a runtime of its own and
//! dies with it, wherever its tasks are: between a claim and its settlement, within a settlement,
//! and between its COMMIT and the answer.
#![allow(
    clippy::disallowed_methods,
    reason = "the tables are asked what no crate reads like this"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use ::channels::Channels;
use ::render::Templates;
use chrono::{DateTime, Utc};
use domain::{Action, Batch, Channel, DigestId, EventId, Rule, RuleBook, RuleId, TenantId};
use prometheus::Registry;
use queue::{Backoff, Bell, Clock, Database, JobId, Metrics, NewJob, QueueConfig};
use serde_json::json;
use store::digests::{list_items, list_to_tell};
use store::events::{NewEvent, insert_events};
use store::{Store, StoreOptions};
use testkit::{TestDatabase, eventually};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{Catalog, Context, Parts, Route, Running, WorkerLimits, queues, start};

const EVENTS: usize = 10_000;
const TASKS: usize = 64;
const KEYS: usize = 100;

/// So many items close a digest of the sized rule.
const SIZE: usize = 15;

const WINDOW: Duration = Duration::from_millis(1500);

/// Keys of which more than one digest is open.
pub(super) const TWO_OPEN: &str = "select count(*) from (
     select from digests where status = 'open'
     group by tenant_id, user_id, rule_id, action, key_hash having count(*) > 1
 ) as keys";

/// Long enough for two busy cores.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

pub(super) fn now() -> DateTime<Utc> {
    Clock::system().now()
}

/// Two rules: one gathers by size and time, the other by time alone, and both by a key that lies
/// deep in the payload.
fn rules() -> Vec<Rule> {
    let rule = |name: &str, size| Rule {
        id: RuleId::at(now()),
        version: 1,
        name: name.to_owned(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: vec![name.to_owned()],
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: None,
        actions: vec![Action {
            channels: Some(vec![Channel::InApp]),
            batch: Some(Batch {
                window: WINDOW,
                size,
                key: Some("event.data.account.id".to_owned()),
            }),
            ..Action::default()
        }],
    };
    vec![
        rule("trade.sized", Some(SIZE as u32)),
        rule("trade.timed", None),
    ]
}

/// A node that dies with its runtime.
pub(super) struct Mortal {
    runtime: Option<tokio::runtime::Runtime>,
    _workers: Option<Running>,
}

impl Mortal {
    pub(super) async fn start(url: &str, rules: &[Rule]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (url, rules) = (url.to_owned(), rules.to_vec());
        let workers = runtime.spawn(async move {
            let catalog = Catalog::new(Templates::builtin().unwrap());
            catalog.keep_rules(TenantId::default(), RuleBook::compile(rules, None));
            let options = StoreOptions {
                connections_max: 4,
                ..StoreOptions::default()
            };
            let workers = start(Parts {
                database: Database::parse(&url, None, false).unwrap(),
                store: Store::connect(&url, &options).await.unwrap(),
                context: Context::new(catalog, Channels::new(), Clock::system()),
                clock: Clock::system(),
                bell: Bell::new(),
                heard: None,
                queue: swift(),
                limits: WorkerLimits::default(),
                queues: Vec::new(),
                metrics: Metrics::register(&Registry::new()).unwrap(),
            });
            workers.ready().await;
            workers
        });
        let workers = workers.await.unwrap();
        Self {
            runtime: Some(runtime),
            _workers: Some(workers),
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A dead node is noticed in a second, and a job that was unlucky runs again soon.
fn swift() -> QueueConfig {
    QueueConfig {
        poll_max: Duration::from_millis(50),
        heartbeat: Duration::from_millis(200),
        silence: Duration::from_millis(900),
        // Small claims and settlements: many to be killed in.
        claim_batch: 64,
        settle_batch: 64,
        backoff: Backoff {
            base: Duration::from_millis(10),
            factor: 2.0,
            cap: Duration::from_millis(100),
        },
        ..QueueConfig::default()
    }
}

/// Submits a task's part of the events as intake does: events and `route` jobs together. Answers the
/// key of each.
async fn submit(store: Store, task: usize) -> Vec<(Uuid, String)> {
    let mut sent = Vec::new();
    let own: Vec<usize> = (task..EVENTS).step_by(TASKS).collect();
    for part in own.chunks(20) {
        let mut events = Vec::new();
        let mut jobs = Vec::new();
        for n in part {
            let key = n % KEYS;
            let kind = if key < KEYS / 2 {
                "trade.sized"
            } else {
                "trade.timed"
            };
            let now = now();
            let id = EventId::at(now);
            let account = format!("account/{key}");
            events.push(NewEvent {
                id,
                tenant_id: TenantId::default(),
                created_at: now,
                occurred_at: None,
                event_id: id.to_string(),
                producer: String::new(),
                kind: kind.to_owned(),
                severity: None,
                dedupe_key: None,
                payload: json!({"user_id": format!("user{}", key % 10), "n": n,
                                "account": {"id": account}}),
            });
            jobs.push(NewJob::new(
                JobId::at(now),
                queues::ROUTE,
                &Route::Event { event_id: id },
            ));
            sent.push((id.as_uuid(), account));
        }
        let mut tx = store.begin().await.unwrap();
        insert_events(&mut tx, &events).await.unwrap();
        queue::enqueue(&mut tx, &jobs, None).await.unwrap();
        tx.commit().await.unwrap();
    }
    sent
}

pub(super) async fn count(store: &Store, query: &'static str) -> i64 {
    let mut db = store.acquire().await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut *db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_told_once_and_in_order_whoever_dies() {
    let database = TestDatabase::create().await;
    let store = Store::connect(database.url(), &StoreOptions::default())
        .await
        .unwrap();
    let rules = rules();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Mortal::start(database.url(), &rules).await);
    }
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(submit(store.clone(), task));
    }

    // One node after another dies, whenever a twelfth more has joined.
    let joined = "select count(*) from digest_items";
    for kill in 1..=9 {
        let mark = (kill * EVENTS / 12) as i64;
        eventually(PATIENCE, async || {
            assert_eq!(
                count(&store, TWO_OPEN).await,
                0,
                "two digests are open of one key"
            );
            count(&store, joined).await >= mark
        })
        .await;
        nodes[kill % 3] = Mortal::start(database.url(), &rules).await;
    }
    let mut keys = HashMap::new();
    while let Some(sent) = tasks.join_next().await {
        keys.extend(sent.unwrap());
    }
    let open = "select count(*) from queue.jobs";
    eventually(PATIENCE, async || count(&store, open).await == 0).await;

    assert_eq!(
        count(&store, "select count(*) from queue.dead_letters").await,
        0
    );
    assert_told_once_and_in_order(&store, &keys).await;
}

/// What the tables say, against what was sent.
async fn assert_told_once_and_in_order(store: &Store, keys: &HashMap<Uuid, String>) {
    let mut db = store.acquire().await.unwrap();
    let items: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "select digest.digest_id, digest.batch_key, item.source_id
         from digest_items as item
         join digests as digest using (digest_id)
         order by 1, 3",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let mut seen = HashSet::new();
    let mut digests: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (digest_id, key, event_id) in items {
        assert!(seen.insert(event_id), "{event_id} is in two digests");
        assert!(
            key.contains(&keys[&event_id]),
            "{key} is not {}",
            keys[&event_id]
        );
        digests.entry(digest_id).or_default().push(event_id);
    }
    assert_eq!(seen.len(), keys.len(), "events that are in no digest");
    assert_eq!(
        count(store, "select count(*) from digests").await as usize,
        digests.len()
    );
    // Both ways to close were taken, and raced.
    let full = digests.values().filter(|items| items.len() >= SIZE);
    assert!((50..digests.len()).contains(&full.count()));

    // Each has one notification, of one delivery, that has arrived once.
    let told: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
        "select notification.digest_id, delivery.id, delivery.status
         from notifications as notification
         join deliveries as delivery on delivery.notification_id = notification.id
         join digests as digest on digest.digest_id = notification.digest_id
             and digest.notification_id = notification.id and digest.status = 'told'
         join inbox on inbox.delivery_id = delivery.id",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    assert!(told.iter().all(|(_, _, status)| status == "delivered"));
    let sent: HashSet<_> = told.iter().map(|(digest_id, ..)| *digest_id).collect();
    assert_eq!((told.len(), sent.len()), (digests.len(), digests.len()));
    let notifications = "select count(*) from notifications";
    assert_eq!(count(store, notifications).await as usize, digests.len());

    // What the templates were handed: all of it, in the order of ingest.
    let ids: Vec<_> = digests.keys().map(|id| DigestId::from(*id)).collect();
    for part in ids.chunks(50) {
        for told in list_to_tell(&mut db, part).await.unwrap() {
            let items = &digests[&told.digest.id.as_uuid()];
            assert_eq!(told.count as usize, items.len());
            let last = told.last_event.map(EventId::as_uuid);
            assert_eq!(last.as_ref(), items.last());
        }
    }
    for id in digests.keys() {
        let id = DigestId::from(*id);
        let payloads = &list_items(&mut db, &[id]).await.unwrap()[&id].payloads;
        let numbers: Vec<_> = payloads
            .iter()
            .map(|it| it["n"].as_u64().unwrap())
            .collect();
        let events = &digests[&id.as_uuid()];
        let stored: Vec<i64> = sqlx::query_scalar(
            "select (payload ->> 'n')::bigint from events where id = any($1) order by id",
        )
        .bind(events)
        .fetch_all(&mut *db)
        .await
        .unwrap();
        assert!(
            numbers.iter().map(|n| *n as i64).eq(stored),
            "{id} is out of order"
        );
    }
}

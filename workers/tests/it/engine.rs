//! The workers on the real engine: what goes out, what gives up, and what a replay brings back.

use std::sync::Arc;
use std::time::Duration;

use ::channels::{Channels, Scripted, SendError};
use ::render::Templates;
use chrono::{DateTime, Utc};
use domain::{Channel, NotificationId, Priority, Status};
use prometheus::Registry;
use queue::dead_letter::{self, DeadLetter, DeadLetterFilter};
use queue::{Bell, Clock, Database, JobId, Metrics, NewJob, QueueConfig};
use serde_json::json;
use store::effect::NewNotification;
use store::notifications::{find_notification, insert_notifications};
use store::{Store, StoreOptions, inbox};
use testkit::{TestDatabase, eventually};
use workers::replay::{self, Request};
use workers::{Catalog, Context, DeliveryMetrics, Parts, Route, Running, WorkerLimits};

/// Long enough for two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn now() -> DateTime<Utc> {
    Clock::system().now()
}

/// A store, and workers over it.
pub(crate) struct Plant {
    pub(crate) store: Store,
    workers: Running,
    registry: Registry,
    /// Dropped last, when nothing uses it any more.
    _database: TestDatabase,
}

impl Plant {
    pub(crate) async fn start(channels: Channels) -> Self {
        let database = TestDatabase::create().await;
        let store = Store::connect(database.url(), &StoreOptions::default())
            .await
            .unwrap();
        let registry = Registry::new();
        let templates = Templates::builtin().unwrap();
        let workers = workers::start(Parts {
            database: Database::parse(database.url(), None, false).unwrap(),
            store: store.clone(),
            context: Context::new(Catalog::new(templates), channels, Clock::system())
                .counting(DeliveryMetrics::register(&registry, false).unwrap()),
            clock: Clock::system(),
            bell: Bell::new(),
            heard: None,
            queue: QueueConfig::default(),
            limits: WorkerLimits::default(),
            queues: Vec::new(),
            metrics: Metrics::register(&registry).unwrap(),
        });
        Self {
            store,
            workers,
            registry,
            _database: database,
        }
    }

    /// Inserts a direct send to `user` as intake does, with its `route` job.
    pub(crate) async fn send(
        &self,
        user: &str,
        channel: Channel,
        change: impl FnOnce(&mut NewNotification),
    ) -> NotificationId {
        let now = now();
        let mut row = direct(user, channel, now);
        change(&mut row);
        let job = Route::Notification {
            notification_id: row.id,
        };
        let job = NewJob::new(JobId::at(now), workers::queues::ROUTE, &job);
        let mut tx = self.store.begin().await.unwrap();
        insert_notifications(&mut tx, std::slice::from_ref(&row))
            .await
            .unwrap();
        queue::enqueue(&mut tx, [&job], None).await.unwrap();
        tx.commit().await.unwrap();
        row.id
    }

    pub(crate) async fn status(&self, id: NotificationId) -> Status {
        let mut db = self.store.acquire().await.unwrap();
        let found = find_notification(&mut db, &"default".into(), id)
            .await
            .unwrap();
        found.unwrap().status
    }

    pub(crate) async fn becomes(&self, id: NotificationId, status: Status) {
        eventually(PATIENCE, async || self.status(id).await == status).await;
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut db = self.store.acquire().await.unwrap();
        dead_letter::list(&mut db, &DeadLetterFilter::default(), None, 100)
            .await
            .unwrap()
    }

    async fn replay_all(&self) {
        let mut tx = self.store.begin().await.unwrap();
        let request = Request {
            actor: "cli:test".to_owned(),
            ..Request::default()
        };
        replay::begin(&mut tx, &request, &Clock::system())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// What `/metrics` says of the replays of this process.
    fn replayed(&self, outcome: &str) -> u64 {
        self.counted("postrider_replayed_jobs_total", &[outcome])
    }

    /// What a counter of this process stands at, by the values of its labels.
    pub(crate) fn counted(&self, name: &str, labels: &[&str]) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let mut metrics = family.unwrap().get_metric().iter();
        let is_meant = |value: &&str, metric: &prometheus::proto::Metric| {
            metric.get_label().iter().any(|it| it.value() == *value)
        };
        let found = metrics.find(|metric| labels.iter().all(|value| is_meant(value, metric)));
        found.unwrap().get_counter().get_value() as u64
    }

    pub(crate) async fn stop(self) {
        self.workers.stop(Duration::from_secs(5)).await;
        self.store.close().await;
    }
}

fn direct(user: &str, channel: Channel, now: DateTime<Utc>) -> NewNotification {
    NewNotification {
        decided: store::effect::Decided::default(),
        id: NotificationId::at(now),
        tenant_id: "default".into(),
        user_id: user.into(),
        event_id: None,
        created_at: now,
        send_at: None,
        expires_at: None,
        kind: "notification".into(),
        category: None,
        priority: Priority::Normal,
        status: Status::Pending,
        template: None,
        locale: None,
        subject: Some("Hello".into()),
        content: Some("A plain text.".into()),
        channels: Some(vec![channel]),
        data: Some(json!({"email": "ada@example.com", "phone": "+4915112345678"})),
        delivery_count: 0,
        is_test: false,
        bypass_quiet_hours: false,
    }
}

#[tokio::test]
async fn a_hundred_sends_reach_the_feed_once_each_and_in_sequence() {
    let plant = Plant::start(Channels::new()).await;

    for _ in 0..100 {
        plant.send("ada", Channel::InApp, |_| {}).await;
    }

    let (tenant, user) = ("default".into(), "ada".into());
    eventually(PATIENCE, async || {
        let mut db = plant.store.acquire().await.unwrap();
        inbox::head(&mut db, &tenant, &user).await.unwrap().seq == 100
    })
    .await;
    let mut db = plant.store.acquire().await.unwrap();
    let feed = inbox::feed_after(&mut db, &tenant, &user, 0, 1000)
        .await
        .unwrap();
    assert!(feed.iter().map(|item| item.seq).eq(1..=100));
    drop(db);
    plant.stop().await;
}

#[tokio::test]
async fn a_mail_refused_for_good_is_sent_after_its_replay() {
    let refused = SendError::Rejected {
        detail: "550 5.7.1 not today".into(),
    };
    let provider = Arc::new(Scripted::failing(1, refused));
    let plant =
        Plant::start(Channels::new().with(Channel::Email, Arc::clone(&provider) as _)).await;
    let id = plant.send("ada", Channel::Email, |_| {}).await;
    plant.becomes(id, Status::Failed).await;
    let letters = plant.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].last_error().contains("5.7.1"),
        "{}",
        letters[0].last_error()
    );

    plant.replay_all().await;

    plant.becomes(id, Status::Sent).await;
    assert_eq!(provider.given().len(), 2);
    assert_eq!(plant.replayed("replayed"), 1);
    assert_eq!(
        plant.replayed("skipped_expired"),
        0,
        "exported from the start"
    );
    assert!(plant.dead_letters().await.is_empty());
    plant.stop().await;
}

/// Nothing that was never routed may be taken for routed when an operator replays it.
#[tokio::test]
async fn a_direct_send_whose_routing_was_buried_is_routed_after_its_replay() {
    let plant = Plant::start(Channels::new()).await;
    let id = plant.send("ada", Channel::InApp, |_| {}).await;
    plant.becomes(id, Status::Delivered).await;
    let buried = plant
        .send("ada", Channel::InApp, |row| row.status = Status::Failed)
        .await;
    let mut tx = plant.store.begin().await.unwrap();
    store::replay::reopen_notifications(&mut tx, &[id, buried], now())
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let job = NewJob::new(
        JobId::at(now()),
        workers::queues::ROUTE,
        &Route::Notification {
            notification_id: buried,
        },
    );
    let mut tx = plant.store.begin().await.unwrap();
    queue::enqueue(&mut tx, [&job], None).await.unwrap();
    tx.commit().await.unwrap();

    plant.becomes(buried, Status::Delivered).await;
    assert_eq!(
        plant.status(id).await,
        Status::Delivered,
        "what was delivered stays so"
    );
    plant.stop().await;
}

#[tokio::test]
async fn a_channel_without_a_provider_fails_alone_and_says_so() {
    let plant = Plant::start(Channels::new()).await;

    let mail = plant.send("ada", Channel::Email, |_| {}).await;
    let feed = plant.send("ada", Channel::InApp, |_| {}).await;

    plant.becomes(mail, Status::Failed).await;
    plant.becomes(feed, Status::Delivered).await;
    assert_eq!(plant.dead_letters().await[0].reason, "no_provider");
    plant.stop().await;
}

//! What quiet hours gather, when its user changes their mind: on a real database, where every step
//! dies once before its commit.
#![allow(
    clippy::disallowed_methods,
    reason = "the tables are asked what no crate reads like this"
)]

use ::channels::Channels;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{DigestId, NotificationId, Preferences, Status, TenantId};
use queue::{JobId, NewJob};
use serde_json::{Value, json};
use sqlx::Connection as _;
use store::Connection;
use store::digests::list_digests;
use store::notifications::{find_notification, insert_notifications};
use store::preferences::upsert_preferences;
use store::traces::list_trace;
use testkit::TestDatabase;

use super::digest_way::settled;
use super::{context, now};
use crate::{BatchFlush, Context, Route, queues, wake_held};

/// A user whose feed is quiet, and whose news are gathered.
struct Night {
    _database: TestDatabase,
    db: sqlx::PgConnection,
    cx: Context,
    /// The jobs that wait, as the queue would hold them.
    waiting: Vec<NewJob>,
}

/// The moment so many minutes from the beginning of the test.
fn minute(minutes: i64) -> DateTime<Utc> {
    now() + TimeDelta::minutes(minutes)
}

/// Quiet from an hour ago until so many minutes from the beginning.
fn until(minutes: i64) -> Value {
    let wall = |at: DateTime<Utc>| at.format("%H:%M").to_string();
    json!({"enabled": true, "start": wall(minute(-60)), "end": wall(minute(minutes)),
           "timezone": "UTC", "channels": ["in_app"]})
}

impl Night {
    /// Quiet for an hour from now.
    async fn begin() -> Self {
        let database = TestDatabase::create().await;
        let mut db = database.connection().await;
        store::partitions::ensure(&mut db, now()).await.unwrap();
        let mut night = Self {
            _database: database,
            db,
            cx: context(Channels::new()),
            waiting: Vec::new(),
        };
        night.change(json!({"quiet_hours": until(60)})).await;
        night
    }

    /// Changes what the user wants; the first time the process dies before the commit.
    async fn change(&mut self, said: Value) {
        let mut all = json!({"categories": {
            "news": {"enabled": true, "quiet_hours": "digest"},
            "ads": {"enabled": true, "quiet_hours": "digest"},
        }});
        for (name, value) in said.as_object().unwrap() {
            all[name] = value.clone();
        }
        let (tenant, ada) = (TenantId::default(), "ada".into());
        let preferences = Preferences::parse(all).unwrap();
        for dies in [true, false] {
            let at = self.cx.clock.now();
            let mut tx = self.db.begin().await.unwrap();
            upsert_preferences(&mut tx, &tenant, &ada, &preferences, at)
                .await
                .unwrap();
            wake_held(&mut tx, &tenant, &ada, at).await.unwrap();
            if dies {
                tx.rollback().await.unwrap();
            } else {
                tx.commit().await.unwrap();
            }
        }
        let woken: Vec<Value> = sqlx::query_scalar("delete from queue.jobs returning payload")
            .fetch_all(&mut self.db)
            .await
            .unwrap();
        for payload in woken {
            let job: BatchFlush = serde_json::from_value(payload).unwrap();
            let at = self.cx.clock.now();
            let job = NewJob::new(JobId::at(at), queues::BATCH_FLUSH, &job).run_at(Some(at));
            self.waiting.push(job);
        }
    }

    /// Sends to the feed, and routes it.
    async fn send(&mut self, category: &str) -> NotificationId {
        let at = self.cx.clock.now();
        let mut sent = super::way::send(None);
        sent.id = NotificationId::at(at);
        sent.created_at = at;
        sent.category = Some(category.to_owned());
        insert_notifications(&mut self.db, [&sent]).await.unwrap();
        let route = Route::Notification {
            notification_id: sent.id,
        };
        let route = NewJob::new(JobId::at(at), queues::ROUTE, &route);
        let next = settled(&route, &mut self.db, &self.cx).await;
        self.waiting.extend(next);
        sent.id
    }

    /// Runs what is due until so many minutes from the beginning, and what follows from it.
    async fn pass(&mut self, minutes: i64) -> Vec<String> {
        let mut ran = Vec::new();
        while let Some(place) = self.next_due(minute(minutes)) {
            let job = self.waiting.remove(place);
            self.come_to(job.run_at);
            let next = settled(&job, &mut self.db, &self.cx).await;
            self.waiting.extend(next);
            ran.push(job.kind);
        }
        self.come_to(Some(minute(minutes)));
        ran
    }

    fn next_due(&self, until: DateTime<Utc>) -> Option<usize> {
        let due = self.waiting.iter().enumerate();
        due.filter(|(_, job)| job.run_at.is_none_or(|at| at <= until))
            .min_by_key(|(_, job)| job.run_at)
            .map(|(place, _)| place)
    }

    fn come_to(&self, at: Option<DateTime<Utc>>) {
        let wait = at.and_then(|at| (at - self.cx.clock.now()).to_std().ok());
        self.cx.clock.advance(wait.unwrap_or_default());
    }

    /// How many each message of the feed has told, in order.
    async fn told(&mut self) -> Vec<i64> {
        sqlx::query_scalar(
            "select (select count(*) from digest_items as item
                     where item.digest_id = notification.digest_id)
             from inbox
             join notifications as notification on notification.id = inbox.notification_id
             order by inbox.seq",
        )
        .fetch_all(&mut self.db)
        .await
        .unwrap()
    }

    async fn status(&mut self, id: NotificationId) -> Status {
        let tenant = TenantId::default();
        let found = find_notification(&mut self.db, &tenant, id).await.unwrap();
        found.unwrap().status
    }

    /// The end of the one digest that is open.
    async fn closes_at(&mut self) -> DateTime<Utc> {
        let open: Vec<uuid::Uuid> =
            sqlx::query_scalar("select digest_id from digests where status = 'open'")
                .fetch_all(&mut self.db)
                .await
                .unwrap();
        let open: Vec<_> = open.into_iter().map(DigestId::from).collect();
        let digests = list_digests(&mut self.db as &mut Connection, &open)
            .await
            .unwrap();
        assert_eq!(digests.len(), 1);
        digests[0].closes_at
    }
}

#[tokio::test]
async fn who_turns_quiet_hours_off_is_told_then_and_once() {
    let mut night = Night::begin().await;
    let sent = [night.send("news").await, night.send("news").await];
    night.pass(5).await;
    assert_eq!(night.told().await, Vec::<i64>::new());

    night
        .change(json!({"quiet_hours": {"enabled": false}}))
        .await;
    night.pass(5).await;

    assert_eq!(night.told().await, [2]);
    for id in sent {
        assert_eq!(night.status(id).await, Status::Suppressed);
    }
    // The old end finds nothing to do.
    assert_eq!(night.pass(120).await, ["batch_flush"]);
    assert_eq!(night.told().await, [2]);
}

#[tokio::test]
async fn an_end_that_was_moved_later_keeps_its_silence_and_tells_all_at_once() {
    let mut night = Night::begin().await;
    night.send("news").await;
    night.change(json!({"quiet_hours": until(120)})).await;
    night.pass(1).await;
    assert_eq!(night.closes_at().await, minute(120));

    night.pass(61).await;
    assert_eq!(night.told().await, Vec::<i64>::new());
    night.send("news").await;
    night.pass(119).await;
    assert_eq!(night.told().await, Vec::<i64>::new());

    night.pass(121).await;
    assert_eq!(night.told().await, [2]);
    assert_eq!(night.waiting, []);
}

#[tokio::test]
async fn an_end_that_was_moved_earlier_is_kept() {
    let mut night = Night::begin().await;
    night.send("news").await;
    night.change(json!({"quiet_hours": until(30)})).await;
    night.pass(29).await;
    assert_eq!(night.closes_at().await, minute(30));
    assert_eq!(night.told().await, Vec::<i64>::new());

    night.pass(30).await;

    assert_eq!(night.told().await, [1]);
}

#[tokio::test]
async fn a_category_that_was_turned_off_ends_at_once_and_the_others_are_told_without_it() {
    let mut night = Night::begin().await;
    let news = night.send("news").await;
    let ads = night.send("ads").await;

    night
        .change(json!({
            "quiet_hours": until(60),
            "categories": {"ads": {"enabled": false},
                           "news": {"enabled": true, "quiet_hours": "digest"}},
        }))
        .await;
    night.pass(1).await;

    assert_eq!(night.status(ads).await, Status::Suppressed);
    assert_eq!(night.status(news).await, Status::Pending);
    let trace = list_trace(&mut night.db, ads).await.unwrap();
    let named = trace
        .iter()
        .find(|step| step.step.detail["row"] == "/categories/ads/enabled");
    assert_eq!(named.unwrap().step.decision, "suppressed");
    assert_eq!(night.told().await, Vec::<i64>::new());

    night.pass(61).await;
    assert_eq!(night.told().await, [1]);
}

#[tokio::test]
async fn a_channel_that_was_turned_off_tells_nothing_of_the_night() {
    let mut night = Night::begin().await;
    let news = night.send("news").await;

    night
        .change(json!({"quiet_hours": until(60), "channels": {"in_app": {"enabled": false}}}))
        .await;
    night.pass(1).await;

    assert_eq!(night.status(news).await, Status::Suppressed);
    night.pass(61).await;
    assert_eq!(night.told().await, Vec::<i64>::new());
}

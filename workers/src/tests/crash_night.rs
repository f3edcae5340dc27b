//! Users change their quiet hours, over and over, while messages come in, windows end and nodes
//! die: every message is told once, by itself or in one digest.
#![allow(
    clippy::disallowed_methods,
    reason = "the tables are asked what no crate reads like this"
)]

use chrono::{DateTime, TimeDelta, Utc};
use domain::{NotificationId, Preferences, TenantId, UserId};
use queue::{JobId, NewJob};
use serde_json::{Value, json};
use store::notifications::insert_notifications;
use store::preferences::upsert_preferences;
use store::{Store, StoreOptions};
use testkit::{TestDatabase, eventually};
use tokio::task::JoinSet;

use super::crash_digest::{Mortal, PATIENCE, TWO_OPEN, count, now};
use crate::{Route, queues, wake_held};

const USERS: usize = 4;
const SENDERS: usize = 8;
const SENDS: usize = 60;
const CHANGES: usize = 60;

/// Quiet for so many seconds more, or not at all; and what becomes of news then.
fn wishes(seconds: Option<i64>, mode: &str) -> Preferences {
    let wall = |at: DateTime<Utc>| at.format("%H:%M:%S").to_string();
    let end = now() + TimeDelta::seconds(seconds.unwrap_or(1));
    let said = json!({
        "quiet_hours": {"enabled": seconds.is_some(), "start": wall(end - TimeDelta::hours(1)),
                        "end": wall(end), "timezone": "UTC", "channels": ["in_app"]},
        "categories": {"news": {"enabled": true, "quiet_hours": mode}},
    });
    Preferences::parse(said).unwrap()
}

async fn change(store: &Store, user: usize, preferences: &Preferences) {
    let (tenant, user) = (TenantId::default(), UserId::from(format!("user{user}")));
    let mut tx = store.begin().await.unwrap();
    upsert_preferences(&mut tx, &tenant, &user, preferences, now())
        .await
        .unwrap();
    wake_held(&mut tx, &tenant, &user, now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Moves the end to and fro, turns quiet hours off and on, and has news sent in the middle of them;
/// at last they end in a second.
async fn waver(store: Store, user: usize) {
    for n in 0..CHANGES {
        let preferences = match n % 6 {
            0 => wishes(Some(3), "digest"),
            1 => wishes(Some(1), "digest"),
            2 => wishes(None, "digest"),
            3 => wishes(Some(2), "digest"),
            4 => wishes(Some(2), "deliver"),
            _ => wishes(Some(2), "defer"),
        };
        change(&store, user, &preferences).await;
    }
    change(&store, user, &wishes(Some(1), "digest")).await;
}

/// Submits as intake does: a direct send to a feed, with its `route` job.
async fn submit(store: Store, sender: usize) {
    for n in 0..SENDS {
        let mut sent = super::way::send(None);
        sent.id = NotificationId::at(now());
        sent.created_at = now();
        sent.user_id = format!("user{}", (sender + n) % USERS).into();
        sent.category = Some("news".to_owned());
        let job = Route::Notification {
            notification_id: sent.id,
        };
        let job = NewJob::new(JobId::at(now()), queues::ROUTE, &job);
        let mut tx = store.begin().await.unwrap();
        insert_notifications(&mut tx, [&sent]).await.unwrap();
        queue::enqueue(&mut tx, [&job], None).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_told_once_however_its_user_wavers_and_whoever_dies() {
    let database = TestDatabase::create().await;
    let store = Store::connect(database.url(), &StoreOptions::default())
        .await
        .unwrap();
    for user in 0..USERS {
        change(&store, user, &wishes(Some(2), "digest")).await;
    }
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Mortal::start(database.url(), &[]).await);
    }
    let mut tasks = JoinSet::new();
    for sender in 0..SENDERS {
        tasks.spawn(submit(store.clone(), sender));
    }
    for user in 0..USERS {
        tasks.spawn(waver(store.clone(), user));
    }

    // One node after another dies, whenever a sixth more has been routed.
    for kill in 1..=4 {
        let mark = (kill * SENDERS * SENDS / 6) as i64;
        eventually(PATIENCE, async || {
            assert_eq!(count(&store, TWO_OPEN).await, 0, "two are open of one key");
            count(&store, "select count(*) from deliveries").await >= mark
        })
        .await;
        nodes[kill % 2] = Mortal::start(database.url(), &[]).await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let open = "select (select count(*) from deliveries where status in ('pending', 'queued'))
                     + (select count(*) from digests where status in ('open', 'closed'))
                     + (select count(*) from queue.jobs)";
    eventually(PATIENCE, async || count(&store, open).await == 0).await;

    assert_eq!(
        count(&store, "select count(*) from queue.dead_letters").await,
        0
    );
    assert_told_once(&store).await;
}

/// By itself it is in the feed and in no digest; in a digest it is an item of one that was told, and
/// the message of that is in the feed.
async fn assert_told_once(store: &Store) {
    let mut db = store.acquire().await.unwrap();
    let sent: Vec<(String, Option<String>, i64, i64, i64)> = sqlx::query_as(
        "select delivery.status, delivery.error,
                (select count(*) from inbox where inbox.delivery_id = delivery.id),
                (select count(*) from digest_items where source_id = delivery.id),
                (select count(*) from digest_items as item
                 join digests as digest using (digest_id)
                 join notifications as told on told.digest_id = digest.digest_id
                     and told.id = digest.notification_id
                 join inbox on inbox.notification_id = told.id
                 where item.source_id = delivery.id and digest.status = 'told')
         from notifications as notification
         join deliveries as delivery on delivery.notification_id = notification.id
         where notification.digest_id is null",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    assert_eq!(sent.len(), SENDERS * SENDS);
    let (mut alone, mut together) = (0, 0);
    for (status, error, arrived, gathered, told) in sent {
        let found = (arrived, gathered, told);
        match status.as_str() {
            "delivered" => {
                assert_eq!(found, (1, 0, 0));
                alone += 1;
            }
            "suppressed" => {
                assert_eq!(error.as_deref(), Some("told in a digest"));
                assert_eq!(found, (0, 1, 1));
                together += 1;
            }
            other => panic!("{other}: {found:?}"),
        }
    }
    assert!(
        alone > 0 && together > 0,
        "{alone} alone, {together} together"
    );
    let twice: Value = sqlx::query_scalar(
        "select coalesce(jsonb_agg(digest_id), '[]') from (
             select digest_id from notifications where digest_id is not null
             group by digest_id having count(*) > 1
         ) as twice",
    )
    .fetch_one(&mut *db)
    .await
    .unwrap();
    assert_eq!(twice, json!([]));
}

//! Rate limits on the real engine: what is over one waits, and goes out when there is a slot.

use std::sync::Arc;
use std::time::Duration;

use ::channels::{Channels, Scripted};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, Limit, LimitOf, Priority, Scope, Status};
use queue::{Bell, Clock};
use serde_json::json;
use store::limits::{lock_limits, upsert_limit};
use store::traces::list_trace;
use testkit::eventually;
use uuid::Uuid;

use crate::engine::{PATIENCE, Plant, now};

/// Stores a limit of every user on `channel`, in the place of any default.
async fn limit(plant: &Plant, channel: Channel, max: u32, seconds: u64) {
    let limit = Limit {
        id: Uuid::now_v7(),
        name: format!("{channel}_per_user"),
        scope: Scope::UserChannel,
        of: LimitOf {
            channel: Some(channel),
            ..LimitOf::default()
        },
        max,
        window: Duration::from_secs(seconds),
        when_unavailable: None,
        enabled: true,
        created_at: now(),
        updated_at: now(),
    };
    let mut tx = plant.store.begin().await.unwrap();
    let tenant = "default".into();
    lock_limits(&mut tx, &tenant).await.unwrap();
    upsert_limit(&mut tx, &tenant, &limit).await.unwrap();
    tx.commit().await.unwrap();
}

async fn plant(channel: Channel) -> (Plant, Arc<Scripted>) {
    let provider = Arc::new(Scripted::accepting());
    let channels = Channels::new().with(channel, Arc::clone(&provider) as _);
    (Plant::start(channels).await, provider)
}

async fn scalar(plant: &Plant, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement)
        .fetch_one(plant.store.pool())
        .await
        .unwrap()
}

/// No window of `seconds` holds more than `max` of these.
fn assert_within(times: impl Iterator<Item = DateTime<Utc>>, max: usize, seconds: i64) {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    for some in times.windows(max + 1) {
        assert!(
            some[max] - some[0] >= TimeDelta::seconds(seconds),
            "{times:?}"
        );
    }
}

#[tokio::test]
async fn what_is_over_a_limit_waits_and_goes_out_once_there_is_a_slot() {
    let (plant, provider) = plant(Channel::Email).await;
    limit(&plant, Channel::Email, 2, 1).await;
    let began = Utc::now();
    let mut sends = Vec::new();
    for _ in 0..5 {
        sends.push(plant.send("ada", Channel::Email, |_| {}).await);
    }

    for &id in &sends {
        plant.becomes(id, Status::Sent).await;
    }

    let given = provider.given();
    assert_eq!(given.len(), 5);
    assert_within(given.iter().map(|out| out.sent_at), 2, 1);
    assert!(plant.counted("postrider_rate_limited_total", &["email", "user_channel"]) >= 3);

    let mut db = plant.store.acquire().await.unwrap();
    let mut told = 0;
    for id in sends {
        let steps = list_trace(&mut db, id).await.unwrap();
        for step in steps
            .iter()
            .filter(|step| step.step.decision == "rate_limited")
        {
            let detail = &step.step.detail;
            assert_eq!(detail["limit"], "email_per_user");
            assert_eq!(
                (&detail["max"], &detail["window_s"]),
                (&json!(2), &json!(1))
            );
            let until: DateTime<Utc> = detail["until"].as_str().unwrap().parse().unwrap();
            // On a slow machine the slot may have come before this was written.
            assert!(until > began, "{until} is before {began}");
            told += 1;
        }
    }
    assert!(told >= 3, "{told}");
    drop(db);
    plant.stop().await;
}

#[tokio::test]
async fn what_waits_stays_queued_and_keeps_nobody_else_waiting() {
    let (plant, provider) = plant(Channel::Email).await;
    limit(&plant, Channel::Email, 1, 3600).await;
    let first = plant.send("ada", Channel::Email, |_| {}).await;
    plant.becomes(first, Status::Sent).await;
    let second = plant
        .send("ada", Channel::Email, |row| {
            row.priority = Priority::Critical;
        })
        .await;

    eventually(PATIENCE, async || {
        scalar(
            &plant,
            "select count(*) from queue.jobs where run_at > now() + interval '50 m'",
        )
        .await
            == 1
    })
    .await;

    let other = plant.send("bob", Channel::Email, |_| {}).await;
    plant.becomes(other, Status::Sent).await;
    assert_eq!(plant.status(second).await, Status::Queued);
    assert_eq!(provider.given().len(), 2);
    plant.stop().await;
}

#[tokio::test]
async fn a_text_message_that_waited_is_sent_and_not_taken_for_one_that_may_have_gone_out() {
    let (plant, provider) = plant(Channel::Sms).await;
    limit(&plant, Channel::Sms, 1, 1).await;
    let mut sends = Vec::new();
    for _ in 0..3 {
        sends.push(plant.send("ada", Channel::Sms, |_| {}).await);
    }

    for id in sends {
        plant.becomes(id, Status::Sent).await;
    }

    let given = provider.given();
    assert_eq!(given.len(), 3);
    assert_within(given.iter().map(|out| out.sent_at), 1, 1);
    plant.stop().await;
}

#[tokio::test]
async fn feeds_are_not_counted_until_a_limit_names_them() {
    let plant = Plant::start(Channels::new()).await;
    let id = plant.send("ada", Channel::InApp, |_| {}).await;
    plant.becomes(id, Status::Delivered).await;
    assert_eq!(
        scalar(&plant, "select count(*) from limit_counters").await,
        0
    );

    limit(&plant, Channel::InApp, 1, 3600).await;
    let first = plant.send("ada", Channel::InApp, |_| {}).await;
    plant.becomes(first, Status::Delivered).await;
    let second = plant.send("ada", Channel::InApp, |_| {}).await;
    eventually(PATIENCE, async || {
        plant.counted("postrider_rate_limited_total", &["in_app", "user_channel"]) == 1
    })
    .await;
    assert_eq!(plant.status(second).await, Status::Queued);
    plant.stop().await;
}

#[tokio::test]
async fn tests_take_no_slots() {
    let (plant, _) = plant(Channel::Email).await;
    limit(&plant, Channel::Email, 1, 3600).await;
    for _ in 0..2 {
        let id = plant
            .send("ada", Channel::Email, |row| row.is_test = true)
            .await;
        plant.becomes(id, Status::Sent).await;
    }
    let id = plant.send("ada", Channel::Email, |_| {}).await;
    plant.becomes(id, Status::Sent).await;
    plant.stop().await;
}

#[tokio::test]
async fn where_nobody_can_count_a_mail_goes_out_and_a_text_message_waits() {
    let mails = Arc::new(Scripted::accepting());
    let texts = Arc::new(Scripted::accepting());
    let channels = Channels::new()
        .with(Channel::Email, Arc::clone(&mails) as _)
        .with(Channel::Sms, Arc::clone(&texts) as _);
    let plant = Plant::start(channels).await;
    sqlx::query("alter table limit_counters rename to away")
        .execute(plant.store.pool())
        .await
        .unwrap();

    let mail = plant.send("ada", Channel::Email, |_| {}).await;
    let text = plant.send("ada", Channel::Sms, |_| {}).await;

    plant.becomes(mail, Status::Sent).await;
    eventually(PATIENCE, async || {
        scalar(
            &plant,
            "select count(*) from queue.jobs
             where queue = 'sms' and run_at > now() + interval '15 s'",
        )
        .await
            == 1
    })
    .await;
    assert_eq!(plant.status(text).await, Status::Queued);
    assert!(texts.given().is_empty());
    assert_eq!(plant.counted("postrider_limiter_failures_total", &[]), 2);

    // Counted again, and asked for again: it goes out, once.
    sqlx::raw_sql(
        "alter table away rename to limit_counters; update queue.jobs set run_at = now()",
    )
    .execute(plant.store.pool())
    .await
    .unwrap();
    plant.becomes(text, Status::Sent).await;
    assert_eq!(texts.given().len(), 1);
    plant.stop().await;
}

#[tokio::test]
async fn a_send_that_expires_while_it_waits_expires_on_time() {
    let (plant, provider) = plant(Channel::Email).await;
    limit(&plant, Channel::Email, 1, 3600).await;
    let first = plant.send("ada", Channel::Email, |_| {}).await;
    plant.becomes(first, Status::Sent).await;

    let expires_at = now() + TimeDelta::seconds(2);
    let second = plant
        .send("ada", Channel::Email, |row| {
            row.expires_at = Some(expires_at);
        })
        .await;

    plant.becomes(second, Status::Expired).await;
    assert!(now() >= expires_at);
    assert_eq!(provider.given().len(), 1);
    plant.stop().await;
}

/// Sends that are put off for longer than a moment.
const PUT_OFF: &str = "select count(*) from queue.jobs
     where queue = 'email' and state = 'available' and run_at > now() + interval '5 m'";

#[tokio::test]
async fn what_waits_for_a_limit_asks_again_once_that_lets_more_through() {
    let (plant, provider) = plant(Channel::Email).await;
    limit(&plant, Channel::Email, 1, 3600).await;
    let first = plant.send("ada", Channel::Email, |_| {}).await;
    plant.becomes(first, Status::Sent).await;
    let mut waiting = Vec::new();
    for user in ["ada", "ada", "bob", "bob"] {
        waiting.push(plant.send(user, Channel::Email, |_| {}).await);
    }
    eventually(PATIENCE, async || scalar(&plant, PUT_OFF).await == 3).await;

    // Nobody waits longer than an hour without asking, and another tenant's change tells nobody.
    let horizon = "select count(*) from queue.jobs where run_at > now() + interval '61 m'";
    assert_eq!(scalar(&plant, horizon).await, 0);
    let again = async |tenant: &str, channel| {
        let clock = Clock::system();
        workers::reconsider(
            &plant.store,
            &Bell::new(),
            &clock,
            &tenant.into(),
            &[channel],
        )
        .await
        .unwrap()
    };
    assert_eq!(again("other", Channel::Email).await, 0);
    assert_eq!(again("default", Channel::Sms).await, 0);
    // Who asks again in vain waits on.
    assert_eq!(again("default", Channel::Email).await, 3);
    eventually(PATIENCE, async || scalar(&plant, PUT_OFF).await == 3).await;

    sqlx::query("update limits set max = 5")
        .execute(plant.store.pool())
        .await
        .unwrap();
    let mut tx = plant.store.begin().await.unwrap();
    lock_limits(&mut tx, &"default".into()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(again("default", Channel::Email).await, 3);

    for id in waiting {
        plant.becomes(id, Status::Sent).await;
    }
    assert_eq!(provider.given().len(), 5);
    assert_eq!(scalar(&plant, PUT_OFF).await, 0);
    plant.stop().await;
}

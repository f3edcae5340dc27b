//! `Idempotency-Key`, `event_id` and `dedupe_key`: what counts as the same, and what happens then.

use std::time::Duration;

use domain::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::SOON;
use crate::front::{ADMIN_KEY, Answer, Front, token};

/// How many ask at once.
const REPEATS: usize = 50;

/// Posts with an `Idempotency-Key`.
pub(crate) async fn post_once(
    front: &Front,
    credential: &str,
    path: &str,
    key: &str,
    body: &Value,
) -> Answer {
    let request = front
        .client
        .post(front.url(path))
        .bearer_auth(credential)
        .header("idempotency-key", key)
        .json(body);
    Answer::of(request.send().await.unwrap()).await
}

/// The four paths that take submissions, with a body for each and the table it lands in.
fn submissions() -> [(&'static str, Value, &'static str); 4] {
    let event = json!({"type": "order.filled", "payload": {"user_id": "u1"}});
    let send = json!({"user_id": "u1", "content": "Hi"});
    [
        ("/v1/events", event.clone(), "events"),
        (
            "/v1/events/batch",
            json!({"events": [event, {"type": ""}]}),
            "events",
        ),
        ("/v1/notifications", send.clone(), "notifications"),
        (
            "/v1/notifications/bulk",
            json!({"notifications": [send, {}]}),
            "notifications",
        ),
    ]
}

#[tokio::test]
async fn repeats_at_once_are_carried_out_once_and_answered_alike() {
    let front = Front::start().await;
    for (path, body, table) in submissions() {
        let before = front.count(table).await;

        let asked = (0..REPEATS).map(|_| post_once(&front, ADMIN_KEY, path, "k", &body));
        let answers = join_all(asked).await;

        let first = answers[0].expect(202);
        for answer in &answers {
            assert_eq!(answer.expect(202), first, "{path}");
        }
        assert_eq!(front.count(table).await - before, 1, "{path}");
    }
    assert_eq!(front.count("queue.jobs").await, 4);
}

#[tokio::test]
async fn repeats_of_an_event_id_or_a_dedupe_key_count_once_whoever_sends_them() {
    let front = Front::start().await;
    for name in ["event_id", "dedupe_key"] {
        let mut body = json!({"type": "a", "payload": {}});
        body[name] = json!("same");

        let answers = join_all((0..REPEATS).map(|_| front.post("/v1/events", body.clone()))).await;

        let statuses = answers
            .iter()
            .map(|answer| answer.expect(202)["status"].clone());
        let accepted = statuses.filter(|status| status == "accepted").count();
        assert_eq!(accepted, 1, "{name}");
    }
    assert_eq!(front.count("events").await, 2);
    // An event_id belongs to its producer, a dedupe_key to its type.
    let other = json!({"type": "b", "payload": {}, "event_id": "same", "producer": "p",
        "dedupe_key": "same"});
    assert_eq!(
        front.post("/v1/events", other).await.expect(202)["status"],
        "accepted"
    );
}

#[tokio::test]
async fn no_event_stands_for_a_direct_send() {
    let front = Front::start().await;
    let send = json!({"user_id": "u1", "content": "Hi", "dedupe_key": "k"});
    front
        .post("/v1/notifications", send.clone())
        .await
        .expect(202);

    let event = json!({"type": "notification", "payload": {}, "dedupe_key": "k"});
    let event = front.post("/v1/events", event).await.expect(202);
    let test = front
        .post("/v1/notifications/test", send.clone())
        .await
        .expect(202);
    let again = front.post("/v1/notifications", send).await.expect(202);

    assert_eq!(event["status"], "accepted");
    assert_eq!(test["status"], "pending");
    assert_eq!(again["status"], "duplicate");
}

#[tokio::test]
async fn a_dedupe_key_is_free_again_after_its_window() {
    let window = Duration::from_hours(1);
    let front = Front::start_with(|config| config.intake.dedupe_window = window).await;
    let body = json!({"type": "a", "payload": {}, "dedupe_key": "k"});
    front.post("/v1/events", body.clone()).await.expect(202);
    let left: f64 = sqlx::query_scalar(
        "select extract(epoch from expires_at - now())::float8 from dedupe_keys",
    )
    .fetch_one(front.store.pool())
    .await
    .unwrap();
    assert!((3500.0..=3600.0).contains(&left), "{left}");
    sqlx::query("update dedupe_keys set expires_at = now()")
        .execute(front.store.pool())
        .await
        .unwrap();

    let again = front.post("/v1/events", body).await.expect(202);

    assert_eq!(again["status"], "accepted");
}

#[tokio::test]
async fn a_key_belongs_to_one_body_one_path_and_one_caller() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    front.create_key("pr_same", "default", &[Role::Send]).await;
    let body = json!({"type": "a", "payload": {}});
    let first = post_once(&front, ADMIN_KEY, "/v1/events", "k", &body)
        .await
        .expect(202);

    let another = json!({"type": "b", "payload": {}});
    let refused = post_once(&front, ADMIN_KEY, "/v1/events", "k", &another).await;
    refused.expect_problem(422);
    assert_eq!(
        refused.json()["type"],
        "urn:postrider:problem:idempotency-key-reused"
    );
    // Another credential of the tenant's services is the same caller: keys are rotated.
    let rotated = post_once(&front, "pr_same", "/v1/events", "k", &body)
        .await
        .expect(202);
    assert_eq!(rotated, first);
    let elsewhere = post_once(&front, "pr_other", "/v1/events", "k", &body)
        .await
        .expect(202);
    assert_ne!(elsewhere, first);
    let batch = json!({"events": [body]});
    post_once(&front, ADMIN_KEY, "/v1/events/batch", "k", &batch)
        .await
        .expect(202);
    assert_eq!(front.count("events").await, 3);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let front = Front::start().await;
    let bad = json!({"type": "", "payload": {}});
    post_once(&front, ADMIN_KEY, "/v1/events", "k", &bad)
        .await
        .expect_problem(422);

    let good = json!({"type": "a", "payload": {}});
    post_once(&front, ADMIN_KEY, "/v1/events", "k", &good)
        .await
        .expect(202);

    for key in ["", &"k".repeat(256), "\u{e9}"] {
        let answer = post_once(&front, ADMIN_KEY, "/v1/events", key, &good).await;
        answer.expect_problem(400);
    }
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_and_is_told_when_that_takes_too_long() {
    let front = Front::start().await;
    let body = json!({"type": "a", "payload": {}});
    let ask = || post_once(&front, ADMIN_KEY, "/v1/events", "k", &body);
    let mut tx = front.store.pool().begin().await.unwrap();
    sqlx::query("lock table events in share mode")
        .execute(&mut *tx)
        .await
        .unwrap();
    let mut first = Box::pin(ask());
    // The first hangs, with its key locked.
    let locked = "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 1
        and database = (select oid from pg_database where datname = current_database())";
    let is_locked = async || {
        let count: i64 = sqlx::query_scalar(locked)
            .fetch_one(front.store.pool())
            .await
            .unwrap();
        count > 0
    };
    tokio::select! {
        _ = &mut first => panic!("the first ended"),
        () = testkit::eventually(SOON, is_locked) => {}
    }

    let late = ask().await;
    late.expect_problem(409);
    assert_eq!(late.retry_after.as_deref(), Some("2"));
    let (second, ()) = tokio::join!(ask(), async { tx.rollback().await.unwrap() });

    assert_eq!(second.expect(202), first.await.expect(202));
    assert_eq!(front.count("events").await, 1);
}

#[tokio::test]
async fn a_key_is_free_again_after_its_day() {
    let front = Front::start().await;
    let body = json!({"type": "a", "payload": {}});
    let first = post_once(&front, ADMIN_KEY, "/v1/events", "k", &body)
        .await
        .expect(202);
    sqlx::query("update idempotency_keys set expires_at = now() - interval '1 second'")
        .execute(front.store.pool())
        .await
        .unwrap();

    let again = post_once(&front, ADMIN_KEY, "/v1/events", "k", &body)
        .await
        .expect(202);

    assert_ne!(again, first);
    let repeat = post_once(&front, ADMIN_KEY, "/v1/events", "k", &body)
        .await
        .expect(202);
    assert_eq!(repeat, again);
}

#[tokio::test]
async fn an_answer_about_refused_rows_is_repeated_too() {
    let front = Front::start().await;
    sqlx::query("alter table events add constraint no_poison check (type <> 'poison')")
        .execute(front.store.pool())
        .await
        .unwrap();
    let kinds = (0..20).map(|number| if number == 7 { "poison" } else { "fine" });
    let events: Vec<_> = kinds
        .map(|kind| json!({"type": kind, "payload": {}}))
        .collect();
    let body = json!({ "events": events });

    let asked = (0..3).map(|_| post_once(&front, ADMIN_KEY, "/v1/events/batch", "k", &body));
    let answers = join_all(asked).await;

    for answer in &answers {
        let answer = answer.expect(202);
        assert_eq!(answer["accepted"], 19);
        assert_eq!(answer["errors"][0]["index"], 7);
    }
    assert_eq!(front.count("events").await, 19);
}

#[tokio::test]
async fn the_first_answer_is_given_again_even_when_things_have_moved_on() {
    let front = Front::start().await;
    front.deliver("u1", "one").await;
    front.deliver("u1", "two").await;
    let (path, body) = ("/v1/notifications/ack", json!({"up_to_seq": 1}));
    let first = post_once(&front, &token("u1"), path, "k", &body)
        .await
        .expect(200);
    front.deliver("u1", "three").await;

    let again = post_once(&front, &token("u1"), path, "k", &body)
        .await
        .expect(200);
    let other = post_once(&front, &token("u2"), path, "k", &body)
        .await
        .expect(200);

    assert_eq!(first, json!({"unread": 1}));
    assert_eq!(again, first);
    assert_eq!(other, json!({"unread": 0}));
}

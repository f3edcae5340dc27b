//! The door under trouble: a refused row, a lost answer, no database.

use std::time::Duration;

use futures_util::future::join_all;
use postrider::config::{Config, Secret};
use serde_json::json;

use crate::front::{ADMIN_KEY, Front};
use crate::once::post_once;
use crate::proxy::Proxy;

/// Sends the config's database address through a proxy.
pub(crate) async fn through_proxy(server: &str) -> Proxy {
    let server = server
        .parse()
        .expect("the test server has a numeric address");
    Proxy::start(server).await
}

/// `host:port` of the server that tests use.
pub(crate) fn server_address() -> String {
    let url = std::env::var("POSTRIDER_TEST_DATABASE_URL").unwrap();
    let address = url
        .split('@')
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    address.replace("localhost", "127.0.0.1")
}

pub(crate) fn use_proxy(config: &mut Config, proxy: &Proxy) {
    let url = config.database.url.clone().unwrap();
    let address = proxy.address.to_string();
    let through = url.reveal().replace(&server_address(), &address);
    config.database.url = Some(Secret::new(through));
}

/// Refuses rows of type `poison`, as a constraint we did not think of would.
async fn poison(front: &Front) {
    sqlx::query("alter table events add constraint no_poison check (type <> 'poison')")
        .execute(front.store.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refused_row_is_answered_alone_and_the_others_of_its_batch_land() {
    let front = Front::start().await;
    poison(&front).await;
    let events: Vec<_> = (0..40)
        .map(|number| {
            let kind = if number == 17 { "poison" } else { "fine" };
            json!({"type": kind, "payload": {}, "event_id": format!("e{number}")})
        })
        .collect();

    let answer = front
        .post("/v1/events/batch", json!({"events": events}))
        .await
        .expect(202);

    assert_eq!(answer["accepted"], 39);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["errors"][0]["index"], 17);
    assert!(
        answer["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("23514")
    );
    assert_eq!(front.count("events").await, 39);
    assert_eq!(front.count("queue.jobs").await, 39);
    // Its key was not kept: a mended row may come under the same name.
    assert_eq!(front.count("event_keys").await, 39);
}

#[tokio::test]
async fn a_refused_request_does_not_hurt_those_gathered_with_it() {
    let front = Front::start_with(|config| {
        config.intake.group_window = Duration::from_millis(50);
        config.intake.committers = 1;
    })
    .await;
    poison(&front).await;

    let requests = (0..20).map(|number| {
        let kind = if number % 10 == 3 { "poison" } else { "fine" };
        front.post("/v1/events", json!({"type": kind, "payload": {}}))
    });
    let answers = join_all(requests).await;

    for (number, answer) in answers.iter().enumerate() {
        if number % 10 == 3 {
            answer.expect_problem(422);
        } else {
            answer.expect(202);
        }
    }
    assert_eq!(front.count("events").await, 18);
}

#[tokio::test]
async fn concurrent_submissions_of_one_event_land_once() {
    let front = Front::start().await;

    let requests = (0..50).map(|_| {
        front.post(
            "/v1/events",
            json!({"type": "a", "payload": {}, "event_id": "e1"}),
        )
    });
    let answers = join_all(requests).await;

    let accepted = answers
        .iter()
        .filter(|answer| answer.expect(202)["status"] == "accepted")
        .count();
    assert_eq!(accepted, 1);
    assert_eq!(front.count("events").await, 1);
    assert_eq!(front.count("queue.jobs").await, 1);
}

/// The server commits, the answer is lost, the group is tried again: what has landed is recognised
/// by its own id, with a key and without one.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_lands_once() {
    let proxy = through_proxy(&server_address()).await;
    let front = Front::start_with(|config| use_proxy(config, &proxy)).await;
    proxy.lose_next_commit();

    let answer = front
        .post(
            "/v1/events/batch",
            json!({"events": [
                {"type": "a", "payload": {}, "event_id": "e1"},
                {"type": "a", "payload": {}, "event_id": "e1"},
                {"type": "a", "payload": {}, "dedupe_key": "k"},
                {"type": "a", "payload": {}},
            ]}),
        )
        .await
        .expect(202);

    assert!(proxy.has_lost_a_commit());
    assert_eq!(
        answer,
        json!({"accepted": 3, "duplicates": 1, "errors": []})
    );
    assert_eq!(front.count("events").await, 3);
    assert_eq!(front.count("queue.jobs").await, 3);
}

/// The answer was kept with the rows, so the second try finds it and gives it out.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_answered_from_its_idempotency_key() {
    let proxy = through_proxy(&server_address()).await;
    let front = Front::start_with(|config| use_proxy(config, &proxy)).await;
    let body = json!({"events": [{"type": "a", "payload": {}}, {"type": ""}]});
    proxy.lose_next_commit();

    let ask = || post_once(&front, ADMIN_KEY, "/v1/events/batch", "k", &body);
    let answer = ask().await.expect(202);

    assert!(proxy.has_lost_a_commit());
    assert_eq!(answer["accepted"], 1);
    assert_eq!(ask().await.expect(202), answer);
    assert_eq!(front.count("events").await, 1);
}

#[tokio::test]
async fn without_postgres_a_request_is_503_and_says_when_to_come_back() {
    let proxy = through_proxy(&server_address()).await;
    let front = Front::start_with(|config| {
        use_proxy(config, &proxy);
        config.intake.deadline = Duration::from_millis(300);
    })
    .await;
    front
        .post("/v1/events", json!({"type": "a", "payload": {}}))
        .await
        .expect(202);

    proxy.cut();
    let answer = front
        .post("/v1/events", json!({"type": "a", "payload": {}}))
        .await;

    answer.expect_problem(503);
    assert_eq!(answer.retry_after.as_deref(), Some("2"));
    assert_eq!(front.count("events").await, 1);
}

//! Webhooks from the API to a far side that misbehaves, and what becomes of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use testkit::eventually;
use workers::Providers;
use workers::providers::{Secret, WebhookConfig};

use crate::SOON;
use crate::far_side::{FarSide, Reply, gaps};
use crate::house::{House, RETRIES};

/// How long an endpoint may take here.
const TIMEOUT: Duration = Duration::from_millis(700);

const FINE: Reply = Reply::Status(200, "", "fine");

/// Posts to loopback addresses, and waits for an answer a moment only.
fn providers() -> Providers {
    Providers {
        webhook: Some(WebhookConfig {
            secrets: vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
            allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
            timeout: TIMEOUT,
            ..WebhookConfig::default()
        }),
        ..Providers::default()
    }
}

fn post_to(url: &str) -> Value {
    json!({
        "user_id": "ada", "channels": ["webhook"], "content": "Your order was filled.",
        "data": {"webhook": url},
    })
}

/// The attempts of a notification's only delivery.
fn attempts(shown: &Value) -> &Vec<Value> {
    shown["deliveries"][0]["attempts"].as_array().unwrap()
}

fn field<'a>(attempts: &'a [Value], name: &str) -> Vec<&'a str> {
    let values = attempts.iter().map(|attempt| attempt[name].as_str());
    values.map(Option::unwrap_or_default).collect()
}

#[tokio::test]
async fn an_endpoint_that_recovers_is_tried_again_when_it_asked_to_be() {
    let busy = Reply::Status(429, "retry-after: 1\r\n", "slow down");
    let far_side = FarSide::start(&[Reply::Status(500, "", "oops"), busy], FINE).await;
    let house = House::start(providers()).await;

    let id = house.send(post_to(&far_side.url())).await;
    let shown = house.comes_to(&id, "delivered").await;

    let attempts = attempts(&shown);
    assert_eq!(field(attempts, "status"), ["failed", "failed", "delivered"]);
    assert!(field(attempts, "error")[0].contains("500"), "{attempts:?}");
    assert!(field(attempts, "error")[1].contains("429"), "{attempts:?}");
    assert!(
        field(attempts, "response")[2].contains("fine"),
        "{attempts:?}"
    );
    let seen = far_side.seen();
    let waited = gaps(&seen);
    assert!(
        waited[0] < SOON && waited[1] >= Duration::from_secs(1),
        "{waited:?}"
    );
    let delivery = shown["deliveries"][0]["id"].as_str().unwrap();
    for request in &seen {
        assert_eq!(request.header("webhook-id"), Some(delivery));
        assert_eq!(request.body, seen[0].body);
    }
    let body: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["type"], "notification");
    assert_eq!(body["data"]["body"], "Your order was filled.");
}

#[tokio::test]
async fn an_endpoint_that_hangs_and_one_that_cuts_off_are_tried_again() {
    let far_side = FarSide::start(&[Reply::Hang, Reply::Cut], FINE).await;
    let house = House::start(providers()).await;

    let id = house.send(post_to(&far_side.url())).await;
    let shown = house.comes_to(&id, "delivered").await;

    let attempts = attempts(&shown);
    assert_eq!(
        field(attempts, "status"),
        ["unknown", "unknown", "delivered"],
        "{attempts:?}"
    );
    let time = |name: &str| {
        attempts[0][name]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    let hung = (time("finished_at") - time("started_at")).to_std().unwrap();
    assert!(hung >= TIMEOUT, "{hung:?}");
}

/// The waits are random shares of a ceiling that doubles up to the cap; what is over when they are
/// used up is a dead letter that tells every attempt, and a replay brings it through.
#[tokio::test]
async fn an_endpoint_that_says_no_for_ever_ends_as_a_dead_letter_that_can_be_replayed() {
    let far_side = FarSide::start(&[], Reply::Status(503, "", "closed")).await;
    let house = House::start(providers()).await;

    let id = house.send(post_to(&far_side.url())).await;
    let shown = house.comes_to(&id, "failed").await;

    let tries = usize::from(RETRIES.attempts_max);
    let attempts_made = attempts(&shown);
    assert_eq!(field(attempts_made, "status"), vec!["failed"; tries]);
    let waited = gaps(&far_side.seen());
    assert_eq!(waited.len(), tries - 1);
    let mut ceiling = RETRIES.base;
    for wait in &waited {
        // What a wait takes longer than it should is the machine's.
        assert!(*wait < ceiling + Duration::from_secs(2), "{waited:?}");
        ceiling = (ceiling * 2).min(RETRIES.cap);
    }
    let spread: std::collections::BTreeSet<_> = waited.iter().map(Duration::as_millis).collect();
    assert!(spread.len() > 1, "{waited:?}");

    let letters = dead_letters(&house).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "attempts_exhausted");
    far_side.is_mended(FINE);
    replay(&house).await;
    let shown = house.comes_to(&id, "delivered").await;
    assert_eq!(attempts(&shown).len(), tries + 1);
    assert!(dead_letters(&house).await.is_empty());
}

#[tokio::test]
async fn a_refusal_and_a_gone_address_are_not_tried_again() {
    for (status, word) in [(400, "400"), (410, "410"), (302, "redirect")] {
        let far_side = FarSide::start(&[], Reply::Status(status, "", "never")).await;
        let house = House::start(providers()).await;

        let id = house.send(post_to(&far_side.url())).await;
        let shown = house.comes_to(&id, "failed").await;

        let attempts = attempts(&shown);
        assert_eq!(field(attempts, "status"), ["rejected"]);
        assert!(field(attempts, "error")[0].contains(word), "{attempts:?}");
        assert_eq!(far_side.seen().len(), 1);
        assert_eq!(dead_letters(&house).await[0].reason, "permanent");
    }
}

/// Nobody reaches our own network through us, unless an operator has said so.
#[tokio::test]
async fn a_private_address_is_refused_without_a_connection() {
    let far_side = FarSide::start(&[], FINE).await;
    let house = House::start(Providers {
        webhook: Some(WebhookConfig::default()),
        ..Providers::default()
    })
    .await;

    let id = house.send(post_to(&far_side.url())).await;
    let shown = house.comes_to(&id, "failed").await;

    let attempts = attempts(&shown);
    assert_eq!(field(attempts, "status"), ["rejected"]);
    assert!(
        !field(attempts, "error")[0].contains("127.0.0.1"),
        "{attempts:?}"
    );
    assert!(far_side.seen().is_empty());
}

async fn dead_letters(house: &House) -> Vec<queue::dead_letter::DeadLetter> {
    let mut conn = house.front.store.acquire().await.unwrap();
    queue::dead_letter::list(
        &mut conn,
        &queue::dead_letter::DeadLetterFilter::default(),
        None,
        100,
    )
    .await
    .unwrap()
}

/// Replays every dead letter.
async fn replay(house: &House) {
    let begun = house
        .front
        .post("/v1/admin/dead-letters/replay", json!({}))
        .await;
    assert!(begun.expect(202)["matched"].as_i64() > Some(0));
    eventually(SOON, async || dead_letters(house).await.is_empty()).await;
}

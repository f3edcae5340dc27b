//! CloudEvents 1.0 over HTTP: structured, batched and binary.

use serde_json::{Value, json};

use crate::front::{ADMIN_KEY, Answer, Front};

fn cloud_event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/orders", "type": "order.filled",
        "time": "2026-11-20T10:00:00Z", "data": {"user_id": "u1"}, "traceparent": "00-1-2-01",
    })
}

async fn post(front: &Front, media_type: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = front
        .client
        .post(front.url("/v1/events"))
        .bearer_auth(ADMIN_KEY)
        .header("content-type", media_type)
        .body(body.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// What is stored of an event.
async fn stored(front: &Front, event_id: &str) -> (String, String, Value) {
    sqlx::query_as("select producer, type, payload from events where event_id = $1")
        .bind(event_id)
        .fetch_one(front.store.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn one_event_means_the_same_in_every_mode() {
    let front = Front::start().await;

    let structured = "application/cloudevents+json; charset=utf-8";
    let answer = post(&front, structured, &[], &cloud_event("a"))
        .await
        .expect(202);
    assert_eq!(answer, json!({"event_id": "a", "status": "accepted"}));
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b"),
        ("ce-source", "/orders"),
        ("ce-type", "order.filled"),
        ("ce-dedupekey", "caf%C3%A9"),
    ];
    let data = json!({"user_id": "u1"});
    let answer = post(&front, "application/json", &attributes, &data)
        .await
        .expect(202);
    assert_eq!(answer, json!({"event_id": "b", "status": "accepted"}));
    let batch = json!([cloud_event("c"), cloud_event("a"), {"specversion": "1.0"}]);
    let answer = post(&front, "application/cloudevents-batch+json", &[], &batch).await;
    let answer = answer.expect(202);
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer["errors"][0]["index"], 2);

    let expected = ("/orders".to_owned(), "order.filled".to_owned(), data);
    for event_id in ["a", "b", "c"] {
        assert_eq!(stored(&front, event_id).await, expected, "{event_id}");
    }
    let key: String = sqlx::query_scalar("select dedupe_key from dedupe_keys")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert_eq!(key, "café");
}

#[tokio::test]
async fn a_bad_cloud_event_is_refused_by_the_attribute() {
    let front = Front::start().await;
    let structured = "application/cloudevents+json";

    let bad = json!({"specversion": "1.0", "id": "a", "source": "s", "type": "t", "data": 7});
    let answer = post(&front, structured, &[], &bad).await;
    assert_eq!(answer.expect_problem(422), ["/data"]);
    let answer = post(
        &front,
        "application/json",
        &[("ce-specversion", "1.0")],
        &json!({}),
    )
    .await;
    let mut pointers = answer.expect_problem(422);
    pointers.sort();
    assert_eq!(pointers, ["/id", "/source", "/type"]);
    let not_utf8 = [("ce-specversion", "1.0"), ("ce-id", "%ff")];
    post(&front, "application/json", &not_utf8, &json!({}))
        .await
        .expect_problem(400);
    let batched = "application/cloudevents-batch+json";
    post(&front, batched, &[], &json!({}))
        .await
        .expect_problem(422);
    post(&front, "application/cloudevents+xml", &[], &json!({}))
        .await
        .expect_problem(415);
    assert_eq!(front.count("events").await, 0);
}

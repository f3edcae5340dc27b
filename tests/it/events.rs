//! Events in: committed once, answered alike.

use serde_json::{Value, json};

use crate::front::Front;

#[tokio::test]
async fn an_accepted_event_is_stored_with_its_route_job() {
    let front = Front::start().await;

    let answer = front
        .post(
            "/v1/events",
            json!({"type": "order.filled", "payload": {"user_id": "u1"}}),
        )
        .await
        .expect(202);

    assert_eq!(answer["status"], "accepted");
    let row: (String, String, Value) = sqlx::query_as(
        "select event.event_id, job.queue, job.payload \
         from events as event, queue.jobs as job",
    )
    .fetch_one(front.store.pool())
    .await
    .unwrap();
    assert_eq!(row.0, answer["event_id"].as_str().unwrap());
    assert_eq!(
        (row.1.as_str(), &row.2["event_id"]),
        ("route", &answer["event_id"])
    );
}

#[tokio::test]
async fn a_repeated_event_id_is_a_duplicate_per_producer() {
    let front = Front::start().await;
    let event = |producer: &str| json!({"type": "a", "payload": {}, "event_id": "e1", "producer": producer});

    let first = front.post("/v1/events", event("risk")).await.expect(202);
    let again = front.post("/v1/events", event("risk")).await.expect(202);
    let other = front.post("/v1/events", event("desk")).await.expect(202);

    assert_eq!(first, json!({"event_id": "e1", "status": "accepted"}));
    assert_eq!(again, json!({"event_id": "e1", "status": "duplicate"}));
    assert_eq!(other, json!({"event_id": "e1", "status": "accepted"}));
    assert_eq!(front.count("events").await, 2);
    assert_eq!(front.count("queue.jobs").await, 2);
}

#[tokio::test]
async fn a_repeated_dedupe_key_is_a_duplicate_per_type() {
    let front = Front::start().await;
    let event = |kind: &str| json!({"type": kind, "payload": {}, "dedupe_key": "acct-7"});

    let first = front.post("/v1/events", event("a")).await.expect(202);
    let again = front.post("/v1/events", event("a")).await.expect(202);
    let other = front.post("/v1/events", event("b")).await.expect(202);

    assert_eq!(again["status"], "duplicate");
    assert_eq!(again["event_id"], first["event_id"]);
    assert_eq!(other["status"], "accepted");
    assert_eq!(front.count("events").await, 2);
}

#[tokio::test]
async fn good_items_of_a_batch_land_even_when_others_are_bad() {
    let front = Front::start().await;

    let answer = front
        .post(
            "/v1/events/batch",
            json!({"events": [
                {"type": "a", "payload": {}, "event_id": "e1"},
                {"type": "a"},
                {"type": "a", "payload": {}, "event_id": "e1"},
                7,
                {"type": "b", "payload": {}, "colour": "red"},
                {"type": "b", "payload": {}},
            ]}),
        )
        .await
        .expect(202);

    assert_eq!(
        answer,
        json!({"accepted": 2, "duplicates": 1, "errors": [
            {"index": 1, "detail": "/payload is required"},
            {"index": 3, "detail": "must be an object"},
            {"index": 4, "detail": "/colour is not a known field"},
        ]})
    );
    assert_eq!(front.count("events").await, 2);
}

#[tokio::test]
async fn a_batch_of_5000_is_one_unit_and_5001_are_refused() {
    let front = Front::start().await;
    let batch = |items: usize| json!({"events": vec![json!({"type": "a", "payload": {"user_id": "u"}}); items]});

    let answer = front
        .post("/v1/events/batch", batch(5000))
        .await
        .expect(202);
    assert_eq!(answer["accepted"], 5000);
    assert_eq!(front.count("queue.jobs").await, 5000);
    let answer = front.post("/v1/events/batch", batch(5001)).await;
    assert_eq!(answer.expect_problem(422), ["/events"]);
}

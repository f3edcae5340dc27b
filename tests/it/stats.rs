//! The counts over HTTP: who may see which, and that they say what the rows say.

use domain::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::token;
use crate::house::House;

#[tokio::test]
async fn what_was_sent_is_counted_by_channel_status_and_priority() {
    let house = House::with_outbox().await;
    let front = &house.front;
    for (channels, priority) in [
        (json!(["email", "in_app"]), "high"),
        (json!(["in_app"]), "normal"),
        // Nobody knows the phone: it fails.
        (json!(["sms"]), "normal"),
    ] {
        house
            .send(json!({
                "user_id": "u1", "channels": channels, "content": "Hi", "priority": priority,
                "data": {"email": "u1@example.com"},
            }))
            .await;
    }
    eventually(SOON, async || {
        let stats = front.get("/v1/stats").await.expect(200);
        stats["deliveries"]["planned"] == 4 && stats["deliveries"]["open"] == 0
    })
    .await;

    let stats = front.get("/v1/stats?window=1h").await.expect(200);
    assert_eq!(stats["window"], "1h");
    assert_eq!(stats["notifications"]["count"], 3);
    assert_eq!(stats["notifications"]["by_priority"]["high"], 1);
    assert_eq!(stats["by_status"]["delivered"], 2);
    assert_eq!(stats["by_status"]["sent"], 1);
    assert_eq!(stats["by_status"]["failed"], 1);
    assert_eq!(stats["by_channel"]["in_app"]["delivered"], 2);
    assert_eq!(stats["by_channel"]["email"]["success_rate"], 1.0);
    assert_eq!(stats["by_channel"]["voice"]["success_rate"], Value::Null);
    assert_eq!(stats["by_priority"]["normal"]["failed"], 1);
    assert!(stats["deliveries"]["per_second"].as_f64().unwrap() > 0.0);

    let admin = front.get("/v1/admin/stats").await.expect(200);
    assert_eq!(admin["scope"], "installation");
    assert_eq!(admin["deliveries"]["planned"], 4);
    let queues = admin["queues"].as_array().unwrap();
    let email = queues
        .iter()
        .find(|queue| queue["queue"] == "email")
        .unwrap();
    assert_eq!(
        (&email["waiting"], &email["dead_letters"]),
        (&json!(0), &json!(0))
    );
    assert!(queues.iter().any(|queue| queue["queue"] == "route"));
}

#[tokio::test]
async fn counts_are_for_those_who_may_read_and_only_of_their_tenant() {
    let house = House::with_outbox().await;
    let front = &house.front;
    house.send(json!({"user_id": "u1", "content": "Hi"})).await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    eventually(SOON, async || {
        let stats = front.get("/v1/stats").await.expect(200);
        stats["by_channel"]["in_app"]["delivered"] == 1
    })
    .await;

    for path in ["/v1/stats", "/v1/admin/stats"] {
        front.get_as("pr_none", path).await.expect_problem(401);
        front.get_as("pr_send", path).await.expect_problem(403);
        front.get_as(&token("u1"), path).await.expect_problem(403);
    }
    front.get_as("pr_read", "/v1/stats").await.expect(200);
    front
        .get_as("pr_read", "/v1/admin/stats")
        .await
        .expect_problem(403);

    let other = front.get_as("pr_other", "/v1/stats").await.expect(200);
    assert_eq!(other["deliveries"]["planned"], 0);
    let other = front
        .get_as("pr_other", "/v1/admin/stats")
        .await
        .expect(200);
    assert_eq!(
        (&other["scope"], &other["queues"]),
        (&json!("tenant"), &Value::Null)
    );
    assert_eq!(other["deliveries"]["planned"], 0);
}

#[tokio::test]
async fn a_window_that_cannot_be_meant_is_refused_by_name() {
    let house = House::with_outbox().await;
    for (query, pointer) in [
        ("window=2h", "/window"),
        ("since=yesterday", "/since"),
        (
            "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
            "/since",
        ),
        ("window=1h&until=2026-01-01T00:00:00Z", "/window"),
    ] {
        let path = format!("/v1/stats?{query}");
        let pointers = house.front.get(&path).await.expect_problem(422);
        assert_eq!(pointers, [pointer], "{query}");
    }
}

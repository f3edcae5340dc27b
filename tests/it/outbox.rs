//! The outbox and the trace: what would have been sent, and why it was.

use domain::Role;
use serde_json::{Value, json};

use crate::front::token;
use crate::house::House;

fn to_everywhere(user: &str) -> Value {
    json!({
        "user_id": user, "channels": ["email", "sms"], "subject": "Moin", "content": "Hi",
        "data": {"email": format!("{user}@example.com"), "phone": "+15551234567"},
    })
}

#[tokio::test]
async fn what_no_provider_carries_is_listed_with_its_address_and_message() {
    let house = House::with_outbox().await;
    let id = house.send(to_everywhere("ada")).await;
    let shown = house.comes_to(&id, "sent").await;

    let listed = house.front.get("/v1/outbox").await.expect(200);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let mail = house
        .front
        .get("/v1/outbox?channel=email")
        .await
        .expect(200);
    let mail = &mail["items"][0];
    assert_eq!(
        (
            &mail["address"],
            &mail["message"]["subject"],
            &mail["notification_id"]
        ),
        (&json!("ada@example.com"), &json!("Moin"), &json!(id))
    );
    let deliveries = shown["deliveries"].as_array().unwrap();
    assert!(deliveries.iter().any(|one| one["id"] == mail["id"]));
    assert_eq!(deliveries[0]["attempts"][0]["provider"], "outbox");
}

#[tokio::test]
async fn the_list_goes_by_pages_and_user_and_shows_a_tenant_only_its_own() {
    let house = House::with_outbox().await;
    for user in ["ada", "bob", "eve"] {
        let id = house.send(to_everywhere(user)).await;
        house.comes_to(&id, "sent").await;
    }

    let first = house.front.get("/v1/outbox?limit=4").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = house
        .front
        .get(&format!("/v1/outbox?limit=4&cursor={cursor}"))
        .await
        .expect(200);
    let users = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["user_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(users(&first), ["eve", "eve", "bob", "bob"]);
    assert_eq!(users(&rest), ["ada", "ada"]);
    assert_eq!(rest["next_cursor"], Value::Null);
    let bobs = house.front.get("/v1/outbox?user_id=bob").await.expect(200);
    assert_eq!(users(&bobs), ["bob", "bob"]);

    house
        .front
        .create_key("pr_other", "other", &[Role::Read])
        .await;
    let others = house
        .front
        .get_as("pr_other", "/v1/outbox")
        .await
        .expect(200);
    assert_eq!(others["items"], json!([]));
    house
        .front
        .create_key("pr_send", "default", &[Role::Send])
        .await;
    house
        .front
        .get_as("pr_send", "/v1/outbox")
        .await
        .expect_problem(403);
    house
        .front
        .get_as(&token("ada"), "/v1/outbox")
        .await
        .expect_problem(403);
    let pigeon = house.front.get("/v1/outbox?channel=pigeon").await;
    assert_eq!(pigeon.expect_problem(422), ["/channel"]);
}

#[tokio::test]
async fn a_trace_tells_every_decision_in_order_to_whoever_may_read_it() {
    let house = House::with_outbox().await;
    let id = house
        .send(json!({"user_id": "ada", "channels": ["email"], "content": "Hi"}))
        .await;
    house.comes_to(&id, "failed").await;

    let trace = house
        .front
        .get(&format!("/v1/notifications/{id}/trace"))
        .await
        .expect(200);
    let decisions: Vec<&Value> = trace
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["decision"])
        .collect();
    assert_eq!(decisions, ["channels", "no_address"]);
    let entry = trace[0].as_object().unwrap();
    let mut keys: Vec<&str> = entry.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["at", "decision", "detail", "reason", "step"]);
    assert!(entry["at"].as_str().unwrap().ends_with('Z'));

    let path = format!("/v1/notifications/{id}/trace");
    house.front.get_as(&token("ada"), &path).await.expect(200);
    house
        .front
        .get_as(&token("eve"), &path)
        .await
        .expect_problem(404);
    house
        .front
        .get("/v1/notifications/nobody/trace")
        .await
        .expect_problem(404);
}

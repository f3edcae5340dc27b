//! The paths of system A, spoken to as a program written against A would.

use domain::Role;
use serde_json::{Value, json};

use crate::front::{Front, token};
use crate::house::House;

/// Every field that A's notification has, and no other.
const FIELDS: [&str; 13] = [
    "content",
    "created_at",
    "error_message",
    "id",
    "metadata",
    "priority",
    "retry_count",
    "sent_at",
    "status",
    "subject",
    "template",
    "type",
    "user_id",
];

async fn ids(front: &Front, query: &str) -> Vec<String> {
    let page = front
        .get(&format!("/api/v1/notifications?{query}"))
        .await
        .expect(200);
    let items = page.as_array().unwrap().iter();
    items
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_notification_is_sent_and_shown_under_the_names_of_a() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let send = json!({
        "user_id": "u1", "type": "EMAIL", "subject": "Filled", "content": "Your order was filled.",
        "metadata": {"email": "u1@example.com", "order": 7}, "priority": "high",
    });

    let answer = front.post("/api/v1/notifications", send).await.expect(202);
    let id = answer["id"].as_str().unwrap();
    house.comes_to(id, "sent").await;
    let shown = front
        .get(&format!("/api/v1/notifications/{id}"))
        .await
        .expect(200);

    let fields: Vec<_> = shown.as_object().unwrap().keys().collect();
    assert_eq!(fields, FIELDS);
    assert_eq!(shown["type"], "email");
    assert_eq!(shown["content"], "Your order was filled.");
    assert_eq!(shown["metadata"]["order"], 7);
    assert_eq!(
        (&shown["status"], &shown["retry_count"]),
        (&json!("sent"), &json!(0))
    );
    assert!(shown["sent_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown["error_message"], Value::Null);
    let list = front.get("/api/v1/notifications").await.expect(200);
    assert_eq!(list, json!([shown]));
}

#[tokio::test]
async fn what_failed_says_why_and_an_event_shows_what_was_rendered() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let send = json!({"user_id": "u1", "type": "sms", "content": "Hi"});
    let answer = front.post("/api/v1/notifications", send).await.expect(202);
    let id = answer["id"].as_str().unwrap();
    house.comes_to(id, "failed").await;
    let failed = front
        .get(&format!("/api/v1/notifications/{id}"))
        .await
        .expect(200);
    assert!(failed["error_message"].is_string(), "{failed}");
    assert_eq!(failed["sent_at"], Value::Null);

    let event = json!({"type": "no.template", "payload": {"user_id": "u2"}});
    front.post("/v1/events", event).await.expect(202);
    testkit::eventually(crate::SOON, async || {
        let list = front
            .get("/api/v1/notifications?user_id=u2")
            .await
            .expect(200);
        list[0]["status"] == "delivered" && list[0]["content"].is_string()
    })
    .await;
}

#[tokio::test]
async fn lists_are_bare_arrays_cut_by_limit_and_offset() {
    let front = Front::start().await;
    let mut sent = Vec::new();
    for number in 0..7 {
        sent.push(front.deliver("u1", &number.to_string()).await.to_string());
    }
    front.deliver("u2", "another's").await;
    sent.reverse();

    assert_eq!(ids(&front, "user_id=u1").await, sent);
    assert_eq!(ids(&front, "user_id=u1&limit=2&offset=3").await, sent[3..5]);
    assert_eq!(
        ids(&front, "user_id=u1&type=in_app&status=delivered&offset=6").await,
        sent[6..]
    );
    assert_eq!(ids(&front, "offset=8").await, [""; 0]);
    assert_eq!(ids(&front, "status=failed").await, [""; 0]);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("offset=10001", "/offset"),
        ("type=pigeon", "/type"),
    ] {
        let path = format!("/api/v1/notifications?{query}");
        assert_eq!(front.get(&path).await.expect_problem(422), [pointer]);
    }
}

#[tokio::test]
async fn submissions_take_either_name_and_refuse_by_the_one_that_was_used() {
    let front = Front::start().await;
    let path = "/api/v1/notifications";

    for good in [
        json!({"user_id": "u1", "content": "x", "metadata": {"a": 1}}),
        json!({"user_id": "u1", "content": "x", "data": {"a": 1}, "channels": ["email", "sms"]}),
        json!({"user_id": "u1", "content": "x", "metadata": null}),
    ] {
        front.post(path, good).await.expect(202);
    }
    for (bad, pointer) in [
        (
            json!({"user_id": "u1", "content": "x", "metadata": 3}),
            "/metadata",
        ),
        (
            json!({"user_id": "u1", "content": "x", "metadata": {}, "data": {}}),
            "/metadata",
        ),
        (
            json!({"user_id": "u1", "content": "x", "retry_count": 1}),
            "/retry_count",
        ),
        (
            json!({"user_id": "u1", "content": "x", "type": "pigeon"}),
            "/type",
        ),
    ] {
        assert_eq!(front.post(path, bad).await.expect_problem(422), [pointer]);
    }

    let items = json!([{"user_id": "u1", "content": "x"}, {"user_id": "u1", "metadata": 3}]);
    for body in [items.clone(), json!({"notifications": items})] {
        let answer = front
            .post("/api/v1/notifications/bulk", body)
            .await
            .expect(202);
        assert_eq!(answer["accepted"].as_array().unwrap().len(), 1);
        assert_eq!(answer["errors"][0]["index"], 1);
        let detail = answer["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("/metadata"), "{detail}");
    }

    let test = json!({"user_id": "u1", "content": "x"});
    let answer = front
        .post("/api/v1/notifications/test", test)
        .await
        .expect(202);
    let shown = front
        .get(&format!(
            "/v1/notifications/{}",
            answer["id"].as_str().unwrap()
        ))
        .await
        .expect(200);
    assert_eq!(shown["is_test"], true);
}

#[tokio::test]
async fn preferences_are_not_taken_for_an_id() {
    let front = Front::start().await;
    let path = "/api/v1/notifications/preferences";
    let user = token("u1");

    let shown = front.get_as(&user, path).await.expect(200);
    assert_eq!(
        shown,
        front.get_as(&user, "/v1/preferences").await.expect(200)
    );
    let merged = front
        .post_as(&user, path, json!({"locale": "ru"}))
        .await
        .expect(200);
    assert_eq!(merged["locale"], "ru");
}

#[tokio::test]
async fn templates_are_shown_to_admins() {
    let front = Front::start().await;

    let list = front.get("/api/v1/admin/templates").await.expect(200);
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert!(names.contains(&&json!("order.filled")), "{names:?}");
    let one = front
        .get("/api/v1/admin/templates/ORDER_FILLED")
        .await
        .expect(200);
    assert_eq!(one["id"], "order.filled");
    assert!(
        one["types"].as_array().unwrap().contains(&json!("email")),
        "{one}"
    );
    let cut = front
        .get("/api/v1/admin/templates?limit=1&offset=1")
        .await
        .expect(200);
    assert_eq!(cut, json!([list[1]]));
    front
        .get("/api/v1/admin/templates/no.such")
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn templates_are_written_under_as_names_and_used_by_both() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let welcome = json!({"name": "welcome", "type": "in_app", "subject": "Hi {{ name }}",
                         "content": "Welcome, {{ name }}.", "variables": ["name"],
                         "is_active": true});
    let made = front.post("/api/v1/admin/templates", welcome.clone()).await;
    let made = made.expect(201);
    assert_eq!(made["content"], "Welcome, {{ name }}.");
    assert_eq!(made["variables"], json!(["name"]));
    let again = front.post("/api/v1/admin/templates", welcome).await;
    again.expect_problem(409);

    let send = json!({"user_id": "u1", "type": "in_app", "template": "welcome",
                      "metadata": {"name": "Ada"}});
    let sent = front
        .post("/api/v1/notifications", send.clone())
        .await
        .expect(202);
    let shown = house
        .comes_to(sent["id"].as_str().unwrap(), "delivered")
        .await;
    assert_eq!(shown["in_app"]["message"], "Welcome, Ada.");

    let path = format!("/api/v1/admin/templates/{}", made["id"].as_str().unwrap());
    let broken = front.put(&path, json!({"content": "{{ name"})).await;
    assert_eq!(broken.expect_problem(422), ["/content"]);
    let changed = front
        .put(&path, json!({"content": "Hello, {{ name }}."}))
        .await;
    let changed = changed.expect(200);
    assert_eq!(
        (&changed["version"], &changed["subject"]),
        (&json!(2), &made["subject"])
    );
    let of_v1 = front.get("/v1/templates/welcome").await.expect(200);
    let section = json!({"title": "Hi {{ name }}", "message": "Hello, {{ name }}."});
    assert_eq!(of_v1["channels"], json!({"in_app": section}));

    let off = front
        .put(&path, json!({"is_active": false}))
        .await
        .expect(200);
    assert_eq!(off["is_active"], false);
    let refused = front.post("/api/v1/notifications", send).await;
    assert_eq!(refused.expect_problem(422), ["/template"]);
    let list = front.get("/api/v1/admin/templates").await.expect(200);
    let names = list.as_array().unwrap().iter().map(|item| &item["name"]);
    assert!(names.is_sorted_by_key(|name| name.as_str().unwrap().to_owned()));
    front.delete(&path).await.expect_gone();
    front.get(&path).await.expect_problem(404);
}

#[tokio::test]
async fn counts_and_permissions_are_those_of_v1() {
    let front = Front::start().await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    let id = front.deliver("u1", "one").await;

    let stats = front.get("/api/v1/stats").await.expect(200);
    assert_eq!(stats["by_channel"]["in_app"]["delivered"], 1);
    let stats = front.get("/api/v1/admin/stats").await.expect(200);
    assert_eq!(stats["scope"], "installation");

    front
        .get_as("pr_send", "/api/v1/stats")
        .await
        .expect_problem(403);
    for path in ["/api/v1/admin/stats", "/api/v1/admin/templates"] {
        front.get_as("pr_read", path).await.expect_problem(403);
        front.get_as("pr_none", path).await.expect_problem(401);
    }
    front
        .get_as("pr_send", "/api/v1/notifications")
        .await
        .expect_problem(403);
    let path = format!("/api/v1/notifications/{id}");
    front.get_as(&token("u2"), &path).await.expect_problem(404);
    let send = json!({"user_id": "u1", "content": "x"});
    front
        .post_as("pr_read", "/api/v1/notifications", send)
        .await
        .expect_problem(403);
    front
        .get("/api/v1/notifications/nonsense")
        .await
        .expect_problem(404);
}

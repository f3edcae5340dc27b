//! What users see of their notifications and do about them, over HTTP and on their sockets.

use domain::Role;
use serde_json::{Value, json};

use crate::front::{Front, token};
use crate::house::{House, UNREAD_FEW};
use crate::socket::Socket;

async fn mark(front: &Front, credential: &str, id: &str, what: &str) -> Value {
    let path = format!("/v1/notifications/{id}/{what}");
    front
        .post_as(credential, &path, json!({}))
        .await
        .expect(200)
}

async fn listed(front: &Front, credential: &str, query: &str) -> Vec<String> {
    let path = format!("/v1/notifications?{query}");
    let page = front.get_as(credential, &path).await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Who fetches the list after a `resync` misses nothing that the feed would have told.
#[tokio::test]
async fn the_list_has_the_data_that_the_feed_has() {
    let house = House::with_outbox().await;
    let payload = json!({"user_id": "u1", "k": "v"});
    let event = json!({"type": "plain", "payload": payload});
    house.front.post("/v1/events", event).await.expect(202);
    let sent = json!({"user_id": "u1", "content": "Hi", "data": {"x": 1}});
    house.send(sent).await;
    let listed = testkit::eventually(crate::SOON, async || {
        let page = house
            .front
            .get("/v1/notifications?user_id=u1")
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap().clone();
        let has_arrived = |item: &Value| item["status"] == "delivered";
        (items.len() == 2 && items.iter().all(has_arrived)).then_some(items)
    })
    .await;

    let data: Vec<_> = listed
        .iter()
        .map(|item| item["in_app"]["data"].clone())
        .collect();
    assert!(data.contains(&payload), "{listed:?}");
    assert!(data.contains(&json!({"x": 1})), "{listed:?}");
}

#[tokio::test]
async fn a_notification_is_read_unread_seen_and_archived_by_its_user() {
    let front = Front::start().await;
    let first = front.deliver("u1", "one").await.to_string();
    let second = front.deliver("u1", "two").await.to_string();
    let user = token("u1");

    assert_eq!(
        mark(&front, &user, &first, "seen").await,
        json!({"unread": 2})
    );
    assert_eq!(
        mark(&front, &user, &first, "read").await,
        json!({"unread": 1})
    );
    assert_eq!(
        mark(&front, &user, &first, "read").await,
        json!({"unread": 1})
    );
    assert_eq!(
        mark(&front, &user, &first, "unread").await,
        json!({"unread": 2})
    );
    assert_eq!(
        listed(&front, &user, "unread=true").await,
        [&*second, &*first]
    );

    assert_eq!(
        mark(&front, &user, &second, "archive").await,
        json!({"unread": 1})
    );
    assert_eq!(listed(&front, &user, "").await, [&*first]);
    assert_eq!(listed(&front, &user, "archived=true").await, [&*second]);
    // A service looks at all that happened.
    let admin = crate::front::ADMIN_KEY;
    assert_eq!(
        listed(&front, admin, "user_id=u1").await,
        [&*second, &*first]
    );
    assert_eq!(listed(&front, admin, "archived=false").await, [&*first]);

    assert_eq!(
        mark(&front, &user, &second, "unarchive").await,
        json!({"unread": 1})
    );
    assert_eq!(listed(&front, &user, "").await, [&*second, &*first]);
    front
        .get_as(&user, "/v1/notifications?archived=maybe")
        .await
        .expect_problem(422);
}

#[tokio::test]
async fn a_list_shows_what_stands_in_the_feed_and_whether_it_was_read() {
    let front = Front::start().await;
    let id = front.deliver("u1", "Filled").await.to_string();
    let user = token("u1");
    mark(&front, &user, &id, "read").await;

    let page = front.get_as(&user, "/v1/notifications").await.expect(200);
    let entry = &page["items"][0]["in_app"];
    assert_eq!(
        (
            &entry["seq"],
            &entry["title"],
            &entry["message"],
            &entry["data"]
        ),
        (
            &json!(1),
            &json!("Filled"),
            &json!("Body"),
            &json!({"order": "Filled"})
        )
    );
    assert!(entry["read_at"].is_string() && entry["seen_at"].is_string());
    assert_eq!(entry["archived_at"], Value::Null);

    let shown = front
        .get(&format!("/v1/notifications/{id}"))
        .await
        .expect(200);
    assert_eq!(shown["in_app"], *entry);
    assert_eq!(shown["is_test"], false);
}

#[tokio::test]
async fn nobody_marks_what_is_not_theirs_and_admins_are_noted() {
    let front = Front::start().await;
    let id = front.deliver("u1", "one").await.to_string();
    front
        .create_key("pr_send", "default", &[Role::Send, Role::Read])
        .await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;

    for what in ["read", "unread", "seen", "archive", "unarchive"] {
        let path = format!("/v1/notifications/{id}/{what}");
        front
            .post_as(&token("u2"), &path, json!({}))
            .await
            .expect_problem(404);
        front
            .post_as("pr_other", &path, json!({}))
            .await
            .expect_problem(404);
        front
            .post_as("pr_send", &path, json!({}))
            .await
            .expect_problem(403);
        front
            .post_as("pr_none", &path, json!({}))
            .await
            .expect_problem(401);
        let nobody = format!("/v1/notifications/not-an-id/{what}");
        front.post(&nobody, json!({})).await.expect_problem(404);
    }
    assert_eq!(front.count("audit").await, 0);

    let admin = mark(&front, crate::front::ADMIN_KEY, &id, "read").await;
    assert_eq!(admin, json!({"unread": 0}));
    let noted: (String, String, String) =
        sqlx::query_as("select actor, action, subject from audit")
            .fetch_one(front.store.pool())
            .await
            .unwrap();
    assert!(noted.0.starts_with("key:"), "{noted:?}");
    assert_eq!((noted.1.as_str(), noted.2), ("notification.read", id));
    mark(&front, &token("u1"), &noted_id(&front).await, "unread").await;
    assert_eq!(front.count("audit").await, 1);
}

async fn noted_id(front: &Front) -> String {
    listed(front, crate::front::ADMIN_KEY, "").await.remove(0)
}

#[tokio::test]
async fn other_tabs_hear_of_every_change_of_the_unread_count() {
    let front = Front::start().await;
    let id = front.deliver("u1", "one").await.to_string();
    let user = token("u1");
    let mut tab = Socket::open(&front, "u1", "").await;
    assert_eq!(tab.hear().await["unread"], 1);

    mark(&front, &user, &id, "archive").await;
    // It was read, and there was more to it.
    for ids in [json!([id]), json!([])] {
        assert_eq!(
            tab.hear().await,
            json!({"type": "read", "ids": ids, "unread": 0})
        );
    }
    mark(&front, &user, &id, "seen").await;
    mark(&front, &user, &id, "unread").await;
    assert_eq!(
        tab.hear().await,
        json!({"type": "read", "ids": [], "unread": 1})
    );
    mark(&front, &user, &id, "read").await;
    assert_eq!(
        tab.hear().await,
        json!({"type": "read", "ids": [id], "unread": 0})
    );
}

#[tokio::test]
async fn a_test_send_goes_to_the_outbox_and_nowhere_else() {
    // Without an outbox for real ones: they would fail.
    let house = House::start(workers::Providers::default()).await;
    let front = &house.front;
    let send = json!({
        "user_id": "u1", "channels": ["email", "in_app"], "content": "Hi", "dedupe_key": "k",
        "data": {"email": "u1@example.com"},
    });

    let answer = front
        .post("/v1/notifications/test", send.clone())
        .await
        .expect(202);
    let id = answer["id"].as_str().unwrap();
    let shown = house.comes_to(id, "sent").await;

    assert_eq!(shown["is_test"], true);
    assert_eq!(shown["in_app"], Value::Null);
    let deliveries = shown["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 2);
    for delivery in deliveries {
        assert_eq!(delivery["provider"], "outbox", "{delivery}");
    }
    let outbox = front.get("/v1/outbox").await.expect(200);
    let channels: Vec<_> = outbox["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["channel"].clone(), item["message"]["body"].clone()))
        .collect();
    assert_eq!(channels.len(), 2, "{outbox}");
    assert!(channels.iter().all(|(_, body)| body == "Hi"), "{outbox}");
    assert_eq!(front.count("inbox").await, 0);
    assert_eq!(front.count("stats").await, 0);

    // The test does not stand for the real thing.
    let real = front.post("/v1/notifications", send).await.expect(202);
    assert_eq!(real["status"], "pending");
}

#[tokio::test]
async fn what_is_unread_beyond_the_limit_counts_as_read_the_oldest_first() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let most = UNREAD_FEW.unread_max as usize;
    let mut sent = Vec::new();
    for _ in 0..most + 3 {
        let id = house.send(json!({"user_id": "u1", "content": "Hi"})).await;
        house.comes_to(&id, "delivered").await;
        sent.push(id);
    }
    sent.reverse();

    let user = token("u1");
    let path = "/v1/notifications/unread-count";
    let unread = front.get_as(&user, path).await.expect(200);
    assert_eq!(unread, json!({"unread": most}));
    assert_eq!(listed(front, &user, "unread=true").await, sent[..most]);
    assert_eq!(listed(front, &user, "").await, sent);
}

//! Consent: what needs it is sent to who has given it, and the log says who had when.

use axum::http::Method;
use domain::Role;
use serde_json::{Value, json};

use crate::front::{Front, token};
use crate::house::House;

fn news(user: &str) -> Value {
    json!({
        "user_id": user, "channels": ["email", "in_app"], "category": "marketing",
        "content": "Buy!", "priority": "critical", "data": {"email": "ada@example.com"},
    })
}

/// What becomes of a send about marketing.
async fn sent(house: &House, user: &str, status: &str) -> Value {
    let id = house.send(news(user)).await;
    house.comes_to(&id, status).await
}

#[tokio::test]
async fn what_was_not_agreed_to_is_suppressed_until_it_is() {
    let house = House::with_outbox().await;
    let front = &house.front;

    // Nobody knows her, and she has agreed to nothing.
    let refused = sent(&house, "ada", "suppressed").await;
    let error = refused["deliveries"][0]["error"].as_str().unwrap();
    assert!(error.ends_with("/consents/marketing"), "{error}");
    let path = format!(
        "/v1/notifications/{}/trace",
        refused["id"].as_str().unwrap()
    );
    let steps = front.get(&path).await.expect(200).to_string();
    assert!(
        steps.contains("the category needs consent and the user has given none"),
        "{steps}"
    );

    let body =
        json!({"user_id": "ada", "category": "marketing", "granted": true, "source": "form"});
    let given = front.post("/v1/consents", body).await.expect(201);
    sent(&house, "ada", "delivered").await;

    // Withdrawn for mail by herself: the feed still may.
    let mail = json!({"category": "marketing", "channel": "email", "granted": false});
    front
        .post_as(&token("ada"), "/v1/consents", mail)
        .await
        .expect(201);
    let shown = sent(&house, "ada", "delivered").await;
    let statuses: Vec<_> = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["channel"].as_str().unwrap(),
                it["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(statuses.contains(&("email", "suppressed")), "{statuses:?}");

    let path = format!("/v1/consents/{}", given["id"].as_str().unwrap());
    assert_eq!(front.delete(&path).await.status, 204);
    sent(&house, "ada", "suppressed").await;
}

#[tokio::test]
async fn who_turned_the_category_on_has_agreed_and_a_test_asks_nobody() {
    let house = House::with_outbox().await;
    let on = json!({"categories": {"marketing": {"enabled": true}}});
    house
        .front
        .post_as(&token("ada"), "/v1/preferences", on)
        .await
        .expect(200);
    sent(&house, "ada", "delivered").await;

    let test = house
        .front
        .post("/v1/notifications/test", news("bob"))
        .await
        .expect(202);
    house.comes_to(test["id"].as_str().unwrap(), "sent").await;
    let mut other = news("bob");
    other["category"] = json!("orders");
    let id = house.send(other).await;
    house.comes_to(&id, "delivered").await;
}

#[tokio::test]
async fn the_log_is_only_added_to() {
    let front = Front::start().await;
    let body = json!({"user_id": "ada", "category": "news", "granted": true, "note": "by phone"});
    let first = front.post("/v1/consents", body.clone()).await.expect(201);
    assert_eq!(
        (&first["channel"], &first["superseded_at"]),
        (&Value::Null, &Value::Null)
    );
    let path = format!("/v1/consents/{}", first["id"].as_str().unwrap());

    let second = front
        .put(&path, json!({"granted": false}))
        .await
        .expect(200);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(
        (&second["user_id"], &second["category"]),
        (&json!("ada"), &json!("news"))
    );
    let shown = front.get(&path).await.expect(200);
    assert_eq!(shown["granted"], true);
    assert_eq!(shown["superseded_at"], second["at"]);
    assert_eq!(front.delete(&path).await.status, 204);
    let other = json!({"user_id": "bob", "category": "offers", "granted": true});
    front.post("/v1/consents", other).await.expect(201);

    let granted = async |query: &str| {
        let listed = front.get(&format!("/v1/consents{query}")).await.expect(200);
        let items = listed["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|it| it["granted"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(granted("?user_id=ada").await, [false, false, true]);
    assert_eq!(granted("?category=offers").await, [true]);
    assert_eq!(granted("?user_id=ada&category=offers").await, [true; 0]);
    assert_eq!(granted("").await.len(), 4);

    for (change, pointer) in [
        (json!({"granted": true, "category": "offers"}), "/category"),
        (json!({"granted": true, "user_id": "bob"}), "/user_id"),
        (json!({"granted": true, "channel": "email"}), "/channel"),
        (json!({}), "/granted"),
    ] {
        assert_eq!(
            front.put(&path, change).await.expect_problem(422),
            [pointer]
        );
    }
    let mut bad = body;
    bad["channel"] = json!("fax");
    assert_eq!(
        front.post("/v1/consents", bad).await.expect_problem(422),
        ["/channel"]
    );
    assert_eq!(
        front.count("audit where action = 'consent.recorded'").await,
        4
    );
}

#[tokio::test]
async fn users_speak_for_themselves_and_services_need_to_be_admins() {
    let front = Front::start().await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let (ada, bob) = (token("ada"), token("bob"));
    let own = json!({"category": "news", "granted": true});
    let record = front
        .post_as(&ada, "/v1/consents", own.clone())
        .await
        .expect(201);
    assert_eq!(
        (&record["user_id"], &record["actor"]),
        (&json!("ada"), &json!("user:ada"))
    );
    let path = format!("/v1/consents/{}", record["id"].as_str().unwrap());

    let of_ada = json!({"user_id": "ada", "category": "news", "granted": true});
    for credential in ["pr_send", "pr_read", &bob] {
        front
            .post_as(credential, "/v1/consents", of_ada.clone())
            .await
            .expect_problem(403);
    }
    let pointers = front.post("/v1/consents", own).await.expect_problem(422);
    assert_eq!(pointers, ["/user_id"]);
    front
        .get_as("pr_send", "/v1/consents")
        .await
        .expect_problem(403);
    front
        .get_as(&bob, "/v1/consents?user_id=ada")
        .await
        .expect_problem(403);
    front.get_as("pr_read", &path).await.expect(200);

    let change = json!({"granted": false});
    for (credential, status) in [
        ("pr_send", 403),
        ("pr_read", 403),
        (&*bob, 404),
        ("pr_other", 404),
    ] {
        for (method, body) in [(Method::PUT, Some(&change)), (Method::DELETE, None)] {
            let answer = front.call(method, &path, credential, body).await;
            assert_eq!(answer.status.as_u16(), status, "{credential}");
        }
    }
    front.get_as(&bob, &path).await.expect_problem(404);
    front.get_as("pr_other", &path).await.expect_problem(404);
    let listed = front.get_as(&bob, "/v1/consents").await.expect(200);
    assert_eq!(listed["items"], json!([]));
    assert_eq!(
        front.call(Method::DELETE, &path, &ada, None).await.status,
        204
    );
}

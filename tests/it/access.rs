//! Who may do what: 401 without a good credential, 403 when it is not enough.

use std::time::Duration;

use chrono::Utc;
use domain::{NotificationId, Role, TenantId, UserId};
use postrider::api::token::issue_token;
use postrider::config::Secret;
use serde_json::json;

use crate::front::{ADMIN_KEY, Answer, Front, JWT_SECRET, token};

#[tokio::test]
async fn a_request_without_a_good_credential_is_401_and_says_how() {
    let front = Front::start().await;
    let expired = issue_token(
        &Secret::new(JWT_SECRET),
        &TenantId::default(),
        &UserId::from("u1"),
        Utc::now() - chrono::TimeDelta::seconds(61),
        Duration::from_mins(1),
    )
    .unwrap();
    let forged = issue_token(
        &Secret::new("another secret"),
        &TenantId::default(),
        &UserId::from("u1"),
        Utc::now(),
        Duration::from_mins(1),
    )
    .unwrap();

    for credential in [
        "",
        "pr_unknown",
        "a.b.c",
        &expired,
        &forged,
        &"x".repeat(100_000),
    ] {
        let request = front
            .client
            .get(front.url("/v1/notifications"))
            .bearer_auth(credential);
        let response = request.send().await.unwrap();
        if credential.len() > 9_000 {
            // Refused even before the headers are read.
            assert!(response.status().is_client_error());
            continue;
        }
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer",
            "{credential}"
        );
        Answer::of(response).await.expect_problem(401);
    }
    let bare = front
        .client
        .get(front.url("/v1/notifications"))
        .send()
        .await
        .unwrap();
    Answer::of(bare).await.expect_problem(401);
}

#[tokio::test]
async fn a_key_is_taken_from_either_header() {
    let front = Front::start().await;

    let request = front
        .client
        .get(front.url("/v1/notifications"))
        .header("x-api-key", ADMIN_KEY);
    let answer = Answer::of(request.send().await.unwrap()).await;

    answer.expect(200);
}

#[tokio::test]
async fn roles_decide_what_a_key_may_do() {
    let front = Front::start().await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    let event = json!({"type": "a", "payload": {}});

    front
        .post_as("pr_send", "/v1/events", event.clone())
        .await
        .expect(202);
    front
        .post_as("pr_read", "/v1/events", event.clone())
        .await
        .expect_problem(403);
    // What it sends is not looked at, so it learns nothing about that either.
    front
        .post_as("pr_read", "/v1/events", json!(["not an event"]))
        .await
        .expect_problem(403);
    front
        .get_as("pr_read", "/v1/notifications")
        .await
        .expect(200);
    front
        .get_as("pr_send", "/v1/notifications")
        .await
        .expect_problem(403);
    front
        .post_as(&token("u1"), "/v1/events", event)
        .await
        .expect_problem(403);
}

#[tokio::test]
async fn a_user_sees_their_own_and_learns_nothing_of_others() {
    let front = Front::start().await;
    let own = front.deliver("u1", "mine").await;
    let other = front.deliver("u2", "theirs").await;
    let never = NotificationId::at(Utc::now());
    let user = token("u1");

    let listed = front.get_as(&user, "/v1/notifications").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["id"], own.to_string());
    front
        .get_as(&user, "/v1/notifications?user_id=u1")
        .await
        .expect(200);
    front
        .get_as(&user, "/v1/notifications?user_id=u2")
        .await
        .expect_problem(403);

    let theirs = front
        .get_as(&user, &format!("/v1/notifications/{other}"))
        .await;
    let nobodys = front
        .get_as(&user, &format!("/v1/notifications/{never}"))
        .await;
    theirs.expect_problem(404);
    assert_eq!(theirs.text, nobodys.text);
}

#[tokio::test]
async fn a_tenant_does_not_see_another_ones_notifications() {
    let front = Front::start().await;
    let id = front.deliver("u1", "mine").await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;

    let listed = front
        .get_as("pr_other", "/v1/notifications")
        .await
        .expect(200);
    assert_eq!(listed["items"], json!([]));
    front
        .get_as("pr_other", &format!("/v1/notifications/{id}"))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn health_and_metrics_are_open() {
    let front = Front::start().await;

    let health = front.client.get(front.url("/health")).send().await.unwrap();
    assert_eq!(
        Answer::of(health).await.expect(200),
        json!({"status": "ok"})
    );
    let metrics = front
        .client
        .get(front.url("/metrics"))
        .send()
        .await
        .unwrap();
    assert!(
        metrics
            .text()
            .await
            .unwrap()
            .contains("notification_websocket_connections 0")
    );
}

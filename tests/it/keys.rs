//! `/v1/admin/keys`: keys are made, rotated and revoked, and their secrets are shown once.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use domain::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Answer, Front, token};

const KEYS: &str = "/v1/admin/keys";

/// What of a key stays readable.
fn beginning(key: &str) -> String {
    key.chars().take(8).collect()
}

async fn ask(front: &Front, method: Method, path: &str, once: Option<&str>) -> Answer {
    let mut request = front
        .client
        .request(method, front.url(path))
        .bearer_auth(ADMIN_KEY);
    if let Some(once) = once {
        request = request.header("idempotency-key", once);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_key_is_made_used_shown_without_its_secret_and_revoked() {
    let front = Front::start().await;
    let end = Utc::now() + TimeDelta::days(30);
    let order = json!({"name": "billing", "roles": ["read", "send"], "expires_at": end});

    let made = front.post(KEYS, order).await.expect(201);
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with("pr_") && key.len() == 67, "{made}");
    assert_eq!(
        (&made["roles"], &made["state"]),
        (&json!(["send", "read"]), &json!("active"))
    );
    front.get_as(key, "/v1/notifications").await.expect(200);
    front.get_as(key, KEYS).await.expect_problem(403);

    let shown = front.get(&format!("{KEYS}/{id}")).await;
    assert!(!shown.text.contains(key));
    assert_eq!(shown.expect(200)["prefix"], json!(beginning(key)));
    let listed = front.get(KEYS).await;
    assert!(!listed.text.contains(key));
    assert_eq!(listed.expect(200)["items"][0]["name"], "billing");

    ask(&front, Method::POST, &format!("{KEYS}/{id}/revoke"), None)
        .await
        .expect(200);
    // In the process that revoked it, at once.
    front
        .get_as(key, "/v1/notifications")
        .await
        .expect_problem(401);
    let shown = front.get(&format!("{KEYS}/{id}")).await.expect(200);
    assert_eq!(shown["state"], "revoked");
    let actions: Vec<(String, String, String)> =
        sqlx::query_as("select actor, action, subject from audit order by audit_id")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    let entry = |action: &str| ("key:pr_admin".to_owned(), action.to_owned(), id.to_owned());
    assert_eq!(
        actions,
        [entry("api_key.created"), entry("api_key.revoked")]
    );
}

#[tokio::test]
async fn a_rotated_key_is_accepted_beside_its_successor_until_the_overlap_is_over() {
    let front = Front::start().await;
    let order = json!({"name": "orders", "roles": ["read"]});
    let old = front.post(KEYS, order).await.expect(201);
    let (old_id, old_key) = (old["id"].as_str().unwrap(), old["key"].as_str().unwrap());
    front.get_as(old_key, "/v1/notifications").await.expect(200);

    let path = format!("{KEYS}/{old_id}/rotate");
    let next = front
        .post(&path, json!({"overlap": "3s"}))
        .await
        .expect(201);
    let began = Instant::now();
    let key = next["key"].as_str().unwrap();

    assert_eq!(
        (&next["name"], &next["roles"]),
        (&json!("orders"), &json!(["read"]))
    );
    front.get_as(key, "/v1/notifications").await.expect(200);
    front.get_as(old_key, "/v1/notifications").await.expect(200);
    let shown = front.get(&format!("{KEYS}/{old_id}")).await.expect(200);
    assert_eq!(
        (&shown["state"], &shown["replaced_by"]),
        (&json!("ending"), &next["id"])
    );
    front.post(&path, json!({})).await.expect_problem(409);
    eventually(SOON, async || {
        front.get_as(old_key, "/v1/notifications").await.status == 401
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(2), "it ended early");
    front.get_as(key, "/v1/notifications").await.expect(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_other_processes_within_the_two_seconds_it_is_remembered() {
    let front = Front::start().await;
    let id = front.create_key("pr_short", "default", &[Role::Read]).await;
    front
        .get_as("pr_short", "/v1/notifications")
        .await
        .expect(200);
    // As another process would: this one is not told.
    let mut conn = front.store.acquire().await.unwrap();
    store::api_keys::revoke_api_key(&mut conn, id, Utc::now())
        .await
        .unwrap();
    drop(conn);
    let revoked = Instant::now();

    let mut last_accepted = Duration::ZERO;
    eventually(SOON, async || {
        let asked = revoked.elapsed();
        let status = front.get_as("pr_short", "/v1/notifications").await.status;
        if status == 200 {
            last_accepted = asked;
        }
        status == 401
    })
    .await;

    assert!(last_accepted < Duration::from_secs(2), "{last_accepted:?}");
}

#[tokio::test]
async fn a_repeat_makes_no_second_key_and_no_secret_is_stored() {
    let front = Front::start().await;
    let order = json!({"roles": ["send"]});
    let post = async || {
        let request = front
            .client
            .post(front.url(KEYS))
            .bearer_auth(ADMIN_KEY)
            .header("idempotency-key", "k1")
            .json(&order);
        Answer::of(request.send().await.unwrap()).await.expect(201)
    };

    let (first, again) = (post().await, post().await);

    let key = first["key"].as_str().unwrap();
    assert_eq!((&first["id"], &again["key"]), (&again["id"], &Value::Null));
    assert_eq!(front.count("api_keys").await, 2, "the admin's and one more");
    let kept: Vec<String> =
        sqlx::query_scalar("select convert_from(answer, 'UTF8') from idempotency_keys")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].contains(key), "{kept:?}");
}

#[tokio::test]
async fn keys_of_another_tenant_do_not_exist_and_only_admins_learn_of_any() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let made = front
        .post(KEYS, json!({"roles": ["send"]}))
        .await
        .expect(201);
    let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());

    let theirs = front.get_as("pr_other", &path).await;
    theirs.expect_problem(404);
    let never = format!("{KEYS}/{}", uuid::Uuid::from_u128(7));
    assert_eq!(front.get_as("pr_other", &never).await.text, theirs.text);
    for action in ["rotate", "revoke"] {
        let answer = front
            .post_as("pr_other", &format!("{path}/{action}"), json!({}))
            .await;
        answer.expect_problem(404);
    }
    let listed = front.get_as("pr_other", KEYS).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "its own");
    front.get_as(&token("u1"), &path).await.expect_problem(403);
    front
        .get_as(made["key"].as_str().unwrap(), &path)
        .await
        .expect_problem(403);
}

#[tokio::test]
async fn a_bad_order_is_422_and_a_delete_is_204_however_often() {
    let front = Front::start().await;
    let bad = json!({"roles": ["owner"], "colour": "red"});
    assert_eq!(
        front.post(KEYS, bad).await.expect_problem(422),
        ["/roles", "/colour"]
    );
    let made = front
        .post(KEYS, json!({"roles": ["send"]}))
        .await
        .expect(201);
    let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());

    for _ in 0..2 {
        assert_eq!(ask(&front, Method::DELETE, &path, None).await.status, 204);
    }
    assert_eq!(front.get(&path).await.expect(200)["state"], "revoked");
    assert_eq!(front.count("audit").await, 2, "made, and revoked once");
}

#[tokio::test]
async fn the_use_of_a_key_is_noted_without_holding_up_its_requests() {
    let front = Front::start().await;
    let made = front
        .post(KEYS, json!({"roles": ["read"]}))
        .await
        .expect(201);
    let key = made["key"].as_str().unwrap();
    front.get_as(key, "/v1/notifications").await.expect(200);

    // It is written each minute, and when the process ends.
    front.stop().await;

    let used: Option<chrono::DateTime<Utc>> =
        sqlx::query_scalar("select last_used_at from api_keys where prefix = $1")
            .bind(beginning(key))
            .fetch_one(front.store.pool())
            .await
            .unwrap();
    assert!(
        used.is_some_and(|at| Utc::now() - at < TimeDelta::seconds(60)),
        "{used:?}"
    );
}

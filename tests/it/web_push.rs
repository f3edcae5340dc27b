//! Browsers of the signed-in user: the key they subscribe with, and where they are stored.

use domain::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::front::{ADMIN_KEY, Answer, Front, token};

/// A key that a browser has made; any point on the curve is one.
pub(crate) const KEY: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

const SUBSCRIPTIONS: &str = "/v1/web-push/subscriptions";

fn browser(name: &str, auth: &str) -> Value {
    json!({
        "endpoint": format!("https://push.example.net/{name}"),
        "expirationTime": null,
        "keys": {"p256dh": KEY, "auth": auth},
    })
}

const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
const OTHER_AUTH: &str = "AAAAAAAAAAAAAAAAAAAAAA";

async fn remove(front: &Front, credential: &str, path: &str, body: Value) -> Answer {
    let request = front.client.request(Method::DELETE, front.url(path));
    let sent = request.bearer_auth(credential).json(&body).send().await;
    Answer::of(sent.unwrap()).await
}

async fn endpoints(front: &Front, user: &str) -> Vec<String> {
    let user = front.get(&format!("/v1/users/{user}")).await.expect(200);
    let browsers = user["addresses"]["web_push"].as_array().cloned();
    browsers
        .unwrap_or_default()
        .iter()
        .map(|browser| browser["endpoint"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_key_is_told_where_there_is_one() {
    let without = Front::start().await;
    without
        .get_as(&token("ada"), "/v1/web-push/key")
        .await
        .expect_problem(404);
    let with = Front::start_with(|config| {
        config.web_push.public_key = Some(format!("{KEY}="));
    })
    .await;
    let told = with.get_as(&token("ada"), "/v1/web-push/key").await;
    assert_eq!(told.expect(200), json!({"public_key": KEY}));
}

#[tokio::test]
async fn a_browser_is_stored_once_and_taken_away_again() {
    let front = Front::start().await;
    let body = json!({"addresses": {"email": "ada@example.com"}, "locale": "de"});
    let stored = front.client.put(front.url("/v1/users/ada"));
    let stored = stored.bearer_auth(ADMIN_KEY).json(&body).send().await;
    assert!(stored.unwrap().status().is_success());
    let ada = token("ada");

    for (name, auth, count) in [("one", AUTH, 1), ("two", AUTH, 2), ("one", OTHER_AUTH, 2)] {
        let answer = front
            .post_as(&ada, SUBSCRIPTIONS, browser(name, auth))
            .await;
        assert_eq!(answer.expect(200), json!({"subscriptions": count}));
    }
    let user = front.get("/v1/users/ada").await.expect(200);
    assert_eq!(user["addresses"]["email"], "ada@example.com");
    assert_eq!(user["locale"], "de");
    let keys = &user["addresses"]["web_push"][1]["keys"];
    assert_eq!(keys["auth"], OTHER_AUTH);

    let one = json!({"endpoint": "https://push.example.net/one"});
    for _ in 0..2 {
        remove(&front, &ada, SUBSCRIPTIONS, one.clone())
            .await
            .expect_gone();
    }
    assert_eq!(
        endpoints(&front, "ada").await,
        ["https://push.example.net/two"]
    );
    // Each change is on record, without the address.
    let audit: Vec<(String, Option<Value>)> = sqlx::query_as(
        "select action, detail from audit where action like 'web_push.%' order by audit_id",
    )
    .fetch_all(front.store.pool())
    .await
    .unwrap();
    let actions: Vec<_> = audit.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "web_push.subscribed",
            "web_push.subscribed",
            "web_push.subscribed",
            "web_push.unsubscribed"
        ]
    );
    assert!(audit.iter().all(|(_, detail)| detail.is_none()));
}

#[tokio::test]
async fn of_more_than_twenty_browsers_the_oldest_is_forgotten() {
    let front = Front::start().await;
    let ada = token("ada");
    for number in 1..=22 {
        let body = browser(&number.to_string(), AUTH);
        front.post_as(&ada, SUBSCRIPTIONS, body).await.expect(200);
    }

    let endpoints = endpoints(&front, "ada").await;
    assert_eq!(endpoints.len(), 20);
    assert_eq!(endpoints[0], "https://push.example.net/3");
    assert_eq!(endpoints[19], "https://push.example.net/22");
}

#[tokio::test]
async fn browsers_that_subscribe_at_once_are_all_stored() {
    let front = Front::start().await;
    let ada = token("ada");
    let one = async |number: usize| {
        let body = browser(&number.to_string(), AUTH);
        front.post_as(&ada, SUBSCRIPTIONS, body).await.expect(200);
    };

    futures_util::future::join_all((1..=10).map(one)).await;

    assert_eq!(endpoints(&front, "ada").await.len(), 10);
}

#[tokio::test]
async fn only_the_user_and_an_admin_may_and_bad_bodies_name_the_field() {
    let front = Front::start().await;
    front
        .create_key("pr_reader_of_the_tests", "default", &[Role::Read])
        .await;
    let body = || browser("x", AUTH);
    let named = format!("{SUBSCRIPTIONS}?user_id=ada");
    front
        .post_as("pr_reader_of_the_tests", &named, body())
        .await
        .expect_problem(403);
    front
        .post_as(&token("eve"), &named, body())
        .await
        .expect_problem(403);
    front.post(&named, body()).await.expect(200);
    let nobody = front.post(SUBSCRIPTIONS, body()).await;
    assert_eq!(nobody.expect_problem(422), ["/user_id"]);

    let ada = token("ada");
    let plain = json!({"endpoint": "http://push.example.net/x", "keys": {"p256dh": KEY}});
    let refused = front.post_as(&ada, SUBSCRIPTIONS, plain).await;
    assert_eq!(refused.expect_problem(422), ["/endpoint", "/keys/auth"]);
    let refused = remove(
        &front,
        &ada,
        SUBSCRIPTIONS,
        json!({"endpoint": "x", "all": true}),
    )
    .await;
    assert_eq!(refused.expect_problem(422), ["/endpoint", "/all"]);
    // Asking to be forgotten makes nobody known.
    let gone = json!({"endpoint": "https://push.example.net/x"});
    remove(&front, &token("eve"), SUBSCRIPTIONS, gone)
        .await
        .expect_gone();
    front.get("/v1/users/eve").await.expect_problem(404);
}

#[tokio::test]
async fn an_erased_user_has_no_browsers_any_more() {
    let front = Front::start().await;
    let ada = token("ada");
    front
        .post_as(&ada, SUBSCRIPTIONS, browser("x", AUTH))
        .await
        .expect(200);
    let erased = front.client.delete(front.url("/v1/users/ada"));
    let erased = erased.bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(erased.status(), 204);

    let left = front
        .count("users where addresses::text like '%push.example%'")
        .await;
    assert_eq!(left, 0);
}

//! Signing in to the console: who gets in, with what cookie, for how long.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::Role;
use reqwest::StatusCode;
use serde_json::json;
use testkit::eventually;

use super::{Page, Visitor};
use crate::SOON;
use crate::front::{ADMIN_KEY, Front, token};

#[tokio::test]
async fn an_admin_signs_in_and_out_again_and_both_are_noted() {
    let front = Front::start().await;
    let mut visitor = Visitor::new(&front);

    let page = visitor.sign_in(ADMIN_KEY).await;
    let cookie = page.cookie.clone().unwrap();
    assert_eq!(page.led_to(), "/console");
    for flag in [
        "HttpOnly",
        "SameSite=Strict",
        "Path=/console;",
        "Max-Age=43200",
    ] {
        assert!(cookie.contains(flag), "{flag}: {cookie}");
    }
    assert!(!cookie.contains("Secure"), "there is no TLS: {cookie}");
    let html = visitor.get("/console").await.shown();
    assert!(html.contains("key:pr_admin"), "{html}");
    // Nothing in the table is the cookie itself.
    let stored: Vec<u8> = sqlx::query_scalar("select session_hash from console_sessions")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert_eq!(stored.len(), 32);

    let out = visitor.submit("/console", "/console/sign-out", &[]).await;
    assert!(out.cookie.clone().unwrap().contains("Max-Age=0"));
    assert_eq!(out.led_to(), "/console/sign-in?signed_out=1");
    assert_eq!(visitor.get("/console").await.led_to(), "/console/sign-in");
    let actions: Vec<(String, String)> =
        sqlx::query_as("select actor, action from audit order by audit_id")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    let by_admin = |action: &str| ("key:pr_admin".to_owned(), action.to_owned());
    assert_eq!(
        actions,
        [
            by_admin("console.signed_in"),
            by_admin("console.signed_out")
        ]
    );
}

#[tokio::test]
async fn who_is_no_admin_is_told_so_in_plain_words_and_gets_no_cookie() {
    let front = Front::start().await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    let mut visitor = Visitor::new(&front);

    for credential in ["pr_read", &token("u1")] {
        let page = visitor.sign_in(credential).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.text.contains("needs the role"), "{}", page.text);
        assert!(page.text.contains("id=\"credential\""), "the form again");
        assert_eq!(page.cookie, None);
    }
    for credential in ["pr_unknown", "", "a.b.c", "ä", &"x".repeat(20_000)] {
        let page = visitor.sign_in(credential).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{credential}");
        assert_eq!(page.cookie, None);
    }
    assert_eq!(front.count("console_sessions").await, 0);
}

#[tokio::test]
async fn bad_credentials_are_counted_as_those_of_the_api_are() {
    let front = Front::start_with(|config| {
        config.limits.failures_per_minute_per_ip = Some(3);
    })
    .await;
    let mut visitor = Visitor::new(&front);

    for _ in 0..3 {
        assert_eq!(
            visitor.sign_in("pr_no").await.status,
            StatusCode::UNAUTHORIZED
        );
    }

    let page = visitor.sign_in("pr_no").await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.text.contains("too many bad credentials"), "{page:?}");
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_there_and_back_again() {
    let front = Front::start().await;
    let mut visitor = Visitor::new(&front);

    let led = visitor.get("/console/queues?x=1").await.led_to();
    assert_eq!(led, "/console/sign-in?next=%2Fconsole%2Fqueues%3Fx%3D1");
    let html = visitor.get(&led).await.shown();
    assert!(html.contains("value=\"/console/queues?x=1\""), "{html}");
    let fields = [("credential", ADMIN_KEY), ("next", "/console/queues?x=1")];
    let page = visitor.send("/console/sign-in", &fields).await;
    assert_eq!(page.led_to(), "/console/queues?x=1");
    let fields = [
        ("credential", ADMIN_KEY),
        ("next", "//evil.example/console"),
    ];
    let page = visitor.send("/console/sign-in", &fields).await;
    assert_eq!(page.led_to(), "/console");
    // Who is in already needs no form.
    visitor.sign_in(ADMIN_KEY).await;
    assert_eq!(visitor.get(&led).await.led_to(), "/console/queues?x=1");
}

#[tokio::test]
async fn a_session_ends_with_its_key_and_with_its_time() {
    let front = Front::start().await;
    let key_id = front.create_key("pr_mine", "default", &[Role::Admin]).await;
    let by_key = Visitor::holding(&front, "pr_mine").await;
    let by_time = Visitor::admin(&front).await;
    by_key.get("/console").await.shown();
    by_time.get("/console").await.shown();

    let path = format!("/v1/admin/keys/{key_id}/revoke");
    front.post(&path, json!({})).await.expect(200);
    sqlx::query("update console_sessions set expires_at = $1 where api_key_id <> $2")
        .bind(Utc::now() - TimeDelta::seconds(1))
        .bind(key_id)
        .execute(front.store.pool())
        .await
        .unwrap();

    for visitor in [by_key, by_time] {
        eventually(SOON, async || {
            visitor.get("/console").await.status == StatusCode::SEE_OTHER
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_ends_no_later_than_the_key_it_was_opened_with() {
    let front = Front::start().await;
    let body = json!({"name": "short", "roles": ["admin"],
        "expires_at": Utc::now() + TimeDelta::hours(1)});
    let made = front.post("/v1/admin/keys", body).await.expect(201);
    let mut visitor = Visitor::new(&front);

    let page = visitor.sign_in(made["key"].as_str().unwrap()).await;

    let cookie = page.cookie.unwrap();
    let (_, seconds) = cookie.split_once("Max-Age=").unwrap();
    let seconds: u64 = seconds.split(';').next().unwrap().parse().unwrap();
    let hour = Duration::from_hours(1).as_secs();
    assert!((1..=hour).contains(&seconds), "{cookie}");
}

#[tokio::test]
async fn a_form_that_is_not_ours_changes_nothing() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let other = Visitor::admin(&front).await;
    let path = "/console/queues/email/pause";
    let own = super::token_in(&visitor.get("/console/queues").await.shown());
    let others = super::token_in(&other.get("/console/queues").await.shown());

    for token in ["", "00", &others] {
        let page = visitor.send(path, &[("form_token", token)]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{token}");
        assert!(page.text.starts_with("<!doctype html>"), "{}", page.text);
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let form = visitor.form(path, &[("form_token", &own)]);
        let page = Page::of(form.header(name, value).send().await.unwrap()).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {value}");
        let sign_in = visitor.form("/console/sign-in", &[("credential", ADMIN_KEY)]);
        let page = Page::of(sign_in.header(name, value).send().await.unwrap()).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert_eq!(front.count("queue.queues").await, 0);
    let origin = format!("http://{}", front.address);
    let form = visitor.form(path, &[("form_token", &own)]);
    let page = Page::of(form.header("origin", origin).send().await.unwrap()).await;
    page.led_to();
    assert_eq!(front.count("queue.queues").await, 1);
}

#[tokio::test]
async fn a_user_who_is_erased_is_signed_out() {
    let front = Front::start().await;
    let token = super::admin_token("boss");
    let visitor = Visitor::holding(&front, &token).await;
    visitor.get("/console").await.shown();

    let request = front
        .client
        .delete(front.url("/v1/users/boss"))
        .bearer_auth(ADMIN_KEY);
    assert!(request.send().await.unwrap().status().is_success());

    assert_eq!(front.count("console_sessions").await, 0);
    eventually(SOON, async || {
        visitor.get("/console").await.status == StatusCode::SEE_OTHER
    })
    .await;
}

//! Rules in the console: the list, writing one as text, the switch, and the dry run.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{HOSTILE, Visitor, shows_as_text};
use crate::front::Front;

const PATH: &str = "/console/rules";

const RULE: &str = "name: Margin Call\nevent_type: margin.call\nactions:\n  - type: notify\n    \
    channels: [email, in_app]\n    priority: high\n";

async fn made(front: &Front, body: Value) -> String {
    let made = front.post("/v1/rules", body).await.expect(201);
    format!("{PATH}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_rule_is_written_as_text_changed_switched_and_removed() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let drafts = "/console/drafts/rule";

    let led = visitor
        .submit(drafts, drafts, &[("source", RULE)])
        .await
        .led_to();
    let path = led.split('?').next().unwrap().to_owned();
    let html = visitor.get(&led).await.shown();
    assert!(
        html.contains("Saved.") && html.contains("margin.call"),
        "{html}"
    );
    let list = visitor.get(PATH).await.shown();
    for text in ["Margin Call", "margin.call", "email, in_app", "enabled"] {
        assert!(list.contains(text), "{text}: {list}");
    }
    let changed = RULE.replace("high", "critical").replace('\n', "\r\n");
    let fields = [("source", changed.as_str()), ("version", "1")];
    visitor.submit(&path, &path, &fields).await.led_to();
    let overtaken = visitor.submit(&path, &path, &fields).await;
    assert_eq!(overtaken.status, StatusCode::CONFLICT, "{overtaken:?}");
    assert!(overtaken.text.contains("critical"), "{}", overtaken.text);
    let stored = front.get("/v1/rules/Margin%20Call").await.expect(200);
    assert_eq!(
        (&stored["version"], &stored["actions"][0]["priority"]),
        (&json!(2), &json!("critical"))
    );

    for (word, is_enabled) in [("disable", false), ("enable", true)] {
        let led = visitor
            .submit(&path, &format!("{path}/{word}"), &[])
            .await
            .led_to();
        assert!(visitor.get(&led).await.shown().contains(&format!(
            "state {}",
            if is_enabled {
                "good\">enabled"
            } else {
                "idle\">disabled"
            }
        )));
        let stored = front.get("/v1/rules/Margin%20Call").await.expect(200);
        assert_eq!(stored["enabled"], is_enabled);
    }
    let led = visitor
        .submit(&path, &format!("{path}/remove"), &[])
        .await
        .led_to();
    assert!(
        visitor
            .get(&led)
            .await
            .shown()
            .contains("Margin Call is removed")
    );
    assert_eq!(visitor.get(&path).await.status, 404);
    let actions: Vec<String> =
        sqlx::query_scalar("select action from audit where action like 'rule.%' order by audit_id")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    let replaced = "rule.replaced";
    assert_eq!(
        actions,
        ["rule.created", replaced, replaced, replaced, "rule.removed"]
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_and_what_was_written_is_kept() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let drafts = "/console/drafts/rule";

    for (source, told) in [
        (RULE.replace("email", "pigeon"), "/actions/0/channels"),
        (RULE.replace("event_type", "event_typo"), "/event_typo"),
        ("name: [".to_owned(), "cannot be read as YAML"),
        ("just words".to_owned(), "Not saved"),
        (format!("name: a\nwhen: {}", "[".repeat(5000)), "Not saved"),
    ] {
        let page = visitor.submit(drafts, drafts, &[("source", &source)]).await;
        assert_eq!(
            page.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{source}: {page:?}"
        );
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    let page = visitor.submit(drafts, drafts, &[]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(front.count("rules").await, 0);
}

#[tokio::test]
async fn a_dry_run_says_who_would_hear_what_and_why() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let user = json!({"addresses": {"email": "ada@example.com"}});
    super::put(&front, "/v1/users/ada", user).await;
    made(
        &front,
        json!({"name": "Margin Call", "event_type": "margin.call", "actions": [
        {"type": "notify", "channels": ["email", "sms"], "priority": "high"}]}),
    )
    .await;
    let path = "/console/rehearsal";
    let event = json!({"type": "margin.call", "payload": {"user_id": "ada"}}).to_string();

    let html = visitor
        .submit(path, path, &[("event", &event)])
        .await
        .shown();
    for text in [
        "Margin Call",
        "/console/users/ada",
        "email: queued",
        "sms: failed",
        "speaks of the event",
        "No address",
    ] {
        let is_there = html.to_lowercase().contains(&text.to_lowercase());
        assert!(is_there, "{text}: {html}");
    }
    let quiet = json!({"quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00",
        "timezone": "UTC", "allow_critical": false}});
    super::put(&front, "/v1/users/ada/preferences", quiet).await;
    let at_night = [("event", event.as_str()), ("at", "2026-11-20T23:00")];
    let html = visitor.submit(path, path, &at_night).await.shown();
    assert!(
        html.contains("2026-11-21 08:00:00"),
        "held until then: {html}"
    );
    let yaml = "type: other\npayload:\n  user_id: bob";
    let html = visitor.submit(path, path, &[("event", yaml)]).await.shown();
    assert!(html.contains("none speaks of it"), "{html}");
    for (event, at) in [
        ("{", ""),
        ("[]", ""),
        ("{\"payload\": 7}", ""),
        (yaml, "noon"),
    ] {
        let page = visitor
            .submit(path, path, &[("event", event), ("at", at)])
            .await;
        assert_eq!(
            page.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{event}: {page:?}"
        );
    }
    assert_eq!(front.count("events").await, 0);
    assert_eq!(front.count("notifications").await, 0);
    assert_eq!(front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let path = made(
        &front,
        json!({"name": HOSTILE, "description": HOSTILE,
        "event_types": [HOSTILE.replace('*', "x")], "actions": [{"type": "notify", "template": HOSTILE}]}),
    )
    .await;

    for path in [PATH, &path, &format!("{PATH}/{}", super::encode(HOSTILE))] {
        shows_as_text(&visitor.get(path).await.shown(), path);
    }
    let rehearsal = "/console/rehearsal";
    let event = json!({"type": HOSTILE, "payload": {"user_id": HOSTILE, HOSTILE: HOSTILE}});
    let event = event.to_string();
    let html = visitor
        .submit(rehearsal, rehearsal, &[("event", &event)])
        .await
        .shown();
    shows_as_text(&html, rehearsal);
    let wrong = format!("name: {HOSTILE:?}\n{HOSTILE:?}: 1");
    let page = visitor.submit(&path, &path, &[("source", &wrong)]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    shows_as_text(&page.text, "a refused rule");
}

#[tokio::test]
async fn the_list_pages_through_everything_once() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    for number in 0..103 {
        let name = format!("r{number:03}");
        made(
            &front,
            json!({"name": name, "event_type": "a", "actions": [{"type": "notify"}]}),
        )
        .await;
    }

    let first = visitor.get(PATH).await.shown();
    let (_, rest) = first.split_once("href=\"/console/rules?").unwrap();
    let second = format!("{PATH}?{}", rest.split('"').next().unwrap());
    let second = visitor.get(&second).await.shown();
    for number in 0..103 {
        let name = format!("<strong>r{number:03}</strong>");
        let times = first.matches(&name).count() + second.matches(&name).count();
        assert_eq!(times, 1, "{name}");
    }
}

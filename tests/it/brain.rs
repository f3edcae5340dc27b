//! An event through rules, people, tests of templates, quiet hours and fallback, and its whole trace.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::Front;
use crate::house::House;

async fn template(front: &Front, name: &str, text: &str) {
    let body = json!({"name": name, "category": "risk",
                      "channels": {"in_app": {"title": "Margin", "message": text}}});
    front.post("/v1/templates", body).await.expect(201);
}

/// Submits an event and waits until its notifications are there and none is open.
async fn told(house: &House, event: Value, users: &[&str]) -> Vec<Value> {
    house.front.post("/v1/events", event).await.expect(202);
    let mut told = Vec::new();
    for user in users {
        let path = format!("/v1/notifications?user_id={user}");
        eventually(SOON, async || {
            let page = house.front.get(&path).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            let is_over = |it: &Value| {
                !["pending", "queued", "sending"].contains(&it["status"].as_str().unwrap())
            };
            !items.is_empty() && items.iter().all(is_over)
        })
        .await;
        let page = house.front.get(&path).await.expect(200);
        told.extend(page["items"].as_array().unwrap().iter().cloned());
    }
    told
}

async fn trace(front: &Front, notification: &Value) -> Vec<Value> {
    let id = notification["id"].as_str().unwrap();
    let trace = front.get(&format!("/v1/notifications/{id}/trace")).await;
    trace.expect(200).as_array().unwrap().clone()
}

/// The steps of a trace, without their moments.
fn words(steps: &[Value]) -> Vec<(String, String, String)> {
    let word = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    steps
        .iter()
        .map(|step| {
            (
                word(step, "step"),
                word(step, "decision"),
                word(step, "reason"),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_dry_run_says_beforehand_what_the_trace_says_afterwards() {
    let house = House::with_outbox().await;
    let front = &house.front;
    template(front, "margin.a", "{{ ratio }} is low.").await;
    template(front, "margin.b", "Low: {{ ratio }}.").await;
    front
        .put(
            "/v1/users/ada",
            json!({"addresses": {"email": "ada@example.com"}, "locale": "de"}),
        )
        .await
        .expect(200);
    front
        .put(
            "/v1/users/ada/preferences",
            json!({"channels": {"email": {"enabled": false}}}),
        )
        .await
        .expect(200);
    let rule = json!({
        "name": "Margin", "event_types": ["MARGIN_LOW"],
        "conditions": [{"field": "severity", "operator": "gte", "value": "high"}],
        "when": "event.data.ratio < 1.0",
        "actions": [{
            "channels": ["sms", "email"], "fallback": ["push", "in_app"],
            "recipients": {"type": "dynamic", "expression": "event.data.user_id"},
            "variants": [{"name": "a", "weight": 1, "template": "margin.a"},
                         {"name": "b", "weight": 1, "template": "margin.b"}],
        }],
    });
    front.post("/v1/rules", rule).await.expect(201);
    let other = json!({"name": "Never", "event_type": "margin.low", "when": "event.data.ratio > 5.0",
                       "recipients": ["nobody"]});
    front.post("/v1/rules", other).await.expect(201);
    let event = json!({"type": "margin.low", "severity": "critical",
                       "payload": {"user_id": "ada", "ratio": 0.8}});

    let dry = front
        .post("/v1/rules/test", json!({"event": event}))
        .await
        .expect(200);
    let listed = front.get("/v1/notifications?user_id=ada").await.expect(200);
    assert_eq!(listed["items"], json!([]), "a dry run writes nothing");
    let told = told(&house, event, &["ada"]).await;

    let [notification] = &told[..] else {
        panic!("{told:?}");
    };
    let planned = &dry["notifications"][0];
    for name in [
        "template",
        "template_version",
        "variant",
        "category",
        "priority",
        "locale",
    ] {
        assert_eq!(notification[name], planned[name], "{name}");
    }
    assert_eq!(notification["category"], "risk");
    // No number for the text message and no device in its place; the mail is not wanted.
    let channels: Vec<_> = planned["deliveries"]
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
    assert_eq!(
        channels,
        [
            ("sms", "failed"),
            ("in_app", "queued"),
            ("email", "suppressed")
        ]
    );

    let steps = trace(front, notification).await;
    let before = words(dry["trace"].as_array().unwrap());
    assert_eq!(words(&steps)[..before.len()], before);
    let decisions: Vec<_> = before
        .iter()
        .map(|(_, decision, _)| decision.as_str())
        .collect();
    for decision in [
        "matched",
        "not_matched",
        "recipients",
        "rule",
        "variant",
        "template",
        "channels",
        "no_address",
        "fallback_unusable",
        "fallback",
        "suppressed",
    ] {
        assert!(decisions.contains(&decision), "{decision} in {decisions:?}");
    }
    let suppressed = steps.iter().find(|step| step["decision"] == "suppressed");
    assert_eq!(
        suppressed.unwrap()["detail"]["row"],
        "/channels/email/enabled"
    );
    let after: Vec<_> = words(&steps)[before.len()..]
        .iter()
        .map(|(step, decision, _)| format!("{step} {decision}"))
        .collect();
    assert_eq!(after, ["render rendered", "attempt delivered"]);
    let rendered = steps
        .iter()
        .find(|step| step["decision"] == "rendered")
        .unwrap();
    assert_eq!(rendered["detail"]["version"], 1);
    assert_eq!(rendered["detail"]["locale"], "en");
}

#[tokio::test]
async fn sides_of_a_test_are_kept_per_user_and_counted() {
    let house = House::with_outbox().await;
    let front = &house.front;
    template(front, "short", "Short.").await;
    template(front, "long", "Long.").await;
    let users: Vec<String> = (0..40).map(|n| format!("user-{n}")).collect();
    let rule = json!({
        "name": "Try", "event_type": "tried", "recipients": users,
        "variants": [{"name": "short", "weight": 1, "template": "short"},
                     {"name": "long", "weight": 1, "template": "long"}],
    });
    let made = front.post("/v1/rules", rule).await.expect(201);
    let names: Vec<&str> = users.iter().map(String::as_str).collect();

    let first = told(&house, json!({"type": "tried", "payload": {}}), &names).await;
    let twice = json!({"type": "tried", "payload": {"again": true}});
    front.post("/v1/events", twice).await.expect(202);
    eventually(SOON, async || {
        let stats = front.get("/v1/stats?window=1h").await.expect(200);
        stats["deliveries"]["delivered"] == 80
    })
    .await;

    let sides: BTreeSet<_> = first
        .iter()
        .map(|it| it["variant"].as_str().unwrap())
        .collect();
    assert_eq!(sides, BTreeSet::from(["long", "short"]));
    let shorts = first.iter().filter(|it| it["variant"] == "short").count() as i64;
    for user in &names {
        let page = front
            .get(&format!("/v1/notifications?user_id={user}"))
            .await
            .expect(200);
        let [later, earlier] = &page["items"].as_array().unwrap()[..] else {
            panic!("{page}");
        };
        assert_eq!(later["variant"], earlier["variant"]);
        assert_eq!(later["template"], later["variant"]);
    }
    let stats = front.get("/v1/stats?window=1h").await.expect(200);
    let counted: Vec<_> = stats["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            assert_eq!((&it["rule_id"], &it["action"]), (&made["id"], &json!(0)));
            let delivered = it["deliveries"]["delivered"].as_i64().unwrap();
            (
                it["variant"].as_str().unwrap(),
                it["notifications"].as_i64().unwrap(),
                delivered,
            )
        })
        .collect();
    let longs = 40 - shorts;
    assert_eq!(
        counted,
        [
            ("long", 2 * longs, 2 * longs),
            ("short", 2 * shorts, 2 * shorts)
        ]
    );
    assert_eq!(
        stats["deliveries"]["planned"], 80,
        "nothing is counted twice"
    );
}

#[tokio::test]
async fn an_audience_of_many_pages_is_told_once_each() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let users: Vec<String> = (0..1203).map(|n| format!("member-{n:04}")).collect();
    front
        .post("/v1/topics", json!({"name": "all"}))
        .await
        .expect(201);
    front
        .post("/v1/topics/all/members", json!({"user_ids": users}))
        .await
        .expect(200);
    let rule = json!({
        "name": "All", "event_type": "released",
        "recipients": [{"type": "topics", "topics": ["all"]},
                       {"type": "users", "users": ["member-0007", "one-more"]}],
    });
    front.post("/v1/rules", rule).await.expect(201);

    let dry = json!({"event": {"type": "released", "payload": {}}});
    let dry = front.post("/v1/rules/test", dry).await.expect(200);
    assert_eq!(dry["has_more"], true);
    front
        .post("/v1/events", json!({"type": "released", "payload": {}}))
        .await
        .expect(202);

    let count = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement)
            .fetch_one(house.front.store.pool())
            .await
            .unwrap()
    };
    eventually(SOON, async || {
        count("select count(*) from inbox").await == 1204
    })
    .await;
    assert_eq!(count("select count(*) from queue.jobs").await, 0);
    assert_eq!(
        count("select count(distinct user_id) from inbox").await,
        1204
    );
}

#[tokio::test]
async fn a_digest_without_a_template_tells_its_items() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let rule = json!({"name": "Dg", "event_type": "dg", "recipients": ["ada"],
                      "batch_window": "1h", "batch_size": 3});
    front.post("/v1/rules", rule).await.expect(201);
    let event = |n: usize| json!({"type": "dg", "payload": {"i": n}});
    let dry = json!({"event": event(1)});
    let dry = front.post("/v1/rules/test", dry).await.expect(200);
    assert_eq!(dry["notifications"][0]["template"], "digest");

    front.post("/v1/events", event(1)).await.expect(202);
    front.post("/v1/events", event(2)).await.expect(202);
    let told = told(&house, event(3), &["ada"]).await;

    let [notification] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(notification["template"], "digest");
    assert_eq!(notification["in_app"]["title"], "3 notifications");
    assert_eq!(notification["in_app"]["message"], "i: 1\ni: 2\ni: 3");
}

#[tokio::test]
async fn what_passes_and_what_joins_in_quiet_hours_says_so_beforehand_too() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let user = json!({"addresses": {"email": "ada@example.com"}, "timezone": "UTC"});
    front.put("/v1/users/ada", user).await.expect(200);
    // 22 hours around now.
    let wall = |hours| {
        (Utc::now() + TimeDelta::hours(hours))
            .format("%H:%M")
            .to_string()
    };
    let said = json!({
        "quiet_hours": {"enabled": true, "start": wall(-1), "end": wall(-3)},
        "categories": {"news": {"enabled": true, "quiet_hours": "digest"}},
    });
    front
        .put("/v1/users/ada/preferences", said)
        .await
        .expect(200);
    for (name, category, bypass) in [("passes", "risk", true), ("joins", "news", false)] {
        let rule = json!({"name": name, "event_type": name, "channels": ["email"],
                          "category": category, "bypass_quiet_hours": bypass,
                          "recipients": ["ada"]});
        front.post("/v1/rules", rule).await.expect(201);
    }
    for (kind, step) in [
        ("passes", ("quiet_hours", "passed")),
        ("joins", ("digest", "joined")),
    ] {
        let event = json!({"type": kind, "payload": {}});
        let dry = json!({ "event": event });
        let dry = front.post("/v1/rules/test", dry).await.expect(200);
        let planned = words(dry["trace"].as_array().unwrap());
        let found = |words: &[(String, String, String)]| {
            let found = words
                .iter()
                .find(|it| (it.0.as_str(), it.1.as_str()) == step);
            found.cloned()
        };
        front.post("/v1/events", event).await.expect(202);
        let path = "/v1/notifications?user_id=ada";
        let newest = async || front.get(path).await.expect(200)["items"][0].clone();
        eventually(SOON, async || {
            let newest = newest().await;
            newest["type"] == kind && !trace(front, &newest).await.is_empty()
        })
        .await;
        let real = words(&trace(front, &newest().await).await);
        assert!(found(&planned).is_some(), "{planned:?}");
        assert_eq!(found(&planned), found(&real), "{real:?}");
    }
}

#[tokio::test]
async fn what_is_asked_about_another_year_dates_no_row_of_today() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let event = json!({"type": "margin.low", "payload": {"user_id": "ada", "ratio": 0.8}});
    let rehearsal = json!({"event": event, "at": "2099-12-31T23:59:59Z"});
    front.post("/v1/rules/test", rehearsal).await.expect(200);
    // Samples are rendered at a moment of their own.
    let body = json!({"name": "margin.low", "samples": [{"ratio": 0.8}],
                      "channels": {"in_app": {"title": "Margin", "message": "{{ ratio }}"}}});
    front.post("/v1/templates", body).await.expect(201);

    let told = told(&house, event, &["ada"]).await;

    let id: uuid::Uuid = told[0]["id"].as_str().unwrap().parse().unwrap();
    let (seconds, _) = id.get_timestamp().unwrap().to_unix();
    let created_at = told[0]["created_at"].as_str().unwrap();
    let created_at = chrono::DateTime::parse_from_rfc3339(created_at).unwrap();
    let apart = created_at.timestamp().unsigned_abs().abs_diff(seconds);
    assert!(apart < 600, "{id} is {apart} s from {created_at}");
}

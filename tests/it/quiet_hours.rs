//! Quiet hours from the outside: explained, held back by, changed, turned off.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Front, token};
use crate::house::House;

fn wall(at: DateTime<Utc>) -> String {
    at.format("%H:%M").to_string()
}

/// Quiet hours, in the user's own zone, that it is in the middle of in UTC.
fn quiet_now() -> Value {
    let hours = TimeDelta::hours(2);
    let (start, end) = (Utc::now() - hours, Utc::now() + hours);
    json!({"enabled": true, "start": wall(start), "end": wall(end)})
}

async fn put(front: &Front, path: &str, body: &Value) {
    let request = front.client.put(front.url(path)).bearer_auth(ADMIN_KEY);
    let answer = request.json(body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
}

async fn deferrals(front: &Front) -> i64 {
    sqlx::query_scalar(
        "select count(*) from queue.jobs where kind = 'quiet_hours' and state = 'available'",
    )
    .fetch_one(front.store.pool())
    .await
    .unwrap()
}

/// A text message that was to go out at a moment in ada's quiet hours, and waits for their end.
async fn held_back(house: &House) -> String {
    let send_at = Utc::now() + TimeDelta::milliseconds(200);
    let body = json!({"user_id": "ada", "channels": ["sms"], "content": "Hi", "send_at": send_at,
                      "data": {"phone": "+15551234567"}});
    let id = house.send(body).await;
    eventually(SOON, async || deferrals(&house.front).await == 1).await;
    id
}

async fn decisions(front: &Front, id: &str) -> Vec<Value> {
    let trace = front.get(&format!("/v1/notifications/{id}/trace")).await;
    trace.expect(200).as_array().unwrap().clone()
}

#[tokio::test]
async fn what_quiet_hours_hold_back_goes_out_when_the_user_turns_them_off() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let path = "/v1/users/ada/preferences";
    put(front, path, &json!({"quiet_hours": quiet_now()})).await;
    let id = held_back(&house).await;
    let trace = decisions(front, &id).await;
    let deferred = trace.last().unwrap();
    assert_eq!(deferred["decision"], "deferred");
    assert_eq!(deferred["detail"]["channel"], "sms");
    assert_eq!(deferred["detail"]["zone"], "UTC");
    assert_eq!(deferred["detail"]["row"], "/quiet_hours");
    assert_eq!(front.count("attempts").await, 0);

    let off = json!({"quiet_hours": {"enabled": false}});
    front.post(path, off).await.expect(200);

    house.comes_to(&id, "sent").await;
    let trace = decisions(front, &id).await;
    assert!(
        trace.iter().any(|step| step["decision"] == "over"),
        "{trace:?}"
    );
    assert_eq!(deferrals(front).await, 0);
}

#[tokio::test]
async fn what_quiet_hours_hold_back_goes_out_when_the_user_travels() {
    let house = House::with_outbox().await;
    let front = &house.front;
    put(front, "/v1/users/ada", &json!({"timezone": "Etc/UTC"})).await;
    let said = json!({"quiet_hours": quiet_now()});
    put(front, "/v1/users/ada/preferences", &said).await;
    let id = held_back(&house).await;

    // What is not about them changes nothing.
    put(
        front,
        "/v1/users/ada",
        &json!({"timezone": "Etc/UTC", "locale": "de"}),
    )
    .await;
    put(front, "/v1/users/ada/preferences", &said).await;
    assert_eq!(deferrals(front).await, 1);
    put(front, "/v1/users/ada", &json!({"timezone": "Etc/GMT+8"})).await;

    house.comes_to(&id, "sent").await;
}

#[tokio::test]
async fn what_is_still_quiet_after_a_change_waits_for_the_new_end() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let path = "/v1/users/ada/preferences";
    put(front, path, &json!({"quiet_hours": quiet_now()})).await;
    let id = held_back(&house).await;

    let mut longer = quiet_now();
    let end = Utc::now() + TimeDelta::hours(3);
    longer["end"] = json!(wall(end));
    front
        .post(path, json!({"quiet_hours": longer}))
        .await
        .expect(200);

    eventually(SOON, async || {
        let due: Option<DateTime<Utc>> =
            sqlx::query_scalar("select run_at from queue.jobs where kind = 'quiet_hours'")
                .fetch_optional(front.store.pool())
                .await
                .unwrap();
        due.is_some_and(|due| end - due < TimeDelta::minutes(1) && wall(due) == wall(end))
    })
    .await;
    let cancelled = front
        .post(&format!("/v1/notifications/{id}/cancel"), json!({}))
        .await
        .expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn what_waits_to_be_told_with_others_is_told_when_the_user_turns_quiet_hours_off() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let path = "/v1/users/ada/preferences";
    let digest = json!({"enabled": true, "quiet_hours": "digest"});
    let said = json!({
        "quiet_hours": quiet_now(),
        "channels": {"sms": {"enabled": true, "address": "+15551234567"}},
        "categories": {"news": digest, "ads": digest},
    });
    put(front, path, &said).await;
    let sms = |category: &str| json!({"user_id": "ada", "channels": ["sms"], "content": "Hi", "category": category});
    let news = [house.send(sms("news")).await, house.send(sms("news")).await];
    let ads = house.send(sms("ads")).await;
    eventually(SOON, async || front.count("digest_items").await == 3).await;

    // A category that is turned off ends at once; the others wait on.
    let off = json!({"categories": {"ads": {"enabled": false}}});
    front.post(path, off).await.expect(200);
    house.comes_to(&ads, "suppressed").await;
    let row = "/categories/ads/enabled";
    let trace = decisions(front, &ads).await;
    assert!(
        trace.iter().any(|step| step["detail"]["row"] == row),
        "{trace:?}"
    );
    for id in &news {
        house.comes_to(id, "pending").await;
    }
    assert_eq!(front.count("attempts").await, 0);

    let off = json!({"quiet_hours": {"enabled": false}});
    front.post(path, off).await.expect(200);

    for id in &news {
        let shown = house.comes_to(id, "suppressed").await;
        assert_eq!(shown["deliveries"][0]["error"], "told in a digest");
    }
    eventually(SOON, async || front.count("attempts").await == 1).await;
    assert_eq!(
        front
            .count("notifications where digest_id is not null")
            .await,
        1
    );
}

#[tokio::test]
async fn quiet_hours_are_explained_for_any_moment() {
    let front = Front::start().await;
    put(
        &front,
        "/v1/users/ada",
        &json!({"timezone": "Europe/Berlin"}),
    )
    .await;
    let path = "/v1/users/ada/quiet-hours";
    let silent = front.get(path).await.expect(200);
    assert_eq!(silent["quiet"], false);
    assert_eq!(silent["enabled"], false);
    assert_eq!(silent["zone"], "Europe/Berlin");
    assert_eq!(silent["next"], Value::Null);

    let said = json!({"quiet_hours": {"enabled": true, "end": "02:30"}});
    put(&front, "/v1/users/ada/preferences", &said).await;
    // The clocks go from 02:00 to 03:00 that night.
    let night = format!("{path}?at=2026-03-29T00:15:00Z");
    let own = front.get_as(&token("ada"), &night).await.expect(200);
    assert_eq!(
        own,
        json!({
            "at": "2026-03-29T00:15:00Z", "quiet": true, "until": "2026-03-29T01:00:00Z",
            "enabled": true, "zone": "Europe/Berlin",
            "window": {"start": "22:00", "end": "02:30"},
            "channels": ["email", "sms", "voice", "push", "web_push"], "allow_critical": true,
            "next": {"start": "2026-03-29T20:00:00Z", "end": "2026-03-30T00:30:00Z"},
        })
    );
    let noon = front
        .get(&format!("{path}?at=2026-03-29T12:00:00%2B02:00"))
        .await;
    assert_eq!(noon.expect(200)["until"], Value::Null);

    let wrong = front.get(&format!("{path}?at=tonight")).await;
    assert_eq!(wrong.expect_problem(422), ["/at"]);
    let other = front.get_as(&token("bob"), path).await;
    other.expect_problem(403);
}

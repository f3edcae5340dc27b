//! Notifications in the console: the list, the search, and one from its event to its receipts.

use chrono::{TimeDelta, Utc};
use domain::Role;
use serde_json::json;
use testkit::eventually;

use super::{HOSTILE, Page, Visitor, shows_as_text};
use crate::SOON;
use crate::front::Front;
use crate::house::House;

const PATH: &str = "/console/notifications";

/// Where the links of a page with this beginning lead.
fn links(html: &str, beginning: &str) -> Vec<String> {
    let beginning_of_link = format!("href=\"{beginning}");
    let parts = html.split(&beginning_of_link).skip(1);
    let links = parts.map(|rest| format!("{beginning}{}", rest.split('"').next().unwrap()));
    links.map(|link| link.replace("&#38;", "&")).collect()
}

#[tokio::test]
async fn the_list_pages_through_everything_once() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let mut expected = Vec::new();
    for number in 0..107 {
        expected.push(
            front
                .deliver("ada", &format!("n{number}"))
                .await
                .to_string(),
        );
    }
    front.deliver("bob", "other").await;

    let mut seen = Vec::new();
    let mut path = format!("{PATH}?user_id=ada&status=delivered&channel=in_app&category=orders");
    for _ in 0..4 {
        let html = visitor.get(&path).await.shown();
        let ids = links(&html, "/console/notifications/");
        seen.extend(
            ids.iter()
                .filter_map(|link| link.rsplit('/').next().map(str::to_owned)),
        );
        let older = links(&html, "/console/notifications?");
        match older.into_iter().find(|link| link.contains("cursor=")) {
            Some(next) => path = next,
            None => break,
        }
    }

    expected.reverse();
    assert_eq!(seen, expected);
    let html = visitor.get(&format!("{PATH}?user_id=nobody")).await.shown();
    assert!(html.contains("No notifications here"), "{html}");
    let later = (Utc::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M");
    let html = visitor.get(&format!("{PATH}?since={later}")).await.shown();
    assert!(html.contains("No notifications here"), "{html}");
}

#[tokio::test]
async fn one_is_told_from_its_event_to_its_receipt() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;
    let rule = json!({"name": "Margin Call", "event_type": "margin.call", "actions": [
        {"type": "notify", "channels": ["email", "in_app", "sms"], "category": "risk"}]});
    house.front.post("/v1/rules", rule).await.expect(201);
    let user = json!({"addresses": {"email": "ada@example.com"}});
    super::put(&house.front, "/v1/users/ada", user).await;
    let event = json!({"type": "margin.call", "event_id": "call-7", "producer": "risk",
        "payload": {"user_id": "ada", "account": "A-17"}});
    house.front.post("/v1/events", event).await.expect(202);
    eventually(SOON, async || {
        let page = house
            .front
            .get("/v1/notifications?user_id=ada")
            .await
            .expect(200);
        page["items"][0]["status"] == "delivered"
    })
    .await;

    let led = visitor
        .get(&format!("{PATH}/find?event_id=call-7&producer=risk"))
        .await
        .shown();
    assert!(
        led.contains("What it led to") && led.contains("A-17"),
        "{led}"
    );
    let one = links(&led, "/console/notifications/").remove(0);
    let html = visitor.get(&one).await.shown();

    for text in [
        "Margin Call",
        "speaks of the event",
        "call-7",
        "A-17",
        "ada@example.com",
        "Routing",
        "no address",
        "Provider",
        "outbox",
        "In the feed",
        "not yet",
        "/console/users/ada",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    assert!(!html.contains("data-live"), "it is over: {html}");
    assert!(!html.contains("Cancel what waits"), "{html}");
}

#[tokio::test]
async fn one_is_found_by_its_id_and_by_its_senders_keys() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let body = json!({"user_id": "ada", "content": "Hi", "dedupe_key": "k/1"});
    let sent = front.post("/v1/notifications", body).await.expect(202);
    let id = sent["id"].as_str().unwrap();
    let event = json!({"type": "a.b", "dedupe_key": "k2", "payload": {"user_id": "ada"}});
    let event = front.post("/v1/events", event).await.expect(202);
    let event_id = event["event_id"].as_str().unwrap();
    let one = format!("{PATH}/{id}");

    for query in [
        format!("id={id}"),
        format!("id=+{id}+"),
        "dedupe_key=k%2F1".to_owned(),
    ] {
        let led = visitor.get(&format!("{PATH}/find?{query}")).await.led_to();
        assert_eq!(led, one, "{query}");
    }
    for query in [
        format!("id={event_id}"),
        "dedupe_key=k2&type=a.b".to_owned(),
    ] {
        let html = visitor.get(&format!("{PATH}/find?{query}")).await.shown();
        assert!(
            html.contains("a.b") && html.contains("What it led to"),
            "{html}"
        );
    }
    for query in [
        "id=7".to_owned(),
        format!("id={}", uuid::Uuid::max()),
        "event_id=nothing".to_owned(),
        "dedupe_key=k2&type=other".to_owned(),
    ] {
        let html = visitor.get(&format!("{PATH}/find?{query}")).await.shown();
        assert!(html.contains("role=\"alert\""), "{query}: {html}");
    }
    let html = visitor.get(&one).await.shown();
    assert!(html.contains("data-live"), "it is on its way: {html}");
}

#[tokio::test]
async fn what_waits_is_cancelled_and_the_audit_knows_by_whom() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let at = Utc::now() + TimeDelta::hours(2);
    let body = json!({"user_id": "ada", "content": "Later", "send_at": at});
    let sent = front.post("/v1/notifications", body).await.expect(202);
    let one = format!("{PATH}/{}", sent["id"].as_str().unwrap());

    let led = visitor
        .submit(&one, &format!("{one}/cancel"), &[])
        .await
        .led_to();

    let html = visitor.get(&led).await.shown();
    assert!(html.contains("is cancelled"), "{html}");
    assert!(html.contains("state big warn\">cancelled"), "{html}");
    let actor: String =
        sqlx::query_scalar("select actor from audit where action = 'notification.cancelled'")
            .fetch_one(front.store.pool())
            .await
            .unwrap();
    assert!(actor.starts_with("key:pr_admin"), "{actor}");
    let token = super::token_in(&visitor.get("/console").await.shown());
    let again = [("form_token", token.as_str())];
    let nobody = format!("{PATH}/{}/cancel", uuid::Uuid::max());
    assert_eq!(visitor.send(&nobody, &again).await.status, 404);
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;
    let event = json!({"type": HOSTILE, "event_id": HOSTILE, "producer": HOSTILE,
        "payload": {"user_id": HOSTILE, HOSTILE: {"x": HOSTILE}}});
    house.front.post("/v1/events", event).await.expect(202);
    let body = json!({"user_id": HOSTILE, "subject": HOSTILE, "content": HOSTILE,
        "category": HOSTILE, "channels": ["in_app", "slack"], "data": {HOSTILE: HOSTILE,
        "slack": "U1"}});
    let id = house.send(body).await;
    house.comes_to(&id, "delivered").await;

    let sought = super::query(&[("event_id", HOSTILE), ("producer", HOSTILE)]);
    let filter = super::query(&[("user_id", HOSTILE), ("category", HOSTILE)]);
    for path in [
        format!("{PATH}/{id}"),
        PATH.to_owned(),
        format!("{PATH}?{filter}"),
        format!("{PATH}/find?{sought}"),
    ] {
        shows_as_text(&visitor.get(&path).await.shown(), &path);
    }
    // What a provider says is others' text, too.
    sqlx::query("update attempts set response = $1, provider_message_id = $1, provider = $1")
        .bind(HOSTILE)
        .execute(house.front.store.pool())
        .await
        .unwrap();
    sqlx::query("update deliveries set error = $1, provider = $1, address = $1")
        .bind(HOSTILE)
        .execute(house.front.store.pool())
        .await
        .unwrap();
    shows_as_text(&visitor.get(&format!("{PATH}/{id}")).await.shown(), "one");
}

#[tokio::test]
async fn no_query_breaks_a_page() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    for query in [
        "status=nonsense",
        "channel=pigeon",
        "since=yesterday",
        "since=9999999-01-01T00:00",
        "until=-9999-01-01T00:00",
        "since=262000-01-01T00:00",
        "cursor=1",
        "cursor=%00",
        "user_id=%00",
        "user_id=%FF%FE",
        "category=%F0%9F%92%A9&status=%27%3B--",
    ] {
        for path in [PATH, "/console/mailbox", "/console/notifications/find"] {
            let page = visitor.get(&format!("{path}?{query}")).await;
            assert!(page.status.as_u16() < 500, "{path}?{query}: {page:?}");
        }
    }
    for id in [
        "1",
        "%00",
        "%FF",
        "..%2F",
        "00000000-0000-0000-0000-000000000000",
    ] {
        for path in [
            PATH,
            "/console/mailbox",
            "/console/mails",
            "/console/live/notifications",
        ] {
            let page = visitor.get(&format!("{path}/{id}")).await;
            assert_eq!(page.status, 404, "{path}/{id}: {page:?}");
        }
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_it() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let id = front.deliver("ada", "Title").await;
    let other = Visitor::holding(&front, "pr_other").await;

    let page: Page = other.get(&format!("{PATH}/{id}")).await;
    assert_eq!(page.status, 404);
    let html = other.get(PATH).await.shown();
    assert!(html.contains("No notifications here"), "{html}");
    let html = other.get(&format!("{PATH}/find?id={id}")).await.shown();
    assert!(html.contains("role=\"alert\""), "{html}");
}

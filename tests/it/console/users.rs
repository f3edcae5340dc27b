//! Users in the console: the list, what one wants and what decides it, erasing and exporting.

use serde_json::{Value, json};

use super::{HOSTILE, Visitor, shows_as_text};
use crate::front::Front;

const PATH: &str = "/console/users";

#[tokio::test]
async fn the_list_begins_where_it_is_told_and_pages_through_everything_once() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    for number in 0..107 {
        let groups = json!({"groups": if number % 2 == 0 { vec!["even"] } else { vec![] }});
        super::put(&front, &format!("/v1/users/u{number:03}"), groups).await;
    }

    let mut path = PATH.to_owned();
    let mut all = String::new();
    for _ in 0..4 {
        let html = visitor.get(&path).await.shown();
        let next = html.split("href=\"/console/users?").nth(1).map(|rest| {
            let query = rest.split('"').next().unwrap().replace("&#38;", "&");
            format!("{PATH}?{query}")
        });
        all.push_str(&html);
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    for number in 0..107 {
        let name = format!("<strong>u{number:03}</strong>");
        assert_eq!(all.matches(&name).count(), 1, "{name}");
    }
    let html = visitor
        .get(&format!("{PATH}?from=u10&group=even"))
        .await
        .shown();
    assert!(html.contains("u100") && html.contains("u106"), "{html}");
    assert!(!html.contains("u098") && !html.contains("u101"), "{html}");
}

#[tokio::test]
async fn one_is_shown_with_what_they_want_and_what_decides_it() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let user = json!({"addresses": {"email": "ada@example.com",
        "push": [{"token": "tok-123", "platform": "ios"}]}, "locale": "de",
        "timezone": "Europe/Berlin", "roles": ["trader"], "groups": ["desk"], "data": {"x": 1}});
    super::put(&front, "/v1/users/ada", user).await;
    let said = json!({"channels": {"sms": {"enabled": false}},
        "categories": {"orders": {"enabled": false}},
        "quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00"}});
    super::put(&front, "/v1/users/ada/preferences", said).await;
    let topic = front
        .post("/v1/topics", json!({"name": "markets"}))
        .await
        .expect(201);
    let members = format!("/v1/topics/{}/members", topic["id"].as_str().unwrap());
    front.post(&members, json!({"user_ids": ["ada"]})).await;
    let consent = json!({"user_id": "ada", "category": "marketing", "granted": true,
        "source": "sign-up form"});
    front.post("/v1/consents", consent).await.expect(201);
    front.deliver("ada", "Title").await;

    let html = visitor.get(&format!("{PATH}/ada")).await.shown();

    for text in [
        "ada@example.com",
        "ios",
        "Europe/Berlin",
        "trader",
        "desk",
        "sign-up form",
        "22:00–08:00 in Europe/Berlin",
        "<svg class=\"day\"",
        "quiet now",
        "/channels/sms/enabled",
        "/categories/orders/enabled",
        "1 so far, 1 unread",
        "/console/notifications?user_id=ada",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    let nobody = visitor.get(&format!("{PATH}/nobody")).await;
    assert_eq!(nobody.status, 404);
    front.deliver("only told", "Title").await;
    let html = visitor.get(&format!("{PATH}/only%20told")).await.shown();
    assert!(html.contains("Nothing is stored of them"), "{html}");
}

#[tokio::test]
async fn one_is_exported_and_erased_only_when_named_again() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    super::put(
        &front,
        "/v1/users/ada",
        json!({"addresses": {"email": "ada@example.com"}}),
    )
    .await;

    let exported = visitor.get(&format!("{PATH}/ada/export")).await.shown();
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["user"]["addresses"]["email"], "ada@example.com");
    let erase = format!("{PATH}/ada/erase");
    let refused = visitor.submit(&erase, &erase, &[("confirm", "bob")]).await;
    assert_eq!(refused.status, 422);
    assert_eq!(front.count("users").await, 1);
    let led = visitor
        .submit(&erase, &erase, &[("confirm", "ada")])
        .await
        .led_to();
    assert!(
        visitor
            .get(&led)
            .await
            .shown()
            .contains("Nothing is known of ada")
    );
    assert_eq!(front.count("users").await, 0);
    let actor: String = sqlx::query_scalar("select actor from audit where action = 'user.erased'")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert!(actor.starts_with("key:pr_admin"), "{actor}");
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let id = super::encode(HOSTILE);
    let user = json!({"roles": [HOSTILE], "groups": [HOSTILE], "data": {HOSTILE: HOSTILE},
        "locale": "en"});
    super::put(&front, &format!("/v1/users/{id}"), user).await;
    let said = json!({"categories": {HOSTILE: {"enabled": false}}});
    super::put(&front, &format!("/v1/users/{id}/preferences"), said).await;
    let consent = json!({"user_id": HOSTILE, "category": HOSTILE, "granted": true,
        "source": HOSTILE, "note": HOSTILE});
    front.post("/v1/consents", consent).await.expect(201);

    let query = super::query(&[("from", HOSTILE), ("role", HOSTILE), ("group", HOSTILE)]);
    for path in [
        format!("{PATH}/{id}"),
        format!("{PATH}/{id}/erase"),
        PATH.to_owned(),
        format!("{PATH}?{query}"),
        format!("{PATH}?erased={id}"),
    ] {
        shows_as_text(&visitor.get(&path).await.shown(), &path);
    }
}

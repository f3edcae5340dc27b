//! The mailbox: what the outbox took, as it would be seen, and never run.

use domain::Role;
use serde_json::json;

use super::{HOSTILE, Visitor, shows_as_text};
use crate::front::Front;
use crate::house::House;

const PATH: &str = "/console/mailbox";

/// A mail that tries everything.
const EVIL_MAIL: &str = "<html><head><meta http-equiv=refresh content='0;url=//evil.example'>\
    <base href='//evil.example'></head><body onload=alert(1)><script>parent.x=1</script>\
    <form action='//evil.example'><input name=a></form><img src=x onerror=alert(1)></body></html>";

async fn template(front: &Front, name: &str, channels: serde_json::Value) {
    let body = json!({"name": name, "channels": channels});
    front.post("/v1/templates", body).await.expect(201);
}

/// The items in the order of the page.
fn items(html: &str) -> Vec<String> {
    let parts = html.split("href=\"/console/mailbox/").skip(1);
    parts
        .map(|rest| format!("{PATH}/{}", rest.split('"').next().unwrap()))
        .collect()
}

#[tokio::test]
async fn each_channel_is_shown_as_it_would_be_seen() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;
    let channels = json!({
        "email": {"subject": "Hello {{ who }}", "body": "Plain {{ who }}",
            "body_html": "<p>Rich {{ who }}</p>"},
        "sms": {"body": "Short €"},
        "push": {"title": "Pushed", "message": "A push"},
        "slack": {"text": "To slack"},
        "webhook": {"data": {"order": "{{ who }}"}},
    });
    template(&house.front, "all.of.it", channels).await;
    let user = json!({"addresses": {"email": "ada@example.com", "phone": "+15551234567",
        "slack": "U1", "webhook": "https://hooks.example.com/a",
        "push": [{"token": "secret-token", "platform": "ios"}]}});
    super::put(&house.front, "/v1/users/ada", user).await;
    let body = json!({"user_id": "ada", "template": "all.of.it", "data": {"who": "Ada",
        "cc": "bob@example.com", "attachments": [{"filename": "a.txt", "content": "SGk="}]},
        "channels": ["email", "sms", "push", "slack", "webhook"]});
    let id = house.send(body).await;
    house.comes_to(&id, "sent").await;

    let html = visitor.get(PATH).await.shown();
    assert_eq!(items(&html).len(), 5, "{html}");
    assert!(
        html.contains("data-live=\"/console/live/mailbox\""),
        "{html}"
    );
    assert!(!html.contains("secret-token"), "{html}");
    for (channel, texts) in [
        (
            "email",
            vec![
                "Hello Ada",
                "ada@example.com",
                "bob@example.com",
                "Plain Ada",
                "a.txt",
                "2 bytes",
                " sandbox ",
                "/console/mails/",
            ],
        ),
        (
            "sms",
            vec!["Short €", "1 message: 8 of GSM letters", "+15551234567"],
        ),
        ("push", vec!["Pushed", "A push", "a device (ios)"]),
        ("slack", vec!["To slack"]),
        (
            "webhook",
            vec![
                "webhook-signature",
                "order",
                "Ada",
                "https://hooks.example.com/a",
            ],
        ),
    ] {
        let html = visitor
            .get(&format!("{PATH}?channel={channel}"))
            .await
            .shown();
        let found = items(&html);
        assert_eq!(found.len(), 1, "{channel}: {html}");
        let html = visitor.get(&found[0]).await.shown();
        for text in texts {
            assert!(html.contains(text), "{channel}: {text}: {html}");
        }
        assert!(
            html.contains(&format!("/console/notifications/{id}")),
            "{html}"
        );
    }
}

#[tokio::test]
async fn a_mails_html_can_do_nothing() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;
    let body = json!({"user_id": "ada", "subject": "Evil", "content": "x",
        "channels": ["email"], "data": {"email": "ada@example.com"}});
    let id = house.send(body).await;
    house.comes_to(&id, "sent").await;
    super::say_in_html(&house.front, EVIL_MAIL).await;
    let item = items(&visitor.get(PATH).await.shown()).remove(0);

    let html = visitor.get(&item).await.shown();
    assert!(!html.contains("evil.example"), "only in its frame: {html}");
    let (_, rest) = html
        .split_once("<iframe class=\"mail-frame\" src=\"")
        .unwrap();
    let (path, rest) = rest.split_once('"').unwrap();
    assert!(
        rest.starts_with(" sandbox title"),
        "nothing is allowed: {rest}"
    );
    let page = visitor.get(path).await;
    let policy = page.policy.clone().unwrap();
    assert!(
        policy.starts_with("sandbox; default-src 'none';"),
        "{policy}"
    );
    assert!(
        !policy.contains("script-src") && !policy.contains("allow-"),
        "{policy}"
    );
    assert!(policy.contains("form-action 'none'"), "{policy}");
    assert!(page.shown().contains("<body"), "it is the mail");
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;
    let body = json!({"user_id": HOSTILE, "subject": HOSTILE, "content": HOSTILE,
        "channels": ["email", "sms", "slack", "webhook"], "data": {HOSTILE: HOSTILE,
        "email": "ada@example.com", "phone": "+15551234567", "slack": "U1",
        "webhook": "https://hooks.example.com/a"}});
    let id = house.send(body).await;
    house.comes_to(&id, "sent").await;
    sqlx::query("update deliveries set locale = $1, template = $1, address = $1")
        .bind(HOSTILE)
        .execute(house.front.store.pool())
        .await
        .unwrap();

    let html = visitor.get(PATH).await.shown();
    shows_as_text(&html, PATH);
    let found = items(&html);
    assert_eq!(found.len(), 4);
    for item in found {
        shows_as_text(&visitor.get(&item).await.shown(), &item);
    }
}

#[tokio::test]
async fn the_list_pages_through_everything_once_and_another_tenant_sees_none() {
    let house = House::with_outbox().await;
    house
        .front
        .create_key("pr_other", "other", &[Role::Admin])
        .await;
    let visitor = Visitor::admin(&house.front).await;
    let sends: Vec<_> = (0..60)
        .map(|number| {
            json!({"user_id": format!("u{number}"), "content": "Hi",
            "channels": ["email"], "data": {"email": format!("u{number}@example.com")}})
        })
        .collect();
    let body = json!({"notifications": sends});
    house
        .front
        .post("/v1/notifications/bulk", body)
        .await
        .expect(202);
    testkit::eventually(crate::SOON, async || {
        house.front.count("outbox").await == 60
    })
    .await;

    let first = visitor.get(&format!("{PATH}?channel=email")).await.shown();
    let mut seen = items(&first);
    let (_, rest) = first.split_once("href=\"/console/mailbox?").unwrap();
    let next = rest.split('"').next().unwrap().replace("&#38;", "&");
    let second = visitor.get(&format!("{PATH}?{next}")).await.shown();
    assert!(
        !second.contains("data-live"),
        "it is not the first page: {second}"
    );
    seen.extend(items(&second));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 60);
    assert!(!second.contains("rel=\"next\""), "{second}");

    let other = Visitor::holding(&house.front, "pr_other").await;
    assert!(items(&other.get(PATH).await.shown()).is_empty());
    let mail = seen[0].replace("mailbox", "mails");
    for path in [&seen[0], &mail] {
        assert_eq!(other.get(path).await.status, 404, "{path}");
    }
}

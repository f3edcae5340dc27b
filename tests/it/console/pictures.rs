//! Pictures of the console's pages with a realistic house, where a person asks for them.

use serde_json::json;

use super::browser::sign_in;
use super::put;
use crate::browser::Browser;
use crate::front::ADMIN_KEY;
use crate::house::House;

/// A house in which something has happened.
async fn lively() -> (House, Vec<(&'static str, String)>) {
    let house = House::with_outbox().await;
    let front = &house.front;
    let order = json!({
        "name": "order.filled", "description": "An order was filled", "category": "orders",
        "channels": {
            "email": {"subject": "Order {{ number }} is filled",
                "body": "Your order {{ number }} over {{ quantity }} {{ symbol }} was filled.",
                "body_html": "<h1>Order {{ number }}</h1><p>Your order over \
                    <b>{{ quantity }} {{ symbol }}</b> was filled.</p>"},
            "in_app": {"title": "Order {{ number }} filled", "message": "{{ quantity }} {{ symbol }}"},
            "sms": {"body": "Order {{ number }} is filled"}},
        "translations": {"de": {"in_app": {"title": "Auftrag {{ number }} ausgeführt",
            "message": "{{ quantity }} {{ symbol }}"}}},
        "samples": [{"number": 4711, "quantity": 25, "symbol": "ACME"}], "tags": ["trading"]});
    let made = front.post("/v1/templates", order).await.expect(201);
    let template = format!("/console/templates/{}", made["id"].as_str().unwrap());
    let mut changed = made.clone();
    for gone in [
        "id",
        "version",
        "source",
        "created_at",
        "updated_at",
        "variables",
    ] {
        changed.as_object_mut().unwrap().remove(gone);
    }
    changed["channels"]["sms"]["body"] = json!("Your order {{ number }} is filled.");
    put(front, "/v1/templates/order.filled", changed).await;
    let rule = json!({"name": "Order filled", "description": "Traders hear of their own orders",
        "event_type": "order.filled", "actions": [{"type": "notify", "category": "orders",
        "channels": ["email", "in_app", "sms", "voice"], "template": "order.filled"}]});
    let made = front.post("/v1/rules", rule).await.expect(201);
    let rule = format!("/console/rules/{}", made["id"].as_str().unwrap());
    for (user, zone) in [
        ("ada.lovelace", "Europe/London"),
        ("grace.hopper", "America/New_York"),
        ("noor.inayat", "Europe/Berlin"),
    ] {
        let body = json!({"addresses": {"email": format!("{user}@example.com"),
            "phone": "+4915112345678",
            "push": [{"token": "c0ffee-0123456789", "platform": "ios"}]}, "timezone": zone,
            "locale": "en", "roles": ["trader"], "groups": ["desk-1"], "data": {"tier": "gold"}});
        put(front, &format!("/v1/users/{user}"), body).await;
        let said = json!({"categories": {"orders": {"enabled": true, "channels": ["email",
            "in_app", "sms"]}, "news": {"enabled": false}}, "channels": {"voice":
            {"enabled": false}}, "quiet_hours": {"enabled": true, "start": "22:30",
            "end": "07:00", "channels": ["push"]}});
        put(front, &format!("/v1/users/{user}/preferences"), said).await;
        for number in [4711, 4712, 4713] {
            let event = json!({"type": "order.filled", "producer": "matching",
                "event_id": format!("{user}-{number}"), "payload": {"user_id": user,
                "number": number, "quantity": 25, "symbol": "ACME"}});
            front.post("/v1/events", event).await.expect(202);
        }
    }
    let consent = json!({"user_id": "ada.lovelace", "category": "marketing", "granted": true,
        "source": "sign-up form"});
    front.post("/v1/consents", consent).await.expect(201);
    testkit::eventually(crate::SOON, async || front.count("outbox").await >= 18).await;
    let page = front
        .get("/v1/notifications?user_id=ada.lovelace")
        .await
        .expect(200);
    let one = format!(
        "/console/notifications/{}",
        page["items"][0]["id"].as_str().unwrap()
    );
    let outbox = front.get("/v1/outbox?channel=email").await;
    let mail = outbox.json()["items"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let paths = vec![
        ("notifications", "/console/notifications".to_owned()),
        ("notification", one),
        ("mailbox", "/console/mailbox".to_owned()),
        ("mail", format!("/console/mailbox/{mail}")),
        ("templates", "/console/templates".to_owned()),
        ("template", template.clone()),
        ("version", format!("{template}/versions/2")),
        ("rules", "/console/rules".to_owned()),
        ("rule", rule),
        ("rehearsal", "/console/rehearsal".to_owned()),
        ("users", "/console/users".to_owned()),
        ("user", "/console/users/ada.lovelace".to_owned()),
        ("erase", "/console/users/ada.lovelace/erase".to_owned()),
    ];
    (house, paths)
}

#[tokio::test]
async fn no_page_is_wider_than_a_phone() {
    let (house, paths) = lively().await;
    let front = &house.front;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser.find("#main").await;

    let mut wide = Vec::new();
    for (width, scheme) in [
        (1280, "light"),
        (360, "light"),
        (360, "dark"),
        (1280, "dark"),
    ] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser
            .devtools("Emulation.setEmulatedMedia", features)
            .await;
        browser
            .devtools("Emulation.setDeviceMetricsOverride", size_of(width))
            .await;
        for (name, path) in &paths {
            browser.open(front, path).await;
            browser.find("#main").await;
            if *name == "rehearsal" {
                let event = json!({"type": "order.filled", "payload": {"user_id": "ada.lovelace",
                    "number": 1, "quantity": 2, "symbol": "X"}});
                let fill = "document.getElementById('event').value = arguments[0]";
                browser.run(fill, json!([event.to_string()])).await;
                browser.click("form button.primary").await;
                browser.find(".timeline").await;
            }
            let widest = browser
                .run("return document.documentElement.scrollWidth", json!([]))
                .await;
            if widest.as_i64().unwrap() > width {
                let script = "return [...document.querySelectorAll('*')].filter((each) =>
                    each.getBoundingClientRect().right > innerWidth + 1)
                    .map((each) => each.tagName + '.' + each.className).slice(0, 6)";
                let whose = browser.run(script, json!([])).await;
                wide.push(format!("{name} at {width}: {widest}: {whose}"));
            }
            let high = browser
                .run("return document.documentElement.scrollHeight", json!([]))
                .await;
            let whole = json!({"width": width, "height": high.as_i64().unwrap().min(2600),
                "deviceScaleFactor": 1, "mobile": false});
            browser
                .devtools("Emulation.setDeviceMetricsOverride", whole)
                .await;
            browser.shoot(&format!("{name}-{width}-{scheme}")).await;
            browser
                .devtools("Emulation.setDeviceMetricsOverride", size_of(width))
                .await;
        }
    }
    assert_eq!(wide, Vec::<String>::new());
}

fn size_of(width: i64) -> serde_json::Value {
    json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false})
}

//! The console's pages of people's things in a real browser: a template being written, a mail that
//! tries everything, and pictures for a person to look at.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::browser::{expect_no_complaints, sign_in};
use crate::browser::Browser;
use crate::front::{ADMIN_KEY, Front};
use crate::house::House;

async fn template(front: &Front, body: Value) -> String {
    let made = front.post("/v1/templates", body).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn order() -> Value {
    json!({
        "name": "order.filled", "description": "An order was filled", "category": "orders",
        "channels": {
            "email": {"subject": "Order {{ number }} is filled",
                "body": "Your order {{ number }} over {{ quantity }} {{ symbol }} was filled.",
                "body_html": "<h1 style='color:#17703f'>Order {{ number }}</h1>\
                    <p id=words>Your order over <b>{{ quantity }} {{ symbol }}</b> was filled.</p>"},
            "in_app": {"title": "Order filled", "message": "{{ quantity }} {{ symbol }}"},
            "sms": {"body": "Order {{ number }} is filled"},
        },
        "translations": {"de": {"in_app": {"title": "Auftrag ausgeführt",
            "message": "{{ quantity }} {{ symbol }}"}}},
        "samples": [{"number": 4711, "quantity": 25, "symbol": "ACME"}],
        "tags": ["trading"],
    })
}

#[tokio::test]
async fn a_template_is_shown_while_it_is_written_and_then_saved() {
    let front = Front::start().await;
    let id = template(&front, order()).await;
    let browser = Browser::start().await;
    sign_in(&browser, &front, ADMIN_KEY).await;
    browser.click("a[href='/console/templates']").await;
    browser
        .click(&format!("a[href='/console/templates/{id}']"))
        .await;
    browser
        .shows("#preview-subject", "Order 4711 is filled")
        .await;
    browser.run("window.isSame = true", json!([])).await;

    browser.click("[name='/channels/email/subject']").await;
    browser.press("!").await;
    let subject = "return document.getElementById('preview-subject').textContent.includes('!')";
    browser.until(subject).await;
    let html = "textarea[name='/channels/email/body_html']";
    let script = format!(
        "const area = document.querySelector(\"{html}\");
         area.value = area.value.replace('was filled', 'was changed');
         area.dispatchEvent(new Event('input', {{bubbles: true}}));"
    );
    browser.run(&script, json!([])).await;
    testkit::eventually(crate::SOON, async || {
        mail_says(&browser, "was changed").await
    })
    .await;
    assert_eq!(browser.run("return window.isSame", json!([])).await, true);
    assert_eq!(
        front.count("template_versions").await,
        1,
        "nothing is saved yet"
    );

    // What cannot be told is said at once, and what was told last is gone.
    browser.click("[name='/channels/email/subject']").await;
    browser.press("{{").await;
    browser
        .until("return document.querySelector('#preview .problem')")
        .await;
    browser.press("\u{e003}\u{e003}").await;
    browser
        .until("return document.getElementById('preview-subject')")
        .await;
    browser.click("button[value=save]").await;
    browser.find(".notice").await;
    let stored = front.get("/v1/templates/order.filled").await.expect(200);
    assert_eq!(stored["version"], 2);
    let subject = stored["channels"]["email"]["subject"].as_str().unwrap();
    assert!(
        subject.contains('!') && !subject.contains("!{{"),
        "{subject}"
    );
    only_blocked(&browser).await;
}

/// Whether the mail in the frame of the preview has `words`.
async fn mail_says(browser: &Browser, words: &str) -> bool {
    let client = browser.client();
    let frame = browser.find("#preview iframe").await;
    if frame.enter_frame().await.is_err() {
        return false;
    }
    let text = client.source().await.unwrap_or_default();
    client.enter_parent_frame().await.unwrap();
    text.contains(words)
}

/// Nothing was complained of but scripts that were kept from running.
async fn only_blocked(browser: &Browser) {
    for complaint in browser.complaints().await {
        let is_block = complaint.contains("Blocked script execution")
            || complaint.contains("Content Security Policy")
            || complaint.contains("meta refresh")
            || complaint.contains("sandboxed");
        assert!(is_block, "{complaint}");
    }
}

#[tokio::test]
async fn a_mail_with_a_script_runs_nothing() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let evil = "<body onload=\"parent.document.title='ran'\"><p id=words>Words</p>\
        <script>document.getElementById('words').textContent='ran';\
        parent.document.title='ran'</script><img src=x onerror=\"parent.document.title='ran'\">\
        <meta http-equiv=refresh content='0;url=/console/users'>\
        <a href='/console/users' target=_top id=away>Away</a>";
    let body = json!({"user_id": "ada", "subject": "Evil", "content": "x",
        "channels": ["email"], "data": {"email": "ada@example.com"}});
    let id = house.send(body).await;
    house.comes_to(&id, "sent").await;
    super::say_in_html(front, evil).await;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser.click("a[href='/console/mailbox']").await;
    browser.click(".mail").await;

    let frame = browser.find("iframe.mail-frame").await;
    frame.enter_frame().await.unwrap();
    browser.find("#away").await.click().await.unwrap();
    let source = browser.client().source().await.unwrap();
    assert!(source.contains("<p id=\"words\">Words</p>"), "{source}");
    browser.client().enter_parent_frame().await.unwrap();

    let title = browser.client().title().await.unwrap();
    assert_eq!(title, "Mailbox · Postrider");
    let address = browser.client().current_url().await.unwrap();
    assert!(address.path().starts_with("/console/mailbox/"), "{address}");
    only_blocked(&browser).await;
}

#[tokio::test]
async fn one_on_its_way_is_followed_and_a_new_mail_appears() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let at = Utc::now() + TimeDelta::hours(1);
    let later = json!({"user_id": "ada", "content": "Later", "send_at": at});
    let id = house.send(later).await;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser
        .open(front, &format!("/console/notifications/{id}"))
        .await;
    browser.shows("#live-state", "Live").await;
    front
        .post(&format!("/v1/notifications/{id}/cancel"), json!({}))
        .await;
    browser.shows("#notification .state.big", "cancelled").await;

    browser.open(front, "/console/mailbox").await;
    browser.shows("#live-state", "Live").await;
    let body = json!({"user_id": "ada", "subject": "Just now", "content": "Hi",
        "channels": ["email"], "data": {"email": "ada@example.com"}});
    house.send(body).await;
    browser.shows(".mail strong", "Just now").await;
    expect_no_complaints(&browser).await;
}

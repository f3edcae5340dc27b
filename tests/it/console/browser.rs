//! The console in a real browser: what changes while a page is open, a replay with its progress, a
//! refusal, and no complaint of the browser's about anything.

use domain::Role;
use serde_json::json;

use super::dead_letters::house_with_dead_letters;
use super::insert_dead_letter;
use crate::browser::Browser;
use crate::front::{ADMIN_KEY, Front};
use crate::house::House;

/// Signs in by the form, as a person does.
pub(super) async fn sign_in(browser: &Browser, front: &Front, credential: &str) {
    browser.open(front, "/console").await;
    browser.find("#credential").await;
    browser.press(credential).await;
    browser.click("form button").await;
}

/// Nothing was blocked, nothing failed.
pub(super) async fn expect_no_complaints(browser: &Browser) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_overview_follows_what_happens_without_being_loaded_again() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser.shows("#verdict .verdict-word", "All is well").await;
    browser.shows("#live-state", "Live").await;
    browser.run("window.isSame = true", json!([])).await;
    let accepted = browser.text("#number-accepted .number-value").await;
    assert_eq!(accepted, "0");

    for user in ["u1", "u2", "u3"] {
        let id = house
            .send(json!({"user_id": user, "channels": ["in_app"], "content": "Hello"}))
            .await;
        house.comes_to(&id, "delivered").await;
    }
    insert_dead_letter(front, "<b>the provider said no</b>").await;

    browser
        .until(
            "return document.querySelector('#number-accepted .number-value').textContent !== '0'",
        )
        .await;
    let said = "Something wants to be looked at";
    browser.shows("#verdict .verdict-word", said).await;
    browser.shows("#number-dead .number-value", "1").await;
    let troubles = browser.text("#troubles").await;
    assert!(
        troubles.contains("<b>the provider said no</b>"),
        "{troubles}"
    );
    assert_eq!(browser.run("return window.isSame", json!([])).await, true);
    expect_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_dead_letter_is_found_rehearsed_and_replayed_with_its_progress() {
    let house = house_with_dead_letters(&["u1", "u2", "u3"]).await;
    let front = &house.front;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser.click("a[href='/console/dead-letters']").await;
    browser.shows("#matches", "3 dead letters").await;

    browser.click("td input[name=id]").await;
    browser.click("#rehearse").await;
    browser.shows("#matched", "1 dead letter").await;
    assert_eq!(front.count("replays").await, 0);
    browser.click("a[href='/console/dead-letters']").await;
    browser.click("#rehearse").await;
    browser.shows("#matched", "3 dead letters").await;
    browser.click("#rate").await;
    browser.press("1").await;
    browser.click("#replay").await;

    // Three at one a second: it is seen running, and comes to its end by itself.
    browser.shows("#replay-state", "running").await;
    browser.run("window.isSame = true", json!([])).await;
    browser.shows("#replay-state", "done").await;
    browser
        .shows("#replay-sentence", "Done: 3 of 3 run again.")
        .await;
    browser
        .until("return document.querySelectorAll('#items tbody tr').length === 3")
        .await;
    assert_eq!(browser.run("return window.isSame", json!([])).await, true);
    expect_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_queue_is_paused_after_a_question() {
    let front = Front::start().await;
    let browser = Browser::start().await;
    sign_in(&browser, &front, ADMIN_KEY).await;
    browser.click("a[href='/console/queues']").await;

    browser.click("#switch-email").await;
    browser.client().dismiss_alert().await.unwrap();
    assert_eq!(front.count("queue.queues").await, 0);
    browser.click("#switch-email").await;
    browser.client().accept_alert().await.unwrap();
    browser.shows("#switch-email", "Resume").await;
    assert_eq!(front.count("queue.queues").await, 1);
    browser.click("#switch-email").await;
    browser.shows("#switch-email", "Pause").await;
    expect_no_complaints(&browser).await;
}

#[tokio::test]
async fn who_is_no_admin_stays_outside_and_is_told_why() {
    let front = Front::start().await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    let browser = Browser::start().await;

    sign_in(&browser, &front, "pr_read").await;

    browser
        .until("return document.querySelector('.problem')?.textContent.includes('admin')")
        .await;
    browser.open(&front, "/console/queues").await;
    browser.find("#credential").await;
    assert_eq!(front.count("console_sessions").await, 0);
}

#[tokio::test]
async fn no_page_is_wider_than_a_phone() {
    let house = house_with_dead_letters(&["u1"]).await;
    let front = &house.front;
    let long = "a-word-that-has-no-end".repeat(20);
    insert_dead_letter(front, &long).await;
    let browser = Browser::start().await;
    sign_in(&browser, front, ADMIN_KEY).await;
    browser.find("#verdict").await;
    let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;

    for path in super::headers::PATHS {
        browser.open(front, path).await;
        browser.find("main").await;
        let width = browser
            .run("return document.documentElement.scrollWidth", json!([]))
            .await;
        assert_eq!(width, 360, "{path}");
    }
    expect_no_complaints(&browser).await;
}

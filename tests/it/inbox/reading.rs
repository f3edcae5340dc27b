//! What is done about notifications, in one window and seen in another.

use super::{BADGE, BELL, Visit};

#[tokio::test]
async fn what_is_read_in_one_window_is_seen_read_in_another() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    let first = browser.client().window().await.unwrap();
    visit.open_panel().await;
    let second = browser.new_window().await;
    visit.open("ada").await;
    visit.open_panel().await;

    visit.send("Read me").await;
    visit.send("Leave me").await;
    visit.until("return $$('li.unread').length === 2").await;
    browser.switch_to(&first).await;
    visit.until("return $$('li.unread').length === 2").await;
    visit
        .look("$$('li').find((row) => row.textContent.includes('Read me')).querySelector('.main').id = 'it'")
        .await;
    browser.click("postrider-inbox >>> #it").await;
    browser.shows(BADGE, "1").await;

    browser.switch_to(&second).await;
    browser.shows(BADGE, "1").await;
    visit
        .until(
            "return $$('li.unread .title').map((title) => title.textContent).join() === 'Leave me'",
        )
        .await;
}

#[tokio::test]
async fn what_is_archived_leaves_the_list_here_and_in_another_window() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    visit.send("Stays").await;
    let id = visit.send("Goes").await;
    visit.until("return inbox.unread === 2").await;
    let first = browser.client().window().await.unwrap();
    visit.open_panel().await;
    let second = browser.new_window().await;
    visit.open("ada").await;
    visit.open_panel().await;
    visit.until("return titles().join() === 'Goes,Stays'").await;

    browser.switch_to(&first).await;
    visit.until("return titles().join() === 'Goes,Stays'").await;
    browser
        .click("postrider-inbox >>> li:first-child [part~=action-archive]")
        .await;
    visit.until("return titles().join() === 'Stays'").await;
    browser.shows(BADGE, "1").await;

    browser.switch_to(&second).await;
    visit.until("return titles().join() === 'Stays'").await;
    let stored = visit
        .house
        .front
        .get(&format!("/v1/notifications/{id}"))
        .await;
    assert!(stored.expect(200)["in_app"]["archived_at"].is_string());
}

#[tokio::test]
async fn one_is_marked_unread_again_and_all_are_marked_read() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    visit.send("One").await;
    visit.send("Two").await;
    visit.until("return inbox.unread === 2").await;
    visit.open_panel().await;

    browser.click("postrider-inbox >>> [part~=read-all]").await;
    visit
        .until("return inbox.unread === 0 && $$('li.unread').length === 0")
        .await;
    assert_eq!(visit.look("return $('[part=badge]').hidden").await, true);
    browser
        .click("postrider-inbox >>> li:first-child [part~=action-read]")
        .await;
    browser.shows(BADGE, "1").await;

    // It is so at the server as well.
    browser.client().refresh().await.unwrap();
    visit.is_live().await;
    browser.shows(BADGE, "1").await;
    browser.click(BELL).await;
    visit
        .until("return titles().join() === 'Two,One' && $$('li.unread').length === 1")
        .await;
}

#[tokio::test]
async fn what_was_on_the_screen_counts_as_seen() {
    let visit = Visit::begin().await;
    let id = visit.send("Look").await;
    visit.until("return inbox.unread === 1").await;

    visit.open_panel().await;

    let path = format!("/v1/notifications/{id}");
    testkit::eventually(crate::SOON, async || {
        let entry = &visit.house.front.get(&path).await.expect(200)["in_app"];
        entry["seen_at"].is_string() && entry["read_at"].is_null()
    })
    .await;
    visit.browser.shows(BADGE, "1").await;
}

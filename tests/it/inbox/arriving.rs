//! What arrives: the badge, the list, toasts, and further pages of what came before.

use serde_json::json;

use super::{BADGE, BELL, ITEM, TOAST, Visit};

#[tokio::test]
async fn a_notification_arrives_live_in_the_badge_the_list_and_a_toast() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    assert_eq!(visit.look("return $('[part=badge]').hidden").await, true);

    visit.send("Order filled").await;

    browser.shows(BADGE, "1").await;
    browser.find(TOAST).await;
    let shown = visit
        .look("return $('[part=toast] .title').textContent")
        .await;
    assert_eq!(shown, "Order filled");
    visit
        .until("return $('[role=status][aria-live=polite]').textContent === 'New notification: Order filled'")
        .await;
    assert_eq!(
        browser.client().title().await.unwrap(),
        "(1) Postrider inbox"
    );
    let label = visit
        .look("return $('[part=bell]').getAttribute('aria-label')")
        .await;
    assert_eq!(label, "Notifications, 1 unread");

    visit.open_panel().await;
    visit
        .until("return titles().join() === 'Order filled'")
        .await;
    visit.send("Order cancelled").await;
    visit
        .until("return titles().join() === 'Order cancelled,Order filled'")
        .await;
    browser.shows(BADGE, "2").await;
    // Whoever looks at the list needs no toast.
    assert_eq!(visit.look("return $$('[part=toast]').length").await, 0);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_long_list_is_scrolled_to_its_end_and_holds_each_once() {
    let visit = Visit::begin().await;
    for number in 1..=120 {
        visit.house.front.deliver("ada", &number.to_string()).await;
    }
    visit.browser.shows(BADGE, "99+").await;
    visit.until("return inbox.unread === 120").await;

    visit.open_panel().await;
    visit.browser.find(ITEM).await;
    let first = visit.look("return $$('li').length").await.as_u64().unwrap();
    assert!((20..=60).contains(&first), "{first} at first");
    visit
        .until("$('[part=scroll]').scrollTop = 1e9; return $$('li').length === 120")
        .await;

    let titles = visit.look("return titles().map(Number)").await;
    let mut numbers: Vec<u64> = serde_json::from_value(titles).unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=120).collect::<Vec<_>>());
    visit.until("return $('[part=end]').hidden").await;
}

#[tokio::test]
async fn a_flood_of_arrivals_is_three_toasts_and_a_number() {
    let visit = Visit::begin().await;

    for number in 1..=30 {
        visit.house.front.deliver("ada", &number.to_string()).await;
    }
    visit.until("return inbox.client.seq === 30").await;

    assert_eq!(visit.look("return $$('[part=toast]').length").await, 3);
    visit
        .until("return $('[part=toast-more]').textContent === '27 more notifications'")
        .await;
    // While the mouse is over them, they stay; a click on the number opens the list.
    visit
        .browser
        .click("postrider-inbox >>> [part=toast-more]")
        .await;
    visit
        .until("return inbox.isOpen && $$('li').length >= 20")
        .await;
    assert_eq!(visit.look("return $$('[part=toast]').length").await, 0);
}

#[tokio::test]
async fn a_page_may_keep_toasts_to_itself_and_decide_what_a_click_does() {
    let visit = Visit::begin().await;
    visit
        .look(
            "window.heard = [];
             inbox.addEventListener('postrider-notification', (event) => {
                 heard.push(event.detail.title);
                 if (event.detail.title === 'quiet') event.preventDefault();
             });
             inbox.addEventListener('postrider-click', (event) => {
                 heard.push('click ' + event.detail.title);
                 event.preventDefault();
             });",
        )
        .await;

    visit.send("quiet").await;
    visit.until("return heard.join() === 'quiet'").await;
    assert_eq!(visit.look("return $$('[part=toast]').length").await, 0);

    visit
        .send_with(json!({"subject": "loud", "content": "x", "data": {"url": "/docs/"}}))
        .await;
    visit
        .browser
        .click("postrider-inbox >>> [part=toast-body]")
        .await;
    visit
        .until("return heard.join() === 'quiet,loud,click loud'")
        .await;
    // It is read, and the page stays.
    visit.browser.shows(BADGE, "1").await;
    let path = visit.look("return location.pathname").await;
    assert_eq!(path, "/web/");
    visit.browser.click(BELL).await;
    visit.until("return $$('li.unread').length === 1").await;
}

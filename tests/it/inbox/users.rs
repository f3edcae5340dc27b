//! Whose inbox it is: tokens that are renewed, users who follow each other, and signing out.

use std::time::Duration;

use serde_json::json;

use super::connection::short_token;
use super::{BADGE, INBOX, Visit, house};
use crate::browser::Browser;
use crate::front::{JWT_SECRET, token};

/// Notes what the client says, and how it stood meanwhile.
const LISTEN: &str = "
    window.heard = []; window.resets = 0; window.states = [];
    inbox.addEventListener('postrider-notification', (event) => heard.push(event.detail.title));
    inbox.client.addEventListener('reset', () => resets += 1);
    inbox.client.addEventListener('state', (event) => states.push(event.detail.state));";

/// Whether anything of anybody is to be seen.
const IS_BARE: &str = "
    return $$('li').length === 0 && $$('[part=toast]').length === 0 && $('[part=badge]').hidden
        && $('[aria-live=polite]').textContent === '';";

impl Visit {
    async fn become_user(&self, user: &str) {
        let script = format!("{INBOX} inbox.token = arguments[0]; {IS_BARE}");
        let is_bare = self.browser.run(&script, json!([token(user)])).await;
        assert_eq!(is_bare, true, "as {user}");
    }
}

#[tokio::test]
async fn a_token_that_the_page_renews_keeps_the_list_and_its_place() {
    let visit = Visit {
        house: house().await,
        browser: Browser::start().await,
    };
    visit.send("Before").await;
    visit.browser.open(&visit.house.front, "/web/").await;
    let first = short_token(JWT_SECRET, Duration::from_secs(5));
    let script = format!("{INBOX} window.end = Date.now() + 5500; inbox.token = arguments[0];");
    visit.browser.run(&script, json!([first])).await;
    visit.is_live().await;
    visit.look(LISTEN).await;
    visit.open_panel().await;
    visit.until("return titles().join() === 'Before'").await;

    let script = format!("{INBOX} inbox.token = arguments[0]; return titles().join()");
    let kept = visit.browser.run(&script, json!([token("ada")])).await;
    assert_eq!(kept, "Before");
    visit.until("return Date.now() > end").await;
    visit.is_live().await;
    visit.send("After").await;

    visit
        .until("return titles().join() === 'After,Before'")
        .await;
    visit.browser.shows(BADGE, "2").await;
    assert_eq!(visit.look("return resets").await, 0);
    let states = visit.look("return states.join()").await;
    assert_eq!(states, "connecting,live");
}

#[tokio::test]
async fn the_next_user_of_a_page_sees_and_hears_nothing_of_the_last() {
    let visit = Visit::begin().await;
    visit.look(LISTEN).await;
    visit.send("Of ada").await;
    visit.browser.shows(BADGE, "1").await;
    visit.open_panel().await;
    visit.until("return titles().join() === 'Of ada'").await;

    visit.become_user("bob").await;
    visit.is_live().await;
    visit.send("Of ada too").await;
    let of_bob = json!({"user_id": "bob", "channels": ["in_app"], "subject": "Of bob",
                        "content": "Not of ada."});
    visit.house.send(of_bob).await;

    visit.until("return titles().join() === 'Of bob'").await;
    visit.browser.shows(BADGE, "1").await;
    let heard = visit.look("return [heard.join(), resets, inbox.client.seq]");
    assert_eq!(heard.await, json!(["Of ada,Of bob", 1, 1]));
    // What is read now is bob's.
    visit
        .browser
        .click("postrider-inbox >>> [part~=read-all]")
        .await;
    visit.until("return $('[part=badge]').hidden").await;
    let unread = "/v1/notifications/unread-count";
    let front = &visit.house.front;
    let ada = front.get_as(&token("ada"), unread).await;
    assert_eq!(ada.expect(200)["unread"], 2);
}

#[tokio::test]
async fn whoever_signs_out_leaves_nothing_behind() {
    let visit = Visit::begin().await;
    visit.look(LISTEN).await;
    visit.send("Before").await;
    visit.until("return $$('[part=toast]').length === 1").await;

    let is_bare = visit.look(&format!("inbox.token = null; {IS_BARE}")).await;
    assert_eq!(is_bare, true);
    visit
        .until("return inbox.client.state === 'unauthorized'")
        .await;
    visit.send("Meanwhile").await;
    visit.become_user("ada").await;
    visit.browser.shows(BADGE, "2").await;
    // She finds it in the list. Nobody was told of it.
    assert_eq!(visit.look("return heard.join()").await, "Before");

    // So it is with a client that the page takes away.
    let script = format!(
        "{INBOX} const own = new inbox.client.constructor({{ token: arguments[0] }});
         inbox.token = null; inbox.client = own; own.connect();"
    );
    visit.browser.run(&script, json!([token("ada")])).await;
    visit.browser.shows(BADGE, "2").await;
    visit.open_panel().await;
    visit
        .until("return titles().join() === 'Meanwhile,Before'")
        .await;
    let is_bare = visit.look(&format!("inbox.client = null; {IS_BARE}")).await;
    assert_eq!(is_bare, true);
    assert_eq!(
        visit.browser.client().title().await.unwrap(),
        "Postrider inbox"
    );
}

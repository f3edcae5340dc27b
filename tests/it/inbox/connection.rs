//! Connections that end: tokens that run out, fronts that restart, proxies that know no WebSocket.

use std::time::Duration;

use chrono::Utc;
use domain::{TenantId, UserId};
use postrider::api::token::issue_token;
use postrider::config::Secret;
use serde_json::json;
use tempfile::TempDir;
use testkit::TestDatabase;

use super::stage::Stage;
use super::{BADGE, INBOX, Visit, house};
use crate::browser::Browser;
use crate::crash::fleet::{self, API_KEY, free_address, healthy};
use crate::front::{JWT_SECRET, token};

/// A token of `ada` that ends within moments.
pub(super) fn short_token(secret: &str, lasts: Duration) -> String {
    let (secret, tenant) = (Secret::new(secret), TenantId::default());
    issue_token(&secret, &tenant, &UserId::from("ada"), Utc::now(), lasts).unwrap()
}

#[tokio::test]
async fn a_token_that_runs_out_is_replaced_by_asking_the_page_once() {
    let visit = Visit {
        house: house().await,
        browser: Browser::start().await,
    };
    visit.browser.open(&visit.house.front, "/web/").await;
    let tokens = [
        short_token(JWT_SECRET, Duration::from_secs(2)),
        token("ada"),
    ];
    let script = format!(
        "{INBOX} window.asked = 0; window.states = [];
         const tokens = arguments[0];
         inbox.getToken = async () => tokens[Math.min(asked++, tokens.length - 1)];
         inbox.client.addEventListener('state', (event) => states.push(event.detail.state));"
    );

    visit.browser.run(&script, json!([tokens])).await;
    visit.is_live().await;
    visit.send("Before").await;
    visit.browser.shows(BADGE, "1").await;
    visit
        .until("return asked === 2 && inbox.client.state === 'live'")
        .await;

    visit.send("After").await;
    visit.browser.shows(BADGE, "2").await;
    assert_eq!(visit.look("return asked").await, 2);
    // Not for a moment was the user told to sign in.
    let states = visit.look("return states").await;
    assert!(!states.to_string().contains("unauthorized"), "{states}");
}

#[tokio::test]
async fn a_page_whose_token_is_refused_says_so_and_goes_on_with_another() {
    let visit = Visit {
        house: house().await,
        browser: Browser::start().await,
    };
    visit.browser.open(&visit.house.front, "/web/").await;

    visit.look("inbox.token = 'nonsense'; inbox.open();").await;
    visit
        .until("return inbox.client.state === 'unauthorized'")
        .await;
    visit
        .until("return $('[part=banner]').textContent.startsWith('Signed out.')")
        .await;
    visit
        .browser
        .run(
            &format!("{INBOX} inbox.token = arguments[0]"),
            json!([token("ada")]),
        )
        .await;

    visit.is_live().await;
    visit.until("return $('[part=banner]').hidden").await;
    visit.send("Here again").await;
    visit.browser.shows(BADGE, "1").await;
}

#[tokio::test]
async fn where_no_websocket_gets_through_the_feed_is_polled() {
    let visit = Visit {
        house: house().await,
        browser: Browser::start().await,
    };
    let stage = Stage::without_sockets(&visit.house.front).await;
    visit.send("Before").await;
    let page = stage.url(&format!("/web/#token={}", token("ada")));
    visit.browser.client().goto(&page).await.unwrap();

    visit
        .until("return inbox.client?.transport === 'poll'")
        .await;
    visit.browser.shows(BADGE, "1").await;
    visit.open_panel().await;
    visit.until("return titles().join() === 'Before'").await;
    let id = visit.send("Polled").await;
    visit
        .until("return titles().join() === 'Polled,Before'")
        .await;
    visit.browser.shows(BADGE, "2").await;

    // What is read elsewhere shows here too.
    let read = format!("/v1/notifications/{id}/read");
    visit.house.front.post(&read, json!({})).await.expect(200);
    visit.browser.shows(BADGE, "1").await;
    visit
        .until(
            "return $$('li.unread .title').map((title) => title.textContent).join() === 'Before'",
        )
        .await;
}

#[tokio::test]
async fn a_front_that_restarts_leaves_no_gap_and_no_repeat() {
    let database = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let address = free_address();
    let mut front = fleet::serve(database.url(), address, folder.path()).started();
    let _work = fleet::work("work", database.url(), folder.path()).started();
    healthy(address).await;
    let browser = Browser::start().await;
    let token = short_token(fleet::JWT_SECRET, Duration::from_hours(1));
    let page = format!("http://{address}/web/#token={token}");
    browser.client().goto(&page).await.unwrap();
    let live = format!("{INBOX} return inbox.client?.state === 'live'");
    browser.until(&live).await;
    let listen = format!(
        "{INBOX} window.heard = [];
         inbox.client.addEventListener('notification', (event) => heard.push(event.detail.title));"
    );
    browser.run(&listen, json!([])).await;
    let client = reqwest::Client::new();
    let send = async |title: &str| {
        let body = json!({"user_id": "ada", "channels": ["in_app"], "subject": title,
                          "content": "Through restarts."});
        let sent = client
            .post(format!("http://{address}/v1/notifications"))
            .bearer_auth(API_KEY)
            .json(&body)
            .send();
        assert!(sent.await.unwrap().status().is_success());
    };

    send("1").await;
    browser.until("return heard.join() === '1'").await;
    for (number, crashes) in [("2", false), ("3", true)] {
        if crashes {
            front.kill().await;
        } else {
            front.signal("TERM").await;
            front.ended(crate::SOON).await;
        }
        browser
            .until(&format!("{INBOX} return inbox.client.state === 'waiting'"))
            .await;
        front.start();
        healthy(address).await;
        // Perhaps before the page is back.
        send(number).await;
        browser.until(&live).await;
    }

    browser.until("return heard.join() === '1,2,3'").await;
    browser.shows(BADGE, "3").await;
}

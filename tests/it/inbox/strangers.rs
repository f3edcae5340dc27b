//! Content of strangers, and pages of strangers: strict ones, and those of system B.

use serde_json::json;

use super::stage::Stage;
use super::{BADGE, BELL, INBOX, TOAST, Visit, house};
use crate::browser::Browser;
use crate::front::token;

/// Runs, if anything takes it for markup.
const EVIL: &str =
    "<img src=x onerror=\"window.hacked=1\"></span></li><script>window.hacked=2</script>";

#[tokio::test]
async fn whatever_is_sent_stays_text_and_runs_nothing() {
    let visit = Visit::begin().await;
    visit
        .send_with(json!({
            "subject": EVIL, "content": format!("{EVIL}\n{EVIL}"), "category": EVIL,
            "data": {"url": "javascript:window.hacked=3", "html": EVIL},
        }))
        .await;
    visit.browser.shows(BADGE, "1").await;
    visit.browser.find(TOAST).await;
    let toast = visit
        .look("return $('[part=toast] .title').textContent")
        .await;
    assert_eq!(toast, EVIL);
    visit.browser.click(BELL).await;
    visit.until("return $$('li').length === 1").await;

    let row = visit
        .look(
            "return ['title', 'message', 'category'].map((name) => $(`li .${name}`).textContent)
                 .concat($('li .main').localName)",
        )
        .await;
    assert_eq!(
        row,
        json!([EVIL, format!("{EVIL}\n{EVIL}"), EVIL, "button"])
    );
    visit.browser.click("postrider-inbox >>> li .main").await;
    visit.until("return inbox.unread === 0").await;
    // The category has a switch of its own.
    visit
        .browser
        .click("postrider-inbox >>> [part~=settings]")
        .await;
    visit
        .until("return $$('.prefs label').some((label) => label.textContent.startsWith('<img'))")
        .await;

    let harm = visit
        .look("return [window.hacked ?? null, $$('img, script, iframe, [onerror]').length, location.pathname]")
        .await;
    assert_eq!(harm, json!([null, 0, "/web/"]));
    assert_eq!(visit.browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_link_of_http_is_followed_and_read_on_the_way() {
    let visit = Visit::begin().await;
    let id = visit
        .send_with(
            json!({"subject": "Go", "content": "There.", "data": {"url": "/docs/?from=inbox"}}),
        )
        .await;
    visit.browser.shows(BADGE, "1").await;
    visit.browser.click(BELL).await;

    visit.browser.click("postrider-inbox >>> li a.main").await;

    visit
        .browser
        .until("return location.search === '?from=inbox'")
        .await;
    let path = format!("/v1/notifications/{id}");
    testkit::eventually(crate::SOON, async || {
        visit.house.front.get(&path).await.expect(200)["in_app"]["read_at"].is_string()
    })
    .await;
}

#[tokio::test]
async fn a_page_of_another_origin_with_a_strict_policy_can_have_it() {
    let house = house().await;
    let front = house.front.url("");
    let socket = front.replace("http", "ws");
    let policy = format!(
        "default-src 'none'; script-src 'self' {front}; connect-src {front} {socket}; \
         img-src data:; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let page = format!(
        "<!doctype html><html lang=en><link rel=icon href='data:,'><title>Shop</title>
         <script type=module src='{front}/web/inbox.js'></script>
         <script type=module src='/shop.js'></script>
         <p>A shop.</p><postrider-inbox></postrider-inbox></html>"
    );
    let script = format!(
        "document.querySelector('postrider-inbox').getToken = async () => '{}';",
        token("ada")
    );
    let stage = Stage::of_pages(
        &policy,
        [
            ("/", "text/html", page),
            ("/shop.js", "text/javascript", script),
        ],
    )
    .await;
    let visit = Visit {
        house,
        browser: Browser::start().await,
    };
    visit.browser.client().goto(&stage.url("/")).await.unwrap();
    visit.is_live().await;

    visit.send("Across origins").await;
    visit.browser.find(TOAST).await;
    visit.browser.click(BELL).await;
    visit
        .until("return titles().join() === 'Across origins'")
        .await;
    visit
        .browser
        .click("postrider-inbox >>> [part~=settings]")
        .await;
    visit.until("return $$('.switch').length > 5").await;
    // The styles are there, though none may be written into the page.
    let radius = visit
        .look("return getComputedStyle($('[part=panel]')).borderRadius")
        .await;
    assert_eq!(radius, "12px");
    assert_eq!(visit.browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_javascript_of_system_b_works_unchanged() {
    let house = house().await;
    let host = house.front.address;
    // What B's readme tells people to write.
    let script = format!(
        "const ws = new WebSocket('ws://{host}/ws?token=' + '{}');
         ws.onmessage = (event) => {{
             const message = JSON.parse(event.data);
             if (message.type === 'notification') {{
                 const item = document.createElement('li');
                 item.textContent = `${{message.title}}: ${{message.message}}`;
                 document.querySelector('ul').append(item);
                 ws.send(JSON.stringify({{ type: 'ack', id: message.id }}));
             }}
         }};
         ws.onopen = () => document.body.dataset.open = 'yes';",
        token("ada")
    );
    let page = "<!doctype html><link rel=icon href='data:,'><title>B</title><body><ul></ul>
                <script src='/b.js'></script>";
    let pages = [
        ("/", "text/html", page.to_owned()),
        ("/b.js", "text/javascript", script),
    ];
    let stage = Stage::of_pages("default-src * data:", pages).await;
    let browser = Browser::start().await;
    browser.client().goto(&stage.url("/")).await.unwrap();
    browser.until("return document.body.dataset.open").await;

    let body = json!({"user_id": "ada", "channels": ["in_app"], "subject": "Filled",
                      "content": "5 ACME"});
    let id = house.send(body).await;

    browser.shows("li", "Filled: 5 ACME").await;
    let path = format!("/v1/notifications/{id}");
    testkit::eventually(crate::SOON, async || {
        house.front.get(&path).await.expect(200)["in_app"]["read_at"].is_string()
    })
    .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    // Nothing of ours is needed for it.
    let ours = browser
        .run(&format!("{INBOX} return inbox"), json!([]))
        .await;
    assert!(ours.is_null());
}

//! Web push, but for the push service itself, which only browsers with an account at one have.

use serde_json::{Value, json};

use super::{INBOX, Visit};
use crate::web_push::KEY;

/// Stands in for the push service: what it would answer, and nothing else.
const SERVICE: &str = "
    const [keys] = arguments;
    let subscription = null;
    PushManager.prototype.subscribe = async function (options) {
        const key = btoa(String.fromCharCode(...options.applicationServerKey));
        window.askedWith = key.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
        subscription = {
            endpoint: 'https://push.example.net/chromium',
            options: { applicationServerKey: options.applicationServerKey.buffer },
            toJSON: () => ({ endpoint: subscription.endpoint, keys }),
            unsubscribe: async () => { subscription = null; return true; },
        };
        return subscription;
    };
    PushManager.prototype.getSubscription = async () => subscription;";

async fn browsers(visit: &Visit) -> Value {
    let user = visit.house.front.get("/v1/users/ada").await.json();
    user["addresses"]["web_push"].clone()
}

#[tokio::test]
async fn a_browser_is_subscribed_shows_what_is_pushed_and_is_taken_back() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    let granted = json!({"permissions": ["notifications"], "origin": visit.house.front.url("")});
    browser.devtools("Browser.grantPermissions", granted).await;
    let keys = json!({"p256dh": KEY, "auth": "BTBZMqHH6r4Tts7J_aSIgg"});
    browser.run(SERVICE, json!([keys])).await;
    visit.open_panel().await;
    browser.click("postrider-inbox >>> [part~=settings]").await;

    browser.click("postrider-inbox >>> [data-key=push]").await;
    visit
        .until("return $('[part=preferences-status]').textContent === 'Saved'")
        .await;
    assert_eq!(visit.look("return askedWith").await, KEY);
    let stored = browsers(&visit).await;
    assert_eq!(
        stored,
        json!([{"endpoint": "https://push.example.net/chromium", "keys": keys}])
    );

    // What a push service delivers, the worker shows.
    browser.devtools("ServiceWorker.enable", json!({})).await;
    let pushed = json!({"title": "Order filled", "message": "5 ACME", "tag": "order-7",
                        "data": {"url": "/docs/"}});
    let origin = visit.house.front.url("");
    let look = "
        window.looking ??= navigator.serviceWorker.getRegistration('/web/push/')
            .then((worker) => worker.getNotifications())
            .then((all) => {
                window.all = all.map((one) => [one.title, one.body, one.tag, one.data.url]);
                window.looking = undefined;
            });
        return window.all?.length ? window.all : null";
    // The tools count registrations by themselves. One tag is shown once, however often it comes.
    let shown = testkit::eventually(crate::SOON, async || {
        for registration in 0..3 {
            let delivery = json!({"origin": format!("{origin}/"), "data": pushed.to_string(),
                                  "registrationId": registration.to_string()});
            browser
                .devtools("ServiceWorker.deliverPushMessage", delivery)
                .await;
        }
        let shown = browser.run(look, json!([])).await;
        shown.is_array().then_some(shown)
    })
    .await;
    let url = visit.house.front.url("/docs/");
    assert_eq!(shown, json!([["Order filled", "5 ACME", "order-7", url]]));

    browser.click("postrider-inbox >>> [data-key=push]").await;
    testkit::eventually(crate::SOON, async || browsers(&visit).await.is_null()).await;
    let state = format!("{INBOX} return inbox.client.pushState()");
    assert_eq!(browser.run(&state, json!([])).await, "off");
}

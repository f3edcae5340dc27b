//! The demonstration page: what it says of tokens that are none, and what it does not ask for.

use serde_json::json;

use super::{Visit, house};
use crate::browser::Browser;
use crate::front::{ADMIN_KEY, token};

const PROBLEM: &str = "#problem[role=alert]";
const API_KEY: &str = "This is an API key; paste the user token.";
const BAD: &str = "This token is not valid here, or it has run out.";

#[tokio::test]
async fn a_token_that_is_none_is_answered_below_the_field() {
    let visit = Visit {
        house: house().await,
        browser: Browser::start().await,
    };
    let (browser, front) = (&visit.browser, &visit.house.front);
    let paste = async |text: &str| {
        let script = "
            document.getElementById('token').value = arguments[0];
            document.getElementById('sign-in').requestSubmit();";
        browser.run(script, json!([text])).await;
    };
    let form = "return !document.getElementById('sign-in').hidden
        && document.getElementById('token').value";

    browser.open(front, "/web/").await;
    for (text, why) in [(ADMIN_KEY, API_KEY), ("nonsense", BAD), ("another", BAD)] {
        paste(text).await;
        browser.shows(PROBLEM, why).await;
        assert_eq!(browser.run(form, json!([])).await, text);
    }
    for (text, why) in [(ADMIN_KEY, API_KEY), ("nonsense", BAD)] {
        browser.client().goto("about:blank").await.unwrap();
        browser.open(front, &format!("/web/#token={text}")).await;
        browser.shows(PROBLEM, why).await;
    }

    paste(&token("ada")).await;
    visit.is_live().await;
    browser.shows(PROBLEM, "").await;
    browser.shows("#user", "ada").await;
    // The command is read without scrolling, on a phone too.
    let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;
    let fits = "
        const command = document.querySelector('pre');
        return command.scrollWidth <= command.clientWidth";
    assert_eq!(browser.run(fits, json!([])).await, true);
}

#[tokio::test]
async fn the_key_of_web_push_is_asked_for_by_the_settings_alone() {
    let visit = Visit::begin().await;
    let asked = "return performance.getEntriesByType('resource')
        .filter((entry) => entry.name.endsWith('/v1/web-push/key')).length";
    visit.open_panel().await;
    assert_eq!(visit.look(asked).await, 0);

    visit
        .browser
        .click("postrider-inbox >>> [part~=settings]")
        .await;

    visit.until(asked).await;
}

//! The inbox in a real browser, in front of a real front with workers behind it.

mod arriving;
mod connection;
mod demo;
mod headless;
mod keyboard;
mod looks;
mod pushed;
mod reading;
mod stage;
mod strangers;
mod users;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::front::token;
use crate::house::House;
use crate::web_push::KEY;

/// Parts of the inbox.
const BELL: &str = "postrider-inbox >>> [part=bell]";
const BADGE: &str = "postrider-inbox >>> [part=badge]";
const ITEM: &str = "postrider-inbox >>> li";
const TOAST: &str = "postrider-inbox >>> [part=toast]";

/// In front of scripts that look at the inbox.
const INBOX: &str = "
    const inbox = document.querySelector('postrider-inbox');
    const $ = (css) => inbox.shadowRoot.querySelector(css);
    const $$ = (css) => [...inbox.shadowRoot.querySelectorAll(css)];
    const titles = () => $$('li .title').map((title) => title.textContent);
";

/// A user in front of a browser.
struct Visit {
    house: House,
    browser: Browser,
}

impl Visit {
    /// Opens the demonstration page as `ada`.
    async fn begin() -> Self {
        let visit = Self {
            house: house().await,
            browser: Browser::start().await,
        };
        visit.open("ada").await;
        visit
    }

    async fn open(&self, user: &str) {
        let path = format!("/web/#token={}", token(user));
        self.browser.open(&self.house.front, &path).await;
        self.is_live().await;
    }

    /// Waits until the page hears the feed.
    async fn is_live(&self) {
        self.until("return inbox.client?.state === 'live'").await;
    }

    /// Sends `ada` something in-app, through the workers.
    async fn send(&self, title: &str) -> String {
        self.send_with(json!({"subject": title, "content": format!("About {title}.")}))
            .await
    }

    async fn send_with(&self, mut body: Value) -> String {
        let said = body.as_object_mut().unwrap();
        said.insert("user_id".to_owned(), json!("ada"));
        said.insert("channels".to_owned(), json!(["in_app"]));
        self.house.send(body).await
    }

    /// Sends many at once, of the titles `1` to `count`.
    async fn send_many(&self, count: usize) {
        let one = |number: usize| {
            let title = number.to_string();
            json!({"user_id": "ada", "channels": ["in_app"], "subject": title, "content": "Many."})
        };
        let notifications: Vec<_> = (1..=count).map(one).collect();
        let body = json!({"notifications": notifications});
        let answer = self.house.front.post("/v1/notifications/bulk", body).await;
        answer.expect(202);
    }

    /// Waits until a script about the inbox holds; see [`INBOX`].
    #[track_caller]
    fn until(&self, script: &str) -> impl Future<Output = Value> {
        let script = format!("{INBOX}{script}");
        let caller = std::panic::Location::caller();
        async move {
            let found = tokio::time::timeout(crate::SOON, self.browser.until(&script)).await;
            found.unwrap_or_else(|_| panic!("did not hold, asked at {caller}: {script}"))
        }
    }

    async fn look(&self, script: &str) -> Value {
        self.browser
            .run(&format!("{INBOX}{script}"), json!([]))
            .await
    }

    /// Opens the panel with the mouse, and waits for the list.
    async fn open_panel(&self) {
        self.browser.click(BELL).await;
        self.until(
            "return inbox.isOpen && $('[part=scroll]') && $('.hint')?.textContent !== 'Loading…'",
        )
        .await;
    }
}

/// A house whose pages may offer web push, and which pages of this machine may call.
async fn house() -> House {
    House::with_settings(|config| {
        config.cors.localhost = true;
        config.web_push.public_key = Some(KEY.to_owned());
    })
    .await
}

/// Keys in one text.
fn keys(keys: &[Key]) -> String {
    keys.iter().map(|&key| char::from(key)).collect()
}

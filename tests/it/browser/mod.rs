//! A real Chromium, with a profile of its own, in front of a real front.
//!
//! `find("postrider-inbox >>> [part=bell]")` reaches into open shadow roots. Nothing here sleeps:
//! what a page needs time for is waited for with [`Browser::until`].
#![allow(
    dead_code,
    reason = "the tests of pages use what the test of this file does not"
)]

mod driver;

use std::path::PathBuf;

use axum::http::Method;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::{Element, ElementRef};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::eventually;
use url::{ParseError, Url};

use self::driver::{Driver, chromium};
use crate::SOON;
use crate::front::Front;

/// Names a folder for screenshots, for a person to look at.
const SHOTS_VARIABLE: &str = "POSTRIDER_TEST_SHOTS";

/// The key by which the driver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Finds an element; `>>>` enters a shadow root.
const FIND: &str = "
    return arguments[0].split('>>>').reduce(
        (root, css) => root && (root.shadowRoot ?? root).querySelector(css.trim()), document);";

/// One browser. Its windows share cookies and storage, as a person's do.
pub(crate) struct Browser {
    client: Client,
    /// Let go before the profile that its browser uses.
    _driver: Driver,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with more arguments for Chromium.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let profile = TempDir::new().unwrap();
        let driver = Driver::start().await;
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut all = vec![
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            // Its end is the browser's.
            "--remote-debugging-pipe",
            "--lang=en-US",
            "--window-size=1000,800",
            &folder,
        ];
        all.extend(arguments);
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium(), "args": all},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let capabilities: Capabilities = serde_json::from_value(capabilities).unwrap();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.address)
            .await
            .unwrap();
        Self {
            client,
            _driver: driver,
            _profile: profile,
        }
    }

    /// What fantoccini offers beyond the methods here.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a path of `front`.
    pub(crate) async fn open(&self, front: &Front, path: &str) {
        self.client.goto(&front.url(path)).await.unwrap();
    }

    /// Runs a script in the page, whose `arguments` are `given`, and answers what it returns.
    pub(crate) async fn run(&self, script: &str, given: Value) -> Value {
        let Value::Array(given) = given else {
            panic!("arguments are an array");
        };
        let answer = self.client.execute(script, given).await;
        answer.unwrap_or_else(|error| panic!("{error}: {script}"))
    }

    /// Waits until a script returns what JavaScript holds for true, and answers that.
    #[track_caller]
    pub(crate) fn until(&self, script: &str) -> impl Future<Output = Value> {
        eventually(SOON, async move || {
            let found = self.run(script, json!([])).await;
            let is_true = match &found {
                Value::Null => false,
                Value::Bool(truth) => *truth,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(_) | Value::Object(_) => true,
            };
            is_true.then_some(found)
        })
    }

    /// Waits for an element; `>>>` enters a shadow root.
    #[track_caller]
    pub(crate) fn find(&self, css: &str) -> impl Future<Output = Element> {
        eventually(SOON, async move || {
            let found = self.run(FIND, json!([css])).await;
            let id = found.get(ELEMENT)?.as_str()?.to_owned();
            let element = ElementRef::from(id);
            Some(Element::from_element_id(self.client.clone(), element))
        })
    }

    /// Waits until an element shows exactly `text`.
    #[track_caller]
    pub(crate) fn shows(&self, css: &str, text: &str) -> impl Future<Output = ()> {
        eventually(SOON, async move || self.text(css).await == text)
    }

    /// What an element shows; nothing if it is not there.
    pub(crate) async fn text(&self, css: &str) -> String {
        let read = format!(
            "const found = (function () {{ {FIND} }}).apply(null, arguments);
             return found?.textContent.trim() ?? '';"
        );
        let text = self.run(&read, json!([css])).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks an element, once it is there and can be clicked, with a real mouse.
    #[track_caller]
    pub(crate) fn click(&self, css: &str) -> impl Future<Output = ()> {
        eventually(SOON, async move || {
            // It may be drawn anew between the two.
            self.find(css).await.click().await.is_ok()
        })
    }

    /// Presses keys, one after the other, wherever the focus is. Codes of `fantoccini::key::Key`
    /// are characters too.
    pub(crate) async fn press(&self, keys: &str) {
        for key in keys.chars() {
            let stroke = KeyActions::new("keys".to_owned())
                .then(KeyAction::Down { value: key })
                .then(KeyAction::Up { value: key });
            self.client.perform_actions(stroke).await.unwrap();
        }
    }

    /// Opens another window and goes there.
    pub(crate) async fn new_window(&self) -> WindowHandle {
        let window = self.client.new_window(false).await.unwrap().handle;
        self.client.switch_to_window(window.clone()).await.unwrap();
        window
    }

    pub(crate) async fn switch_to(&self, window: &WindowHandle) {
        self.client.switch_to_window(window.clone()).await.unwrap();
    }

    /// Speaks to Chromium's own tools, such as `Emulation.setEmulatedMedia`.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.say(
            "goog/cdp/execute",
            json!({"cmd": command, "params": parameters}),
        )
        .await
    }

    /// What the page's console has got of warnings and errors since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.say("se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| matches!(entry["level"].as_str(), Some("WARNING" | "SEVERE")))
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Draws the window into a file, if a person has named a folder for it.
    pub(crate) async fn shoot(&self, name: &str) {
        let Some(folder) = std::env::var_os(SHOTS_VARIABLE).map(PathBuf::from) else {
            return;
        };
        let picture = self.client.screenshot().await.unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    async fn say(&self, path: &'static str, body: Value) -> Value {
        let command = Extension { path, body };
        let answer = self.client.issue_cmd(command).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// A command of chromedriver beyond the standard.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

#[tokio::test]
async fn a_browser_opens_a_page_of_the_front() {
    let front = Front::start().await;
    let browser = Browser::start().await;

    browser.open(&front, "/docs/").await;

    browser.until("return document.title").await;
    assert_eq!(browser.client().title().await.unwrap(), "Swagger UI");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

//! The operator's console, as a browser sees it.

mod audit;
mod browser;
mod browser_pages;
mod dead_letters;
mod doors;
mod headers;
mod hostile;
mod mailbox;
mod notifications;
mod overview;
mod pictures;
mod queues;
mod rules;
mod sign_in;
mod templates;
mod users;

use chrono::Utc;
use domain::TenantId;
use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::cli::bury;
use crate::front::{ADMIN_KEY, Front, JWT_SECRET};

/// Somebody at a browser that follows no redirect by itself.
pub(crate) struct Visitor<'a> {
    front: &'a Front,
    client: reqwest::Client,
    cookie: Option<String>,
}

/// A page as it came.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) text: String,
}

impl Page {
    async fn of(response: Response) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (location, cookie) = (header("location"), header("set-cookie"));
        let policy = header("content-security-policy");
        Self {
            status: response.status(),
            location,
            cookie,
            policy,
            text: response.text().await.unwrap(),
        }
    }

    /// The page of a success.
    #[track_caller]
    pub(crate) fn shown(self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.text
    }

    /// Where a form led.
    #[track_caller]
    pub(crate) fn led_to(self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        self.location.unwrap()
    }
}

impl<'a> Visitor<'a> {
    /// Nobody yet.
    pub(crate) fn new(front: &'a Front) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            front,
            client,
            cookie: None,
        }
    }

    /// The admin, signed in.
    pub(crate) async fn admin(front: &'a Front) -> Self {
        Self::holding(front, ADMIN_KEY).await
    }

    /// Whoever holds `credential`, signed in.
    pub(crate) async fn holding(front: &'a Front, credential: &str) -> Self {
        let mut visitor = Self::new(front);
        let page = visitor.sign_in(credential).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
        visitor
    }

    /// Shows a credential, and keeps the cookie.
    pub(crate) async fn sign_in(&mut self, credential: &str) -> Page {
        let page = self
            .send("/console/sign-in", &[("credential", credential)])
            .await;
        if let Some(cookie) = &page.cookie {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        page
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        let request = self.request(reqwest::Method::GET, path);
        Page::of(request.send().await.unwrap()).await
    }

    /// Sends a form as a page of ours does: with the token of the page at `from`.
    pub(crate) async fn submit(&self, from: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = token_in(&self.get(from).await.shown());
        let mut fields = fields.to_vec();
        fields.push(("form_token", &token));
        self.send(path, &fields).await
    }

    /// Sends fields as they are.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self.form(path, fields);
        Page::of(request.send().await.unwrap()).await
    }

    /// A form, to be changed before it is sent.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(fields).finish();
        self.request(reqwest::Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, self.front.url(path));
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }
}

/// The token that the forms of a page carry.
pub(crate) fn token_in(html: &str) -> String {
    let (_, rest) = html.split_once("name=\"form_token\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// A token of `user` with the role `admin`.
pub(crate) fn admin_token(user: &str) -> String {
    let claims = json!({"sub": user, "roles": ["admin"], "tenant": TenantId::default(),
        "exp": Utc::now().timestamp() + 3600});
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

/// What somebody might send who wants a page of ours to run something.
pub(crate) const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}javascript:";

/// That a page has it, and has it as text.
#[track_caller]
pub(crate) fn shows_as_text(html: &str, what: &str) {
    assert!(
        html.contains("&#60;script&#62;alert(1)"),
        "{what} shows it: {html}"
    );
    for raw in ["<script>alert", "<img src=x", "\"'><"] {
        assert!(!html.contains(raw), "{what} has {raw}: {html}");
    }
}

/// Gives every delivery this HTML. No template makes such: the renderer refuses it.
pub(crate) async fn say_in_html(front: &Front, html: &str) {
    let statement = "update deliveries
         set message = message || jsonb_build_object('body_html', $1::text)";
    sqlx::query(statement)
        .bind(html)
        .execute(front.store.pool())
        .await
        .unwrap();
}

/// A name as a part of a path.
pub(crate) fn encode(name: &str) -> String {
    let bytes = name.bytes().map(|byte| format!("%{byte:02X}"));
    bytes.collect()
}

/// A query of `pairs`.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs).finish()
}

/// Puts as the admin.
pub(crate) async fn put(front: &Front, path: &str, body: serde_json::Value) {
    let request = front.client.put(front.url(path)).bearer_auth(ADMIN_KEY);
    let response = request.json(&body).send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
}

/// Lets a job die of `error`, and answers its id.
pub(crate) async fn insert_dead_letter(front: &Front, error: &str) -> String {
    bury(front.store.pool(), "email", error).await
}

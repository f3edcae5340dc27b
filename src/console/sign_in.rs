//! Signing in with an admin's credential, and out again.
//!
//! The credential is looked at by the functions of the API, so bad ones count against their address
//! there as here. It is not kept: what the browser gets is a cookie of its own.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use domain::Role;

use super::form::{Fields, Form, OpenForm};
use super::session::{self, COOKIE, Operator, Refusal};
use super::shell;
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::edge::Visit;

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sign-in", get(show).post(sign_in))
        .route("/sign-out", post(sign_out))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    /// Where to go on afterwards.
    next: String,
    /// Why it did not work.
    problem: Option<String>,
    has_signed_out: bool,
}

impl SignInPage {
    fn new(next: String) -> Self {
        Self {
            next,
            problem: None,
            has_signed_out: false,
        }
    }
}

/// `GET /console/sign-in`.
async fn show(
    fields: Fields,
    operator: Result<Operator, Refusal>,
) -> Result<Response<Body>, ApiError> {
    let next = next(&fields);
    if operator.is_ok() {
        return Ok(Redirect::to(&next).into_response());
    }
    let mut page = SignInPage::new(next);
    page.has_signed_out = fields.raw("signed_out").is_some();
    shell::html(StatusCode::OK, &page)
}

/// `POST /console/sign-in`.
async fn sign_in(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    OpenForm(fields): OpenForm,
) -> Result<Response<Body>, ApiError> {
    let next = next(&fields);
    let credential = fields.raw("credential").unwrap_or_default();
    let held = app.authenticate(&visit, credential.trim()).await;
    let refusal = match held {
        Ok(caller) if caller.may(Role::Admin) => {
            return open(&app, &caller, &headers, &next).await;
        }
        Ok(_) => ApiError::forbidden(
            "this credential is good, but it is not an admin's: the console needs the role `admin`",
        ),
        Err(error) if error.is_unauthorized() => ApiError::unauthorized(
            "this is not a valid API key or user token; check that all of it was pasted",
        ),
        Err(error) => error,
    };
    let mut page = SignInPage::new(next);
    page.problem = Some(refusal.detail().to_owned());
    shell::html(refusal.status(), &page)
}

async fn open(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    next: &str,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let begun = session::begin(caller, now);
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    store::console::insert_session(&mut tx, &begun.session)
        .await
        .map_err(ApiError::from_store)?;
    caller
        .sign(app, &mut tx, "console.signed_in", "console", None)
        .await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    let seconds = (begun.session.expires_at - now).num_seconds().max(0);
    let cookie = cookie(begun.cookie.reveal(), seconds, is_over_tls(headers));
    with_cookie(Redirect::to(next), &cookie)
}

/// `POST /console/sign-out`.
async fn sign_out(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let hash = form.operator.session_hash();
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let was_there = store::console::delete_session(&mut tx, &hash)
        .await
        .map_err(ApiError::from_store)?;
    if was_there {
        let caller = &form.operator.caller;
        caller
            .sign(&app, &mut tx, "console.signed_out", "console", None)
            .await?;
    }
    tx.commit().await.map_err(ApiError::from_store)?;
    app.console.sessions.forget(&hash);
    let gone = cookie("", 0, false);
    with_cookie(Redirect::to("/console/sign-in?signed_out=1"), &gone)
}

fn with_cookie(redirect: Redirect, cookie: &str) -> Result<Response<Body>, ApiError> {
    let value = HeaderValue::from_str(cookie).or(Err(ApiError::internal()))?;
    let mut response = redirect.into_response();
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

fn cookie(value: &str, seconds: i64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Whether the browser speaks TLS, with us or with the proxy in front of us.
///
/// We speak plain HTTP, so only others can tell: the page that sent the form, by its origin, and the
/// proxy. Where nobody says so it is plain, and a cookie for TLS alone would be thrown away.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let begins = |name: &str, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    begins("origin", "https://")
        || begins("x-forwarded-proto", "https")
        || begins("forwarded", "proto=https")
}

/// Where to go on: a page of the console, and never anywhere else.
fn next(fields: &Fields) -> String {
    let asked = fields.raw("next").filter(|path| is_page(path));
    asked.unwrap_or_else(|| "/console".to_owned())
}

fn is_page(path: &str) -> bool {
    let is_plain = path
        .chars()
        .all(|letter| letter.is_ascii_graphic() && letter != '\\');
    let Some(rest) = path.strip_prefix("/console") else {
        return false;
    };
    let is_below = rest.is_empty() || rest.starts_with(['/', '?']);
    is_plain && is_below && !rest.starts_with("/sign-") && !rest.starts_with("/live")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_stays_in_the_console() {
        for path in [
            "/console",
            "/console/queues",
            "/console?x=1",
            "/console/a?b=c%20d",
        ] {
            assert!(is_page(path), "{path}");
        }
        for path in [
            "",
            "/",
            "//evil.example/console",
            "https://evil.example/console",
            "/consoles",
            "/console\\@evil.example",
            "/console/a\r\nset-cookie: x=y",
            "/console/sign-out",
            "/console/live/overview",
            "/v1/stats",
        ] {
            assert!(!is_page(path), "{path}");
        }
    }

    #[test]
    fn the_cookie_is_for_tls_alone_where_there_is_tls() {
        let is_secure = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_over_tls(&headers)
        };

        assert!(is_secure("origin", "https://notify.example"));
        assert!(is_secure("x-forwarded-proto", "https"));
        assert!(is_secure("forwarded", "for=1.2.3.4;proto=https"));
        assert!(!is_secure("origin", "http://localhost:8003"));
        let cookie = cookie("v", 60, true);
        for flag in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/console;"] {
            assert!(cookie.contains(flag), "{cookie}");
        }
    }
}

//! What every answer below `/console` wears: its security headers, and refusals as pages.
//!
//! This is outside everything else, so a refusal looks the same whoever gave it: a handler, the
//! edge, or what catches a panic.

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use serde_json::Value;

use super::shell;

/// Our own scripts and styles, and nothing from anywhere else; no frames but ours, none around us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
    frame-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not stricter: without it a browser would not say where a form comes from.
    (header::REFERRER_POLICY, "same-origin"),
    // Sign-in and pages alike: what was on the screen is nobody's business afterwards.
    (header::CACHE_CONTROL, "no-store"),
];

/// Bytes of a refusal that are read. Ours are far shorter.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Dresses the answers of the console; leaves all others alone.
pub(crate) async fn dress(request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    let is_ours = path == "/console" || path.starts_with("/console/");
    let mut response = next.run(request).await;
    if !is_ours {
        return response;
    }
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if media_type.is_some_and(|media_type| media_type == "application/problem+json") {
        response = as_page(response).await;
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// A refusal as a page.
#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage {
    status: u16,
    title: String,
    detail: String,
    errors: Vec<(String, String)>,
}

/// The same refusal, for people. Without a challenge: the browser would ask for a password.
async fn as_page(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let page = RefusalPage {
        status: parts.status.as_u16(),
        title: text(&problem["title"]),
        detail: text(&problem["detail"]),
        errors: errors
            .iter()
            .map(|error| (text(&error["pointer"]), text(&error["detail"])))
            .collect(),
    };
    let made = shell::html(parts.status, &page);
    let Ok(made) = made else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    };
    let (made, body) = made.into_parts();
    parts.headers.remove(header::WWW_AUTHENTICATE);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(made.headers);
    Response::from_parts(parts, body)
}

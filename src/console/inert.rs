//! HTML that others wrote, as a page that can do nothing: for a frame of ours.
//!
//! It runs no script, sends no form, loads nothing, opens nothing and knows no cookie: its policy
//! makes it a document of nobody's origin, whether it is in our frame or opened by itself.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};

/// Its own colours and pictures in its own text, and nothing else.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// `html` as such a page.
pub(super) fn page(html: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(html.into());
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

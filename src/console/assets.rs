//! The console's own style and script, in this binary.
//!
//! Their address carries a hash of what they are, so a browser keeps them for good and still gets
//! those of the next version.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{HeaderValue, Response, header};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use super::text;
use crate::api::error::ApiError;

const CSS: &str = concat!(
    include_str!("assets/console.css"),
    include_str!("assets/pages.css"),
);
const JS: &str = concat!(
    include_str!("assets/console.js"),
    include_str!("assets/pages.js"),
);
const ICON: &str = include_str!("assets/icon.svg");

/// How long a browser may keep what never changes at its address.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

static CSS_URL: LazyLock<String> = LazyLock::new(|| url("console.css", CSS));
static JS_URL: LazyLock<String> = LazyLock::new(|| url("console.js", JS));

/// Where the style is.
pub(super) fn css_url() -> &'static str {
    &CSS_URL
}

/// Where the script is.
pub(super) fn js_url() -> &'static str {
    &JS_URL
}

fn url(name: &str, content: &str) -> String {
    let hash = Sha256::digest(content);
    let digits = text::hex(hash.get(..8).unwrap_or_default());
    format!("/console/assets/{name}?v={digits}")
}

/// `GET /console/assets/…`.
pub(super) async fn file(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let not_found = || ApiError::not_found("there is no such file");
    let params = params.map_err(|_rejected: RawPathParamsRejection| not_found())?;
    let name = params.iter().next().map_or("", |(_, value)| value);
    let (media_type, content) = match name {
        "console.css" => ("text/css; charset=utf-8", CSS),
        "console.js" => ("text/javascript; charset=utf-8", JS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(not_found()),
    };
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_GOOD));
    Ok(response)
}

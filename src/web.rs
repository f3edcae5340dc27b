//! `/web/`: the inbox for web pages, its client and its service worker, from files in this binary.
//!
//! They are public, so that a page of any origin may load them; what they then ask the API for needs
//! a token, and an origin that [`edge::cors`](crate::edge) knows.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::api::error::ApiError;
use crate::app::App;

/// The page may load what lies beside it and speak with its own server. Nothing turns a text into
/// markup or into a script, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types postrider";

/// What `/web/` itself shows.
const PAGE: &str = "demo/index.html";

/// Files that belong together are of one version within a minute of an upgrade.
const CACHE: &str = "public, max-age=60";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
/// What browsers do not run and editors read.
const TYPES: &str = "application/typescript; charset=utf-8";

/// One file, as it was when this was compiled.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal: $media_type:ident),* $(,)?) => {
        [$(File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("../clients/web/", $name)),
        }),*]
    };
}

static FILES: [File; FILES_COUNT] = files! {
    "client.d.ts": TYPES,
    "client.js": JAVASCRIPT,
    "demo/demo.css": CSS,
    "demo/demo.js": JAVASCRIPT,
    "demo/index.html": HTML,
    "inbox.d.ts": TYPES,
    "inbox.js": JAVASCRIPT,
    "lib/backoff.js": JAVASCRIPT,
    "lib/connection.js": JAVASCRIPT,
    "lib/dom.js": JAVASCRIPT,
    "lib/feed.js": JAVASCRIPT,
    "lib/list.js": JAVASCRIPT,
    "lib/preferences.js": JAVASCRIPT,
    "lib/push.js": JAVASCRIPT,
    "lib/session.js": JAVASCRIPT,
    "lib/style.js": JAVASCRIPT,
    "lib/toasts.js": JAVASCRIPT,
    "service-worker.js": JAVASCRIPT,
    "texts.d.ts": TYPES,
    "texts.js": JAVASCRIPT,
};

const FILES_COUNT: usize = 20;

/// What a file is told from its earlier versions by, in the order of [`FILES`].
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |file: &File| {
        let digest = Sha256::digest(file.text.as_bytes());
        let mut short = [0; 8];
        short.copy_from_slice(&digest[..8]);
        let short = u64::from_be_bytes(short);
        HeaderValue::from_str(&format!("\"{short:016x}\""))
            .expect("hex digits in quotes are a header")
    };
    FILES.iter().map(tag).collect()
});

/// The routes of this file.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/web", get(enter))
        .route("/web/", get(file))
        .route("/web/{*file}", get(file))
}

/// `GET /web`: relative links need the slash. A fragment stays, for browsers keep it.
async fn enter() -> Redirect {
    Redirect::permanent("/web/")
}

/// `GET /web/…`: one file.
async fn file(
    params: Result<RawPathParams, RawPathParamsRejection>,
    asked: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let not_found = || ApiError::not_found("there is nothing at this path");
    let params = params.map_err(|_rejected: RawPathParamsRejection| not_found())?;
    let asked_for = params.iter().next().map(|(_, value)| value);
    // Its links are meant for one place only.
    let name = match asked_for {
        Some(PAGE) => return Err(not_found()),
        other => other.unwrap_or(PAGE),
    };
    let index = FILES
        .iter()
        .position(|file| file.name == name)
        .ok_or_else(not_found)?;
    let (file, tag) = (&FILES[index], &TAGS[index]);
    let mut response = if is_known(&asked, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = file.text.into_response();
        let media_type = HeaderValue::from_static(file.media_type);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    for (name, value) in shared_headers() {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if file.name == "service-worker.js" {
        // A page beside it may give it all of the origin.
        let allowed = HeaderName::from_static("service-worker-allowed");
        headers.insert(allowed, HeaderValue::from_static("/"));
    }
    if file.media_type == HTML {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
    }
    Ok(response)
}

fn shared_headers() -> [(HeaderName, &'static str); 4] {
    [
        (header::CACHE_CONTROL, CACHE),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
    ]
}

/// Whether the client has this version.
fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let strong = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim() == "*" || tag == strong(value).as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Files that are for whoever takes the folder as it is.
    const NOT_SERVED: [&str; 2] = ["README.md", "package.json"];

    fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/web");
        let mut found = BTreeSet::new();
        collect(&folder, &mut found);
        let found: BTreeSet<String> = found
            .iter()
            .map(|path| path.strip_prefix(&folder).unwrap().display().to_string())
            .filter(|name| !NOT_SERVED.contains(&name.as_str()))
            .collect();
        let served: BTreeSet<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, found);
    }
}

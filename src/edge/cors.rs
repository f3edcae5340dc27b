//! Which web pages may call the API from a browser (CORS).
//!
//! None unless configured. Credentials are headers, never cookies, so pages are not given any that
//! they do not have, and "every page" is a safe thing to say.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::{Host, Url};

use crate::config::CorsConfig;

/// How long a browser remembers an answer to a preflight: the longest that all of them keep.
const REMEMBERED: Duration = Duration::from_hours(2);

/// Every page.
const ANY: &str = "*";

/// Whose pages are let in.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    all: bool,
    listed: Vec<String>,
    localhost: bool,
}

impl Pages {
    pub(crate) fn new(config: &CorsConfig) -> Self {
        Self {
            all: config.origins.iter().any(|origin| origin == ANY),
            listed: config.origins.iter().filter_map(|it| origin(it)).collect(),
            localhost: config.localhost,
        }
    }

    fn lets_in(&self, asking: &str) -> bool {
        self.all
            || self.listed.iter().any(|listed| listed == asking)
            || (self.localhost && is_local(asking))
    }

    /// Whether whoever sends these headers may open a WebSocket, which browsers let every page do:
    /// programs, our own pages, and those that may call the API.
    pub(crate) fn may_connect(&self, headers: &HeaderMap) -> bool {
        let Some(asking) = headers.get(header::ORIGIN) else {
            return true;
        };
        is_own(headers) || asking.to_str().is_ok_and(|asking| self.lets_in(asking))
    }
}

/// Whether the `Origin` of a request is the name that the request was sent to.
pub(crate) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name)?.to_str().ok();
    let authority = text(header::ORIGIN).and_then(|origin| Some(origin.split_once("://")?.1));
    let host = text(header::HOST);
    authority
        .zip(host)
        .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// What surrounds the routes, if any page may call them.
pub(crate) fn layer(config: &CorsConfig) -> Option<CorsLayer> {
    if config.origins.is_empty() && !config.localhost {
        return None;
    }
    let pages = Pages::new(config);
    let origins = if pages.all {
        AllowOrigin::any()
    } else {
        AllowOrigin::predicate(move |asking: &HeaderValue, _| {
            asking.to_str().is_ok_and(|asking| pages.lets_in(asking))
        })
    };
    let header = HeaderName::from_static;
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header("x-api-key"),
                header("idempotency-key"),
                header("last-event-id"),
                header("traceparent"),
                header("tracestate"),
            ])
            .expose_headers([
                header::ALLOW,
                header::LOCATION,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                header("ratelimit"),
                header("ratelimit-policy"),
            ])
            .max_age(REMEMBERED),
    )
}

/// An origin as a browser writes it, or nothing if this is none.
pub(crate) fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok()?;
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let is_origin = is_bare && url.origin().is_tuple();
    is_origin.then(|| url.origin().ascii_serialization())
}

/// Whether a setting names an origin, or all of them.
pub(crate) fn is_origin(text: &str) -> bool {
    text == ANY || origin(text).is_some()
}

/// Whether a page comes from this machine, on whatever port.
fn is_local(origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else {
        return false;
    };
    matches!(url.scheme(), "http" | "https")
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_are_told_from_those_that_look_like_it() {
        for local in [
            "http://localhost:3000",
            "https://localhost",
            "http://127.0.0.1:5173",
            "http://[::1]:8080",
            "http://app.localhost",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "https://example.com/localhost",
            "null",
            "file://localhost",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_socket_is_for_programs_own_pages_and_those_that_may_call_the_api() {
        let may = |config: &CorsConfig, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("app.example.com:8003"));
            if let Some(origin) = origin {
                headers.insert("origin", HeaderValue::from_static(origin));
            }
            Pages::new(config).may_connect(&headers)
        };
        let none = CorsConfig::default();
        let listed = CorsConfig {
            origins: vec!["https://shop.example".to_owned()],
            ..CorsConfig::default()
        };

        assert!(may(&none, None));
        assert!(may(&none, Some("http://app.example.com:8003")));
        for stranger in [
            "https://shop.example",
            "http://app.example.com",
            "null",
            "http://localhost",
        ] {
            assert!(!may(&none, Some(stranger)), "{stranger}");
        }
        assert!(may(&listed, Some("https://shop.example")));
        assert!(!may(&listed, Some("https://shop.example.evil.example")));
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        assert_eq!(
            origin("https://App.example.com:443/").unwrap(),
            "https://app.example.com"
        );
        assert_eq!(
            origin("http://localhost:3000").unwrap(),
            "http://localhost:3000"
        );
        for none in [
            "app.example.com",
            "https://a.example/path",
            "https://u@a.example",
            "null",
            "",
        ] {
            assert!(!is_origin(none), "{none}");
        }
        assert!(is_origin("*"));
    }
}

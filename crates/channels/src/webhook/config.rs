//! How webhooks are sent.

use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::WebhookSecretError;
use crate::Secret;

/// As the contract has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Enough for an endpoint that answers in 50 ms to take a thousand a second, and no more
/// connections than a small one can bear.
const AT_ONCE_PER_HOST_MAX: usize = 50;

/// Headers that say what the request is: ours to set.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// How webhooks are sent.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// The keys, each `whsec_…`. Several while receivers change from one to another; without any,
    /// webhooks are not signed.
    pub secrets: Vec<Secret>,
    /// Networks that may be reached although they are not on the public internet.
    pub allow_cidrs: Vec<IpNet>,
    /// From connecting to the endpoint's answer. Default 10 s.
    pub timeout: Duration,
    /// Sent with every webhook.
    pub headers: Vec<(String, Secret)>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// A header and its value.
    pub api_key: Option<(String, Secret)>,
    /// Certificates in DER that are trusted beside the system's: a company's own authority.
    pub roots: Vec<Vec<u8>>,
    /// Requests to one host at a time, once it has shown that it answers. Default 50.
    pub at_once_per_host_max: usize,
}

/// Why webhooks cannot be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error(transparent)]
    Secret(#[from] WebhookSecretError),
    /// Its value is not printed: it may be a credential.
    #[error("header {name} has a name or a value that cannot be sent")]
    Header { name: String },
    #[error("header {name} is set by Postrider itself")]
    OwnHeader { name: String },
    #[error("TLS towards webhooks cannot be set up")]
    Tls(#[source] tokio_rustls::rustls::Error),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            allow_cidrs: Vec::new(),
            timeout: TIMEOUT,
            headers: Vec::new(),
            bearer: None,
            api_key: None,
            roots: Vec::new(),
            at_once_per_host_max: AT_ONCE_PER_HOST_MAX,
        }
    }
}

impl WebhookConfig {
    /// The configured headers, checked.
    pub(super) fn header_map(&self) -> Result<HeaderMap, WebhookError> {
        let mut map = HeaderMap::new();
        let named = self.headers.iter().chain(&self.api_key);
        for (name, value) in named {
            let bad = || WebhookError::Header { name: name.clone() };
            let key: HeaderName = name.parse().map_err(|_reason| bad())?;
            if OURS.contains(&key.as_str()) {
                return Err(WebhookError::OwnHeader { name: name.clone() });
            }
            map.insert(key, sensitive(value.expose()).ok_or_else(bad)?);
        }
        if let Some(bearer) = &self.bearer {
            let value = sensitive(&format!("Bearer {}", bearer.expose()));
            let value = value.ok_or_else(|| WebhookError::Header {
                name: AUTHORIZATION.to_string(),
            })?;
            map.insert(AUTHORIZATION, value);
        }
        Ok(map)
    }
}

/// A value that debug output does not show. `None` if it would end its header.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_headers_that_are_not_shown() {
        let config = WebhookConfig {
            headers: vec![("X-Source".into(), Secret::new("postrider"))],
            bearer: Some(Secret::new("hunter2")),
            api_key: Some(("X-Api-Key".into(), Secret::new("swordfish"))),
            ..WebhookConfig::default()
        };

        let map = config.header_map().unwrap();

        assert_eq!(map["authorization"], "Bearer hunter2");
        assert_eq!(map["x-api-key"], "swordfish");
        assert_eq!(map["x-source"], "postrider");
        let shown = format!("{config:?} {map:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("swordfish"),
            "{shown}"
        );
    }

    #[test]
    fn a_header_that_would_break_out_or_overrule_us_is_refused() {
        for (name, value) in [
            ("X-A", "a\r\nX-B: c"),
            ("X-A", "a\nb"),
            ("X A", "b"),
            ("", "b"),
            ("X-A\r\nX-B", "b"),
            ("Host", "example.com"),
            ("Webhook-Id", "1"),
            ("Content-Length", "1"),
        ] {
            let config = WebhookConfig {
                headers: vec![(name.into(), Secret::new(value))],
                ..WebhookConfig::default()
            };
            let error = config.header_map().expect_err(name).to_string();
            assert!(!error.contains("X-B: c"), "{error}");
        }
    }
}

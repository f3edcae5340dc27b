//! The bodies of `/web-push/subscriptions`: one browser of the signed-in user.
//!
//! Stricter than a user's body, which an operator writes: a page sends what the browser gave it, so
//! whatever else it sends is a mistake.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::FieldError;
use super::fields::Fields;
use super::user::{ENDPOINT_CHARS_MAX, line};
use crate::address;

/// Bytes of a public key on P-256, written out in full, and what they begin with.
const POINT_BYTES: usize = 65;
const POINT_WRITTEN_OUT: u8 = 4;

/// Bytes of the secret that a browser shares with whoever writes to it.
const AUTH_BYTES: usize = 16;

/// A browser that may be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSubmission {
    pub endpoint: String,
    pub p256dh: String,
    pub auth: String,
}

impl BrowserSubmission {
    /// Reads a `PushSubscription` as browsers write it as JSON.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        // Push services tell when it has ended, by their answer.
        fields.take("expirationTime");
        let endpoint = endpoint(&mut fields);
        if !fields.has("keys") {
            fields.refuse("keys", "is required");
        }
        let (mut p256dh, mut auth) = (None, None);
        if let Some(mut keys) = fields.child("keys") {
            p256dh = key(&mut keys, "p256dh", is_point);
            auth = key(&mut keys, "auth", |bytes| bytes.len() == AUTH_BYTES);
            fields.absorb(keys);
        }
        fields.finish(Self {
            endpoint: endpoint.unwrap_or_default(),
            p256dh: p256dh.unwrap_or_default(),
            auth: auth.unwrap_or_default(),
        })
    }

    /// Reads the body that takes a browser away: its `endpoint`.
    pub fn parse_endpoint(body: Value) -> Result<String, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let endpoint = endpoint(&mut fields);
        fields.finish(endpoint.unwrap_or_default())
    }

    /// As it stands in `addresses.web_push`.
    pub fn to_value(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "keys": {"p256dh": self.p256dh, "auth": self.auth},
        })
    }
}

/// Whether `key` is a public key as browsers take it: a point on P-256, in base64 for URLs.
pub fn is_push_key(key: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(key.trim_end_matches('='))
        .is_ok_and(|bytes| is_point(&bytes))
}

fn is_point(bytes: &[u8]) -> bool {
    bytes.len() == POINT_BYTES && bytes.first() == Some(&POINT_WRITTEN_OUT)
}

fn endpoint(fields: &mut Fields) -> Option<String> {
    let endpoint = line(fields, "endpoint", ENDPOINT_CHARS_MAX)?;
    if !endpoint.starts_with("https://") || address::check("webhook", &endpoint).is_err() {
        fields.refuse("endpoint", "must be an https URL");
        return None;
    }
    Some(endpoint)
}

fn key(keys: &mut Fields, name: &str, is_right: impl Fn(&[u8]) -> bool) -> Option<String> {
    let text = line(keys, name, ENDPOINT_CHARS_MAX)?;
    let plain = text
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    match URL_SAFE_NO_PAD.decode(&plain) {
        Ok(bytes) if is_right(&bytes) => Some(plain),
        Ok(_) => {
            keys.refuse(name, "has another length than such a key");
            None
        }
        Err(_not_base64) => {
            keys.refuse(name, "must be base64");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that a browser has made.
    const P256DH: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn body() -> Value {
        json!({
            "endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
            "expirationTime": null,
            "keys": {"p256dh": P256DH, "auth": AUTH},
        })
    }

    #[test]
    fn a_browsers_own_json_is_read() {
        let browser = BrowserSubmission::parse(body()).unwrap();

        assert_eq!(browser.p256dh, P256DH);
        assert_eq!(browser.to_value()["keys"]["auth"], AUTH);
        let padded = json!({"keys": {"p256dh": format!("{P256DH}="), "auth": format!("{AUTH}==")},
                            "endpoint": "https://push.example.net/x"});
        assert_eq!(BrowserSubmission::parse(padded).unwrap().auth, AUTH);
        assert!(is_push_key(P256DH) && !is_push_key(AUTH) && !is_push_key("no key"));
    }

    #[test]
    fn what_no_browser_writes_is_refused_by_name() {
        let change = |pointer: &str, value: Value| {
            let mut body = body();
            *body.pointer_mut(pointer).unwrap() = value;
            body
        };
        for (body, expected) in [
            (json!({}), vec!["/endpoint", "/keys"]),
            (
                change("/endpoint", json!("http://push.example.net")),
                vec!["/endpoint"],
            ),
            (
                change("/endpoint", json!("javascript:alert(1)")),
                vec!["/endpoint"],
            ),
            (
                change("/endpoint", json!("x".repeat(2049))),
                vec!["/endpoint"],
            ),
            (change("/keys/p256dh", json!(AUTH)), vec!["/keys/p256dh"]),
            (
                change("/keys/p256dh", json!("A".repeat(87))),
                vec!["/keys/p256dh"],
            ),
            (change("/keys/auth", json!("!")), vec!["/keys/auth"]),
            (
                change("/keys", json!({"p256dh": P256DH})),
                vec!["/keys/auth"],
            ),
            (change("/keys", json!([])), vec!["/keys"]),
        ] {
            let errors = BrowserSubmission::parse(body.clone()).unwrap_err();
            let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, expected, "{body}");
        }
        let mut more = body();
        more["user_id"] = json!("eve");
        assert_eq!(
            BrowserSubmission::parse(more).unwrap_err()[0].pointer,
            "/user_id"
        );
        assert!(BrowserSubmission::parse_endpoint(body()).is_err());
    }
}

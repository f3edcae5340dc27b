//! The body of `PUT /users/{user_id}`: where a person is reached, and who they are to rules.

use serde_json::{Value, json};

use super::FieldError;
use super::fields::Fields;
use crate::{Addresses, address};

/// Devices, and browsers, of one person. Each gets a delivery of its own.
const DEVICES_MAX: usize = 50;

/// Roles, and groups, of one person.
const NAMES_MAX: usize = 200;

/// Characters in a push token; the longest seen have a few hundred.
const TOKEN_CHARS_MAX: usize = 4096;

/// Characters in a browser's endpoint.
pub(super) const ENDPOINT_CHARS_MAX: usize = 2048;

const PLATFORMS: [&str; 3] = ["ios", "android", "web"];

/// A person as they may be stored. What was not said is empty: the body replaces the whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UserSubmission {
    pub addresses: Addresses,
    pub locale: Option<String>,
    /// An IANA name.
    pub timezone: Option<String>,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    /// An object; empty if not given.
    pub data: Value,
}

impl UserSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    ///
    /// `user_id` is who the path names. The body may repeat it, so that what was read can be
    /// changed and written back.
    pub fn parse(body: Value, user_id: &str) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        if fields.name("user_id").is_some_and(|own| own != user_id) {
            fields.refuse("user_id", "must be the user that the path names");
        }
        let user = Self {
            addresses: addresses(&mut fields),
            locale: fields.locale("locale"),
            timezone: fields
                .timezone("timezone")
                .map(|zone| zone.name().to_owned()),
            roles: fields.names("roles", NAMES_MAX).unwrap_or_default(),
            groups: fields.names("groups", NAMES_MAX).unwrap_or_default(),
            data: fields.object("data").unwrap_or_else(|| json!({})),
        };
        fields.finish(user)
    }
}

fn addresses(fields: &mut Fields) -> Addresses {
    let Some(mut said) = fields.child("addresses") else {
        return Addresses::default();
    };
    let mut single = |key: &str| {
        let text = said.name(key)?;
        match address::check(key, &text) {
            Ok(()) => Some(text),
            Err(detail) => {
                said.refuse(key, detail);
                None
            }
        }
    };
    let addresses = Addresses {
        email: single("email"),
        phone: single("phone"),
        slack: single("slack"),
        webhook: single("webhook"),
        push: devices(&mut said, "push", device),
        web_push: devices(&mut said, "web_push", browser),
    };
    fields.absorb(said);
    addresses
}

/// Reads a list of objects, each by `read`.
fn devices(
    fields: &mut Fields,
    name: &str,
    read: impl Fn(&mut Fields) -> Option<Value>,
) -> Vec<Value> {
    let Some(items) = fields.items(name) else {
        return Vec::new();
    };
    if items.len() > DEVICES_MAX {
        fields.refuse(name, format!("must have at most {DEVICES_MAX} items"));
        return Vec::new();
    }
    let mut devices = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(mut one) = fields.item(name, index, item) else {
            continue;
        };
        if let Some(device) = read(&mut one)
            && !devices.contains(&device)
        {
            devices.push(device);
        }
        fields.absorb(one);
    }
    devices
}

fn device(fields: &mut Fields) -> Option<Value> {
    let token = line(fields, "token", TOKEN_CHARS_MAX);
    let platform = fields.required_name("platform").to_ascii_lowercase();
    if !platform.is_empty() && !PLATFORMS.contains(&platform.as_str()) {
        fields.refuse("platform", "must be one of ios, android, web");
        return None;
    }
    Some(json!({"token": token?, "platform": platform}))
}

/// A subscription as the browser writes it.
fn browser(fields: &mut Fields) -> Option<Value> {
    let endpoint = line(fields, "endpoint", ENDPOINT_CHARS_MAX);
    let is_bad = |endpoint: &String| address::check("webhook", endpoint).is_err();
    if endpoint.as_ref().is_some_and(is_bad) {
        fields.refuse("endpoint", "must be an http or https URL");
    }
    // Browsers add when it ends, which push services tell by their answer.
    fields.take("expirationTime");
    if !fields.has("keys") {
        fields.refuse("keys", "is required");
    }
    let mut keys = fields.child("keys")?;
    let pair = (key(&mut keys, "p256dh"), key(&mut keys, "auth"));
    fields.absorb(keys);
    let (Some(p256dh), Some(auth)) = pair else {
        return None;
    };
    Some(json!({"endpoint": endpoint?, "keys": {"p256dh": p256dh, "auth": auth}}))
}

/// A key of a subscription: base64, of either alphabet.
fn key(fields: &mut Fields, name: &str) -> Option<String> {
    let text = fields.required_name(name);
    let is_base64 = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_+/=".contains(c));
    if !is_base64 {
        fields.refuse(name, "must be base64");
        return None;
    }
    Some(text)
}

/// A text without spaces that must be there.
pub(super) fn line(fields: &mut Fields, name: &str, chars_max: usize) -> Option<String> {
    if !fields.has(name) {
        fields.refuse(name, "is required");
    }
    let text = fields.text(name)?;
    let is_line = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !is_line || text.chars().count() > chars_max {
        let detail = format!("must be a text without spaces of at most {chars_max} characters");
        fields.refuse(name, detail);
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(body: Value) -> Vec<String> {
        let errors = UserSubmission::parse(body, "ada").expect_err("the body is bad");
        let mut pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
        pointers.sort();
        pointers
    }

    fn subscription() -> Value {
        json!({"endpoint": "https://push.example/x", "keys": {"p256dh": "BNc_-", "auth": "a9=="}})
    }

    #[test]
    fn a_full_user_is_read() {
        let mut from_browser = subscription();
        from_browser["expirationTime"] = json!(null);
        let user = UserSubmission::parse(
            json!({
                "user_id": "ada",
                "addresses": {
                    "email": "ada@example.com", "phone": "+15551234567", "slack": "#ada",
                    "webhook": "https://example.com/hook",
                    "push": [{"token": "t:1", "platform": "iOS"},
                             {"token": "t:1", "platform": "ios"}],
                    "web_push": [from_browser],
                },
                "locale": "pt-BR", "timezone": "America/Sao_Paulo",
                "roles": ["trader", "trader", "admin"], "groups": ["london"],
                "data": {"name": "Ada"},
            }),
            "ada",
        )
        .unwrap();

        assert_eq!(
            user.addresses.push,
            [json!({"token": "t:1", "platform": "ios"})]
        );
        assert_eq!(user.addresses.web_push, [subscription()]);
        assert_eq!(user.roles, ["trader", "admin"]);
        assert_eq!(user.timezone.as_deref(), Some("America/Sao_Paulo"));
        assert_eq!(user.data, json!({"name": "Ada"}));
    }

    #[test]
    fn an_empty_body_is_a_user_without_addresses() {
        let user = UserSubmission::parse(json!({"addresses": {"email": null}}), "ada").unwrap();

        assert_eq!(user.addresses, Addresses::default());
        assert_eq!(user.data, json!({}));
    }

    #[test]
    fn every_bad_field_is_pointed_at() {
        let body = json!({
            "user_id": "bob", "locale": "", "timezone": "CET+1", "roles": [""], "groups": "all",
            "data": [], "colour": 1,
            "addresses": {
                "email": "ada@example.com\r\nBcc: eve@example.com", "phone": "call", "slack": "",
                "webhook": "ftp://x", "fax": "1",
                "push": [7, {"token": "a b", "platform": "tv"}, {"more": 1}],
                "web_push": [{"endpoint": "x", "keys": {"auth": "ä"}}, {"keys": 1}],
            },
        });

        assert_eq!(
            pointers(body),
            [
                "/addresses/email",
                "/addresses/fax",
                "/addresses/phone",
                "/addresses/push/0",
                "/addresses/push/1/platform",
                "/addresses/push/1/token",
                "/addresses/push/2/more",
                "/addresses/push/2/platform",
                "/addresses/push/2/token",
                "/addresses/slack",
                "/addresses/web_push/0/endpoint",
                "/addresses/web_push/0/keys/auth",
                "/addresses/web_push/0/keys/p256dh",
                "/addresses/web_push/1/endpoint",
                "/addresses/web_push/1/keys",
                "/addresses/webhook",
                "/colour",
                "/data",
                "/groups",
                "/locale",
                "/roles/0",
                "/timezone",
                "/user_id",
            ]
        );
    }

    #[test]
    fn lists_are_bounded() {
        let devices: Vec<_> = (0..=DEVICES_MAX)
            .map(|n| json!({"token": n.to_string(), "platform": "ios"}))
            .collect();
        let roles: Vec<_> = (0..=NAMES_MAX).map(|n| n.to_string()).collect();

        let body = json!({"addresses": {"push": devices}, "roles": roles});

        assert_eq!(pointers(body), ["/addresses/push", "/roles"]);
    }
}

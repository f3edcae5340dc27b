//! How people and topics are described. The domain reads the real bodies, field by field.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::words::{ChannelAsked, PriorityAsked, SeverityWord, optional_any_object};

/// What a user wants to be told, and how. Every field may be missing.
#[derive(ToSchema)]
#[schema(example = json!({
    "enabled": true, "locale": "pt-BR", "timezone": "America/Sao_Paulo",
    "channels": {"sms": {"enabled": false}},
    "categories": {"marketing": {"enabled": true, "channels": ["email"], "min_priority": "high"}},
    "quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00", "allow_critical": true},
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::Preferences` reads and writes the real one"
)]
pub(in crate::api) struct PreferencesBody {
    /// `false` turns everything off.
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
    /// A BCP 47 language; wins over the user's.
    #[schema(nullable, max_length = 35)]
    locale: Option<String>,
    /// An IANA time zone.
    #[schema(nullable, example = "Europe/Berlin")]
    timezone: Option<String>,
    /// What is less severe is not worth telling.
    #[schema(nullable)]
    min_severity: Option<SeverityWord>,
    /// By channel, under any of its names.
    #[schema(nullable)]
    channels: Option<BTreeMap<String, ChannelWishBody>>,
    /// By category; at most 200.
    #[schema(nullable)]
    categories: Option<BTreeMap<String, CategoryWishBody>>,
    #[schema(nullable)]
    quiet_hours: Option<QuietHoursBody>,
}

/// What a user wants of one channel.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct ChannelWishBody {
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
    /// Wins over the user's address. Not for channels that reach devices.
    #[schema(nullable, max_length = 255)]
    address: Option<String>,
}

/// What a user wants of one category.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct CategoryWishBody {
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
    /// The only channels it may use.
    #[schema(nullable)]
    channels: Option<Vec<ChannelAsked>>,
    #[schema(nullable)]
    min_priority: Option<PriorityAsked>,
    /// `defer`, `digest`, `drop` or `deliver`.
    #[schema(
        nullable,
        pattern = "^[Dd][Ee][Ff][Ee][Rr]$|^[Dd][Ii][Gg][Ee][Ss][Tt]$|^[Dd][Rr][Oo][Pp]$|^[Dd][Ee][Ll][Ii][Vv][Ee][Rr]$"
    )]
    quiet_hours: Option<String>,
}

/// When not to disturb, by the clock on the wall.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct QuietHoursBody {
    #[schema(nullable, default = false)]
    enabled: Option<bool>,
    /// Quiet from here on.
    #[schema(
        nullable,
        default = "22:00",
        pattern = "^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"
    )]
    start: Option<String>,
    /// Quiet until here; differs from `start`.
    #[schema(
        nullable,
        default = "08:00",
        pattern = "^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"
    )]
    end: Option<String>,
    /// An IANA time zone, where it is not the one of the preferences.
    #[schema(nullable)]
    timezone: Option<String>,
    #[schema(nullable, default = true)]
    allow_critical: Option<bool>,
    /// The channels held back.
    #[schema(nullable)]
    channels: Option<Vec<ChannelAsked>>,
}

/// Where a user is reached, and who they are to rules. What is missing is empty.
#[derive(ToSchema)]
#[schema(example = json!({
    "addresses": {"email": "ada@example.com", "phone": "+15551234567"},
    "locale": "de", "timezone": "Europe/Berlin", "roles": ["trader"], "groups": ["london"],
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::UserSubmission` reads the real one"
)]
pub(in crate::api) struct UserBody {
    /// As in the path, if given at all.
    #[schema(nullable)]
    user_id: Option<String>,
    #[schema(nullable)]
    addresses: Option<AddressesBody>,
    /// A BCP 47 language.
    #[schema(nullable, max_length = 35)]
    locale: Option<String>,
    /// An IANA time zone.
    #[schema(nullable)]
    timezone: Option<String>,
    #[schema(nullable, max_items = 200)]
    roles: Option<Vec<String>>,
    #[schema(nullable, max_items = 200)]
    groups: Option<Vec<String>>,
    /// What templates see as `user.data`.
    #[schema(schema_with = optional_any_object)]
    data: Option<Value>,
}

/// Where a user is reached.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct AddressesBody {
    #[schema(nullable, max_length = 255)]
    email: Option<String>,
    /// As E.164 writes it.
    #[schema(nullable, max_length = 255, example = "+15551234567")]
    phone: Option<String>,
    /// A channel or a user of Slack.
    #[schema(nullable, max_length = 255)]
    slack: Option<String>,
    /// An http or https URL.
    #[schema(nullable, max_length = 255)]
    webhook: Option<String>,
    #[schema(nullable, max_items = 50)]
    push: Option<Vec<DeviceBody>>,
    #[schema(nullable, max_items = 50)]
    web_push: Option<Vec<BrowserBody>>,
}

/// A device.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct DeviceBody {
    #[schema(min_length = 1, max_length = 4096)]
    token: String,
    /// `ios`, `android` or `web`.
    platform: String,
}

/// A browser, as its `PushSubscription` is written as JSON.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct BrowserBody {
    #[schema(min_length = 1, max_length = 2048)]
    endpoint: String,
    keys: BrowserKeysBody,
    #[serde(rename = "expirationTime")]
    #[schema(nullable)]
    expiration_time: Option<i64>,
}

/// The keys of a browser: base64.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct BrowserKeysBody {
    p256dh: String,
    auth: String,
}

/// A browser to be notified, as its `PushSubscription` is written as JSON.
#[derive(ToSchema)]
#[schema(example = json!({
    "endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::BrowserSubmission` reads the real one"
)]
pub(in crate::api) struct SubscriptionBody {
    /// An https URL.
    #[schema(min_length = 1, max_length = 2048, pattern = "^https://")]
    endpoint: String,
    keys: BrowserKeysBody,
    #[serde(rename = "expirationTime")]
    #[schema(nullable)]
    expiration_time: Option<i64>,
}

/// The browser that is not to be notified any more.
#[derive(ToSchema)]
#[schema(example = json!({
    "endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::BrowserSubmission` reads the real one"
)]
pub(in crate::api) struct EndpointBody {
    /// An https URL.
    #[schema(min_length = 1, max_length = 2048, pattern = "^https://")]
    endpoint: String,
}

/// A topic.
#[derive(ToSchema)]
#[schema(example = json!({"name": "releases", "description": "What is new."}))]
#[allow(
    dead_code,
    reason = "only described; `domain::TopicSubmission` reads the real one"
)]
pub(in crate::api) struct TopicBody {
    /// Unique, and not in the shape of an id.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    #[schema(nullable, max_length = 2000)]
    description: Option<String>,
}

/// Users of a topic.
#[derive(ToSchema)]
#[schema(example = json!({"user_ids": ["u1", "u2"]}))]
#[allow(
    dead_code,
    reason = "only described; `domain::parse_members` reads the real one"
)]
pub(in crate::api) struct MembersBody {
    #[schema(max_items = 5000)]
    user_ids: Vec<String>,
}

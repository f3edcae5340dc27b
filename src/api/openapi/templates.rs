//! How a template is described. The engine reads the real body, field by field.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::words::{ChannelAsked, any_object, optional_any_object};

/// A template: what is said on each channel, and in which languages.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "order.filled", "category": "trading",
    "channels": {
        "in_app": {"title": "Order filled", "message": "{{ quantity | number }} {{ symbol }}"},
        "email": {"subject": "{{ symbol }} filled", "body": "Filled: {{ quantity }} {{ symbol }}."},
    },
    "translations": {"ru": {"in_app": {"title": "Заявка исполнена"}}},
    "variables": {"type": "object", "required": ["symbol", "quantity"]},
    "samples": [{"symbol": "AAPL", "quantity": 10}], "tags": ["spring"],
}))]
#[allow(
    dead_code,
    reason = "only described; `render::TemplateBody` reads the real one"
)]
pub(in crate::api) struct TemplateBody {
    /// Found in any case, with `_` for `.`; must not look like an id. In a `PUT` it may be missing.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    #[schema(nullable, max_length = 1000)]
    description: Option<String>,
    /// What its recipients can opt out of.
    #[schema(nullable, min_length = 1, max_length = 255)]
    category: Option<String>,
    /// The texts in the default language, by channel.
    #[schema(schema_with = any_object)]
    channels: Value,
    /// The texts in other languages, by BCP 47 tag and channel; at most 50.
    #[schema(schema_with = optional_any_object)]
    translations: Option<Value>,
    /// A JSON Schema of the payload.
    #[schema(schema_with = optional_any_object)]
    variables: Option<Value>,
    /// Payloads to try it with, at most 20. All must render before it is saved.
    #[schema(nullable, max_items = 20)]
    samples: Option<Vec<BTreeMap<String, Value>>>,
    /// Whether it may be used from now on.
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
    #[schema(nullable, max_items = 20)]
    tags: Option<Vec<String>>,
}

/// What is to be previewed.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "email", "locale": "ru", "data": {"symbol": "AAPL"}}))]
#[allow(
    dead_code,
    reason = "only described; `domain::PreviewSubmission` reads the real one"
)]
pub(in crate::api) struct PreviewBody {
    channel: ChannelAsked,
    /// A BCP 47 language.
    #[schema(nullable, max_length = 35)]
    locale: Option<String>,
    /// What the template sees; without it, its first sample.
    #[schema(schema_with = optional_any_object)]
    data: Option<Value>,
}

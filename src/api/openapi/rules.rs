//! How a rule is described. The domain reads the real body, field by field.

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema};

use super::bodies::EventBody;
use super::words::{ChannelAsked, PriorityAsked, optional_any_object, optional_moment};

/// Anything at all: a value that is compared, or a field that takes several forms.
pub(crate) fn anything() -> RefOr<Schema> {
    RefOr::T(Schema::Object(
        ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
            .build(),
    ))
}

/// An event to try the rules on. It need not have happened.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "only described; `domain::RehearsalSubmission` reads the real one"
)]
pub(in crate::api) struct RehearsalBody {
    event: EventBody,
    /// When it would happen: now, if not given.
    #[schema(schema_with = optional_moment)]
    at: Option<String>,
}

/// Who hears of which events, and how; `docs/rules.md` explains every key. A rule with one action
/// may be written flat: the keys of the action stand in the rule itself, without `actions`.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "Margin Call", "event_type": "MARGIN_CALL",
    "conditions": [{"field": "severity", "operator": "gte", "value": "high"}],
    "actions": [{
        "type": "notify", "channels": ["in_app", "sms"], "fallback": ["push"],
        "template": "risk.margin_call", "priority": "high",
        "recipients": {"type": "dynamic", "expression": "event.data.user_id"},
    }],
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::RuleSubmission` reads the real one"
)]
pub(in crate::api) struct RuleBody {
    /// Unique in its tenant; must not look like an id.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    #[schema(nullable, max_length = 2000)]
    description: Option<String>,
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
    /// It speaks of no event before.
    #[schema(schema_with = optional_moment)]
    valid_from: Option<String>,
    /// Nor from then on.
    #[schema(schema_with = optional_moment)]
    valid_until: Option<String>,
    /// One type; the same as `event_types` with one.
    #[schema(nullable, min_length = 1, max_length = 255)]
    event_type: Option<String>,
    /// Types it speaks of, in any case, with `_` for `.`.
    #[schema(schema_with = anything)]
    event_types: Option<Value>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    domain: Option<String>,
    /// What a type may begin with, up to its first dot.
    #[schema(schema_with = anything)]
    domains: Option<Value>,
    /// All of them must hold.
    #[schema(nullable, max_items = 50)]
    conditions: Option<Vec<ConditionBody>>,
    /// CEL over `event` that must be true.
    #[schema(nullable, max_length = 4096)]
    when: Option<String>,
    /// The same as `when`.
    #[schema(nullable, max_length = 4096)]
    event_pattern: Option<String>,
    /// Cron or an interval: the rule fires by the clock, not by events.
    #[schema(schema_with = anything)]
    schedule: Option<Value>,
    /// Whose clock `schedule` is read on.
    #[schema(nullable, example = "Europe/Berlin")]
    timezone: Option<String>,
    #[schema(nullable, min_items = 1, max_items = 20)]
    actions: Option<Vec<ActionBody>>,
    #[schema(inline)]
    #[serde(flatten)]
    action: ActionBody,
}

/// What must be true of an event.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct ConditionBody {
    /// A path: `severity`, `type`, `payload.account.id`, `account.id`, ….
    #[schema(min_length = 1, max_length = 255)]
    field: String,
    /// `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `contains`, `exists` or `matches`.
    operator: String,
    #[schema(schema_with = anything)]
    value: Option<Value>,
}

/// What is done about an event.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct ActionBody {
    /// `notify` is the only one.
    #[schema(nullable)]
    r#type: Option<String>,
    /// Without it, in-app.
    #[schema(nullable, min_items = 1)]
    channels: Option<Vec<ChannelAsked>>,
    /// What stands in, in order, for a channel that cannot deliver.
    #[schema(nullable)]
    fallback: Option<Vec<ChannelAsked>>,
    #[schema(nullable)]
    fallback_channels: Option<Vec<ChannelAsked>>,
    /// Without it, the one named by the event's type.
    #[schema(nullable, min_length = 1, max_length = 255)]
    template: Option<String>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    template_id: Option<String>,
    /// Added to what the template sees.
    #[schema(schema_with = optional_any_object)]
    template_vars: Option<Value>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    category: Option<String>,
    /// Without it, that of the event's severity.
    #[schema(nullable)]
    priority: Option<PriorityAsked>,
    #[schema(nullable, max_length = 35)]
    locale: Option<String>,
    #[schema(nullable, default = false)]
    bypass_quiet_hours: Option<bool>,
    /// From the event on, such as `1h`.
    #[schema(schema_with = anything)]
    expires_in: Option<Value>,
    /// A selector, a list of them or of user ids, or an expression.
    #[schema(schema_with = anything)]
    recipients: Option<Value>,
    /// Several events are told as one: from the first of them to the send, such as `5m`.
    #[schema(schema_with = anything)]
    batch_window: Option<Value>,
    /// So many are sent at once.
    #[schema(nullable, minimum = 1, maximum = 10000)]
    batch_size: Option<u32>,
    /// CEL over `event`; events of one value are told together.
    #[schema(nullable, max_length = 4096)]
    batch_key: Option<String>,
    #[schema(nullable, min_items = 2, max_items = 10)]
    variants: Option<Vec<VariantBody>>,
}

/// One side of a test of templates or channels.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct VariantBody {
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    #[schema(nullable, minimum = 1, maximum = 1000, default = 1)]
    weight: Option<u32>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    template: Option<String>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    template_id: Option<String>,
    #[schema(nullable, min_items = 1)]
    channels: Option<Vec<ChannelAsked>>,
}

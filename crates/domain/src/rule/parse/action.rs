//! Reads one action: its channels, template, digest and variants.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::recipients::recipients;
use super::{Trust, either, expression_in, problem_of};
use crate::rule::{Action, Batch, Variant, span};
use crate::submission::fields::Fields;
use crate::{Channel, Priority};

/// Every key of an action, which a rule that is written flat has itself.
pub(in crate::rule) const ACTION_KEYS: [&str; 17] = [
    "type",
    "channels",
    "fallback",
    "fallback_channels",
    "template",
    "template_id",
    "template_vars",
    "category",
    "priority",
    "locale",
    "bypass_quiet_hours",
    "expires_in",
    "recipients",
    "batch_window",
    "batch_size",
    "batch_key",
    "variants",
];

/// Events that are told as one.
const BATCH_SIZE_MAX: u64 = 10_000;

/// A digest collects for so long at most; what it collects must outlive it.
const BATCH_WINDOW_MAX: Duration = Duration::from_hours(31 * 24);

const EXPIRES_IN_MAX: Duration = Duration::from_hours(366 * 24);

/// Sides of a test.
const VARIANTS: std::ops::RangeInclusive<usize> = 2..=10;

const WEIGHT_MAX: u64 = 1000;

pub(super) fn read(fields: &mut Fields, trust: Trust) -> Action {
    fields.word(
        "type",
        |word| word.eq_ignore_ascii_case("notify").then_some(()),
        "notify",
    );
    let channels = channels(fields, "channels");
    let fallback_name = either(fields, "fallback", "fallback_channels");
    let fallback = fields.channels(fallback_name).unwrap_or_default();
    let first = channels.as_deref().unwrap_or(&[Channel::InApp]);
    if let Some(again) = fallback.iter().find(|channel| first.contains(channel)) {
        let detail = format!("must not name {again} again, which is in `channels`");
        fields.refuse(fallback_name, detail);
    }
    Action {
        channels,
        fallback,
        template: template(fields),
        template_vars: template_vars(fields),
        category: fields.name("category"),
        priority: fields.word("priority", Priority::parse, "critical, high, normal, low"),
        locale: fields.locale("locale"),
        bypass_quiet_hours: fields.flag("bypass_quiet_hours").unwrap_or(false),
        expires_in: time_span(fields, "expires_in", EXPIRES_IN_MAX),
        recipients: recipients(fields, trust),
        batch: batch(fields, trust),
        variants: variants(fields),
    }
}

/// Channels, of which there is at least one if any are named.
fn channels(fields: &mut Fields, name: &str) -> Option<Vec<Channel>> {
    if matches!(fields.get(name), Some(Value::Array(items)) if items.is_empty()) {
        fields.refuse(name, "must name at least one channel, or be left out");
    }
    fields
        .channels(name)
        .filter(|channels| !channels.is_empty())
}

fn template(fields: &mut Fields) -> Option<String> {
    let name = either(fields, "template", "template_id");
    fields.name(name)
}

fn template_vars(fields: &mut Fields) -> Map<String, Value> {
    let name = "template_vars";
    match fields.object(name) {
        Some(Value::Object(vars)) => {
            if let Some(detail) = problem_of(&Value::Object(vars.clone())) {
                fields.refuse(name, detail);
            }
            vars
        }
        _ => Map::new(),
    }
}

fn time_span(fields: &mut Fields, name: &str, max: Duration) -> Option<Duration> {
    let value = fields.take(name)?;
    let span = span::read(&value).filter(|span| !span.is_zero() && *span <= max);
    if span.is_none() {
        let max = span::write(max);
        let detail = format!("must be a time such as 30s, 5m, 1h or 1d, from 1s to {max}");
        fields.refuse(name, detail);
    }
    span
}

fn count(fields: &mut Fields, name: &str, max: u64) -> Option<u32> {
    let value = fields.take(name)?;
    let number = value.as_u64().filter(|number| (1..=max).contains(number));
    let number = number.and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        fields.refuse(name, format!("must be a whole number from 1 to {max}"));
    }
    number
}

fn batch(fields: &mut Fields, trust: Trust) -> Option<Batch> {
    let is_named = fields.has("batch_window");
    let window = time_span(fields, "batch_window", BATCH_WINDOW_MAX);
    let size = count(fields, "batch_size", BATCH_SIZE_MAX);
    let key = expression_in(fields, "batch_key", trust);
    if !is_named && (size.is_some() || key.is_some()) {
        let detail = "is required with `batch_size` and `batch_key`";
        fields.refuse("batch_window", detail);
    }
    Some(Batch {
        window: window?,
        size,
        key,
    })
}

fn variants(fields: &mut Fields) -> Vec<Variant> {
    let Some(items) = fields.items("variants") else {
        return Vec::new();
    };
    if !VARIANTS.contains(&items.len()) {
        let (least, most) = (VARIANTS.start(), VARIANTS.end());
        fields.refuse("variants", format!("must have {least} to {most} items"));
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut variants = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(mut child) = fields.item("variants", index, item) else {
            continue;
        };
        let name = child.required_name("name");
        if !names.insert(name.clone()) {
            child.refuse("name", "must differ from those of the other variants");
        }
        variants.push(Variant {
            name,
            weight: count(&mut child, "weight", WEIGHT_MAX).unwrap_or(1),
            template: template(&mut child),
            channels: channels(&mut child, "channels"),
        });
        fields.absorb(child);
    }
    variants
}

//! A trace as a line of time: each decision in plain words, with its reason and its values.
//!
//! The same for what happened and for what would happen. What a step means for the message is told
//! by a word and a shape, never by a colour alone.

use chrono::{DateTime, Utc};
use domain::TraceStep;
use serde_json::Value;

use super::text;

/// Characters shown of one value. The whole of it is in the API's trace.
const VALUE_CHARS_MAX: usize = 400;

/// One decision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// When, to the millisecond; of a dry run nothing.
    pub(super) at: Option<Moment>,
    /// Where it was taken.
    pub(super) place: String,
    pub(super) decision: String,
    /// The shape and the colour of the decision.
    pub(super) class: &'static str,
    pub(super) reason: String,
    pub(super) facts: Vec<(String, String)>,
}

/// When a decision was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) clock: String,
    pub(super) machine: String,
    /// How long after the one before.
    pub(super) after: Option<String>,
}

/// The steps of a trace, in its order.
pub(super) fn told(
    entries: impl IntoIterator<Item = (Option<DateTime<Utc>>, TraceStep)>,
) -> Vec<Step> {
    let mut before: Option<DateTime<Utc>> = None;
    let steps = entries.into_iter().map(|(at, step)| {
        let moment = at.map(|at| Moment {
            clock: at.format("%H:%M:%S%.3f").to_string(),
            machine: text::machine(at),
            after: before.and_then(|before| gap(at, before)),
        });
        before = at.or(before);
        one(moment, step)
    });
    steps.collect()
}

/// What is worth saying of the time between two steps.
fn gap(at: DateTime<Utc>, before: DateTime<Utc>) -> Option<String> {
    let seconds = (at - before).as_seconds_f64();
    (seconds >= 0.001).then(|| format!("+{}", text::seconds(seconds)))
}

fn one(at: Option<Moment>, step: TraceStep) -> Step {
    Step {
        at,
        place: place(&step.step),
        decision: step.decision.replace('_', " "),
        class: class(&step.decision),
        reason: sentence(&step.reason),
        facts: facts(&step.detail),
    }
}

/// Where a decision was taken, in a word or two.
fn place(step: &str) -> String {
    let known = match step {
        "route" => "Routing",
        "rules" => "Rules",
        "render" => "Text",
        "deliver" => "Sending",
        "deliver_in_app" => "Feed",
        "attempt" => "Provider",
        "retry" => "Next try",
        "quiet_hours" => "Quiet hours",
        "batch_flush" | "digest" => "Digest",
        "schedule" => "Schedule",
        "cancel" | "withdraw" => "Cancelling",
        "replay" => "Replay",
        "erase" => "Erasing",
        "stand_in" => "Stand-in",
        _ => return sentence(&step.replace('_', " ")),
    };
    known.to_owned()
}

/// The shape of a decision.
pub(super) fn class(decision: &str) -> &'static str {
    match decision {
        "sent" | "delivered" | "rendered" | "literal" | "fired" | "passed" | "over"
        | "accepted" | "told" => "good",
        "failed" | "bounced" | "rejected" | "buried" | "template_missing" | "no_address"
        | "no_recipient" | "rule_failed" | "fallback_unusable" | "fallback_exhausted"
        | "outcome_unknown" | "attempts_exhausted" => "bad",
        "suppressed"
        | "deferred"
        | "digest"
        | "expired"
        | "cancelled"
        | "retry"
        | "unknown"
        | "rate_limited"
        | "postponed"
        | "preferences_disregarded"
        | "fallback" => "warn",
        _ => "idle",
    }
}

/// The same text, as a sentence begins.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The values that a decision was taken on.
fn facts(detail: &Value) -> Vec<(String, String)> {
    let Value::Object(fields) = detail else {
        return match detail {
            Value::Null => Vec::new(),
            other => vec![("detail".to_owned(), short(other))],
        };
    };
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let told = fields.iter().filter(|(_, value)| !is_empty(value));
    told.map(|(name, value)| (name.replace('_', " "), short(value)))
        .collect()
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            words.join(", ")
        }
        other => other.to_string(),
    };
    text::cut(&text, VALUE_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_says_where_what_why_and_how_much_later() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let route = TraceStep::new("route", "no_address", "email has no address")
            .with_detail(json!({"channel": "email", "of": ["a", "b"], "row": null}));
        let attempt = TraceStep::new("attempt", "sent", "250 ok");

        let steps = told([
            (Some(at), route),
            (Some(at + TimeDelta::milliseconds(1500)), attempt),
        ]);

        assert_eq!(steps[0].place, "Routing");
        assert_eq!(steps[0].decision, "no address");
        assert_eq!(steps[0].class, "bad");
        assert_eq!(steps[0].reason, "Email has no address");
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            steps[0].facts,
            [fact("channel", "email"), fact("of", "a, b")]
        );
        let later = steps[1].at.as_ref().unwrap();
        assert_eq!(later.clock, "08:00:01.500");
        assert_eq!(later.after.as_deref(), Some("+1.5 s"));
    }

    #[test]
    fn a_long_value_is_cut() {
        let step = TraceStep::new("x_y", "z", "").with_detail(json!({"a": "я".repeat(5000)}));

        let steps = told([(None, step)]);

        assert_eq!(steps[0].place, "X y");
        assert_eq!(steps[0].facts[0].1.chars().count(), VALUE_CHARS_MAX + 1);
    }
}

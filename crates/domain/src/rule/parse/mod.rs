//! Reads a rule, as the API and the rules file write it, or tells everything that is wrong with it.
//!
//! The keys are those of the rules file, with the names that system C used beside them. What can be
//! checked without an event is checked here: an expression or a pattern that a rule was accepted
//! with does compile.

mod action;
mod recipients;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;

use chrono::DateTime;
use serde_json::Value;
use uuid::Uuid;

use super::condition::Check;
use super::{Condition, Every, Operator, Rule, Schedule, cel, span};
use crate::submission::fields::Fields;
use crate::submission::json::check;
use crate::{FieldError, RuleId, template_key};

use action::ACTION_KEYS;

/// Actions of a rule.
const ACTIONS_MAX: usize = 20;

/// Conditions of a rule.
const CONDITIONS_MAX: usize = 50;

/// Event types, or domains, of a rule.
const TYPES_MAX: usize = 200;

/// Characters in a description.
const DESCRIPTION_CHARS_MAX: usize = 2000;

/// The last part of the dry run's path, `/v1/rules/test`; a rule of that name could not be asked for.
const DRY_RUN: &str = "test";

/// Bytes of JSON in the value of a condition, and in the variables of an action.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The operators, for a refusal.
const OPERATOR_WORDS: &str = "eq, ne, gt, gte, lt, lte, in, contains, exists, matches";

/// A rule that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSubmission(Rule);

/// Whether expressions, patterns and schedules are tried. What was stored has been tried before,
/// and a book compiles it anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Submitted,
    Stored,
}

impl RuleSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        read(body, Trust::Submitted)
    }

    /// Reads what was stored.
    pub fn of_stored(body: Value) -> Result<Self, Vec<FieldError>> {
        read(body, Trust::Stored)
    }

    /// Unique in its tenant.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn is_enabled(&self) -> bool {
        self.0.enabled
    }

    /// The body to store; it is read back to the same rule.
    pub fn to_value(&self) -> Value {
        self.0.to_value()
    }

    /// The rule, once it has an id and a version.
    pub fn into_rule(self, id: RuleId, version: i64) -> Rule {
        Rule {
            id,
            version,
            ..self.0
        }
    }
}

fn read(body: Value, trust: Trust) -> Result<RuleSubmission, Vec<FieldError>> {
    let mut fields = Fields::of(body)?;
    let rule = Rule {
        id: RuleId::from(Uuid::nil()),
        version: 0,
        name: fields.required_name("name"),
        description: fields.text("description").filter(|text| !text.is_empty()),
        enabled: fields.flag("enabled").unwrap_or(true),
        valid_from: fields.time("valid_from"),
        valid_until: fields.time("valid_until"),
        event_types: types(&mut fields, "event_type", "event_types"),
        domains: domains(&mut fields, trust),
        conditions: conditions(&mut fields, trust),
        when: when(&mut fields, trust),
        schedule: schedule(&mut fields, trust),
        actions: actions(&mut fields, trust),
    };
    // A path names a rule by either.
    if Uuid::parse_str(&rule.name).is_ok() {
        fields.refuse("name", "must not look like an id");
    }
    if rule.name == DRY_RUN && trust == Trust::Submitted {
        fields.refuse(
            "name",
            "must not be `test`: `/v1/rules/test` is the dry run",
        );
    }
    let description = rule.description.as_deref().unwrap_or_default();
    if description.chars().count() > DESCRIPTION_CHARS_MAX {
        let detail = format!("must have at most {DESCRIPTION_CHARS_MAX} characters");
        fields.refuse("description", detail);
    }
    if let (Some(from), Some(until)) = (rule.valid_from, rule.valid_until)
        && from >= until
    {
        fields.refuse("valid_until", "must come after `valid_from`");
    }
    if rule.schedule.is_some() {
        refuse_events(&rule, &mut fields);
    }
    fields.finish(RuleSubmission(rule))
}

/// Refuses what only an event could answer in a rule that fires by the clock.
fn refuse_events(rule: &Rule, fields: &mut Fields) {
    for (is_given, name) in [
        (!rule.event_types.is_empty(), "event_types"),
        (!rule.domains.is_empty(), "domains"),
        (!rule.conditions.is_empty(), "conditions"),
        (rule.when.is_some(), "when"),
    ] {
        if is_given {
            let detail = "does not go with `schedule`: such a rule fires by the clock";
            fields.refuse(name, detail);
        }
    }
    if rule
        .actions
        .iter()
        .any(|action| action.recipients.is_empty())
    {
        let detail = "is required in every action of a rule with a `schedule`";
        fields.refuse("recipients", detail);
    }
}

/// Takes one of two names of a field; refuses both at once. A null is not given.
fn either<'n>(fields: &mut Fields, name: &'n str, alias: &'n str) -> &'n str {
    for one in [name, alias] {
        if !fields.has(one) {
            fields.take(one);
        }
    }
    match (fields.has(name), fields.has(alias)) {
        (true, true) => {
            fields.refuse(
                alias,
                format!("says the same as `{name}`; give one of them"),
            );
            fields.take(alias);
            name
        }
        (false, true) => alias,
        (_, false) => name,
    }
}

fn types(fields: &mut Fields, single: &str, several: &str) -> Vec<String> {
    let name = either(fields, several, single);
    let types = match fields.get(name) {
        Some(Value::String(_)) => fields.name(name).into_iter().collect(),
        Some(Value::Array(_)) | None => fields.names(name, TYPES_MAX).unwrap_or_default(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            fields.take(name);
            fields.refuse(name, "must be a string, or an array of strings");
            Vec::new()
        }
    };
    if types.iter().any(|known| known.contains('*')) {
        let detail = "has no wildcards; use `domains`, or `when` with startsWith";
        fields.refuse(name, detail);
    }
    types
}

/// What stands before the first dot of a type has none itself, so a domain with one never matches.
fn domains(fields: &mut Fields, trust: Trust) -> Vec<String> {
    if trust == Trust::Submitted {
        for name in ["domains", "domain"] {
            let bad: Vec<_> = match fields.get(name) {
                Some(Value::Array(items)) => {
                    let items = items.iter().enumerate().filter(|(_, item)| has_dot(item));
                    items.map(|(index, _)| format!("{name}/{index}")).collect()
                }
                Some(item) if has_dot(item) => vec![name.to_owned()],
                _ => Vec::new(),
            };
            for place in bad {
                let detail =
                    "must have no `.` and no `_`: a domain is what stands before the first";
                fields.refuse(&place, detail);
            }
        }
    }
    types(fields, "domain", "domains")
}

fn has_dot(domain: &Value) -> bool {
    let key = domain.as_str().map(template_key);
    key.is_some_and(|key| key.contains('.'))
}

/// Checks an expression; a stored one is taken as it is.
fn expression(source: String, trust: Trust) -> Result<String, String> {
    let fits = !source.trim().is_empty() && source.len() <= cel::SOURCE_BYTES_MAX;
    match trust {
        Trust::Stored if fits => Ok(source),
        Trust::Stored | Trust::Submitted => cel::compile(&source).map(|_compiled| source),
    }
}

/// Takes the expression in a field.
fn expression_in(fields: &mut Fields, name: &str, trust: Trust) -> Option<String> {
    let source = fields.text(name)?;
    expression(source, trust)
        .map_err(|detail| fields.refuse(name, detail))
        .ok()
}

fn when(fields: &mut Fields, trust: Trust) -> Option<String> {
    let name = either(fields, "when", "event_pattern");
    expression_in(fields, name, trust)
}

fn conditions(fields: &mut Fields, trust: Trust) -> Vec<Condition> {
    let items = fields.items("conditions").unwrap_or_default();
    if items.len() > CONDITIONS_MAX {
        let detail = format!("must have at most {CONDITIONS_MAX} items");
        fields.refuse("conditions", detail);
        return Vec::new();
    }
    let mut conditions = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if let Some(mut child) = fields.item("conditions", index, item) {
            conditions.extend(condition(&mut child, trust));
            fields.absorb(child);
        }
    }
    conditions
}

fn condition(fields: &mut Fields, trust: Trust) -> Option<Condition> {
    let field = fields.required_name("field");
    if !fields.has("operator") {
        fields.refuse("operator", "is required");
    }
    let operator = fields.word("operator", Operator::parse, OPERATOR_WORDS);
    let value = fields.take("value").unwrap_or_default();
    let operator = operator?;
    if operator != Operator::Exists && value.is_null() {
        fields.refuse("value", "is required; `exists` asks for a missing field");
        return None;
    }
    if let Some(detail) = problem_of(&value) {
        fields.refuse("value", detail);
        return None;
    }
    let condition = Condition {
        field,
        operator,
        // That something exists is what `exists` means by itself.
        value: if operator == Operator::Exists && value == Value::Bool(true) {
            Value::Null
        } else {
            value
        },
    };
    if trust == Trust::Submitted
        && let Err(detail) = Check::compile(&condition)
    {
        fields.refuse("value", detail);
        return None;
    }
    Some(condition)
}

/// What is wrong with JSON that is kept as it is.
fn problem_of(value: &Value) -> Option<String> {
    if let Err(error) = check(value, "") {
        return Some(error.detail);
    }
    let is_long = value.to_string().len() > VALUE_BYTES_MAX;
    is_long.then(|| format!("must have at most {VALUE_BYTES_MAX} bytes of JSON"))
}

/// Reads `schedule: "0 9 * * *"`, `schedule: every 5m`, or `schedule: {cron | every, timezone}`,
/// and the `timezone` beside it.
fn schedule(fields: &mut Fields, trust: Trust) -> Option<Schedule> {
    let zone = fields.timezone("timezone");
    let Some(value) = fields.take("schedule") else {
        if zone.is_some() {
            fields.refuse("timezone", "goes with `schedule` only");
        }
        return None;
    };
    let (every, inner_zone) = match value {
        Value::String(text) => (every_of(&text), None),
        Value::Object(_) => {
            let mut child = fields.child_of("schedule", value)?;
            let inner_zone = child.timezone("timezone");
            let name = either(&mut child, "every", "interval");
            let interval = child.take(name);
            if interval.is_some() && child.has("cron") {
                child.take("cron");
                child.refuse(name, "cannot be given beside `cron`; give one of them");
                fields.absorb(child);
                return None;
            }
            let every = match interval {
                Some(interval) => span::read(&interval)
                    .or_else(|| interval.as_str().and_then(interval_of))
                    .map(Every::Interval),
                None => child.text("cron").map(Every::Cron),
            };
            fields.absorb(child);
            (every, inner_zone)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => (None, None),
    };
    if zone.is_some() && inner_zone.is_some() {
        fields.refuse("timezone", "is given twice");
    }
    let Some(every) = every else {
        let detail = "must be a cron expression, or an interval such as `every 5m`";
        fields.refuse("schedule", detail);
        return None;
    };
    let schedule = Schedule {
        every,
        timezone: zone.or(inner_zone).unwrap_or(chrono_tz::UTC),
    };
    if trust == Trust::Submitted {
        // Cron has no years, so it does not matter when it is asked whether a time ever comes.
        if let Err(error) = schedule.check(DateTime::UNIX_EPOCH) {
            fields.refuse("schedule", error.to_string());
            return None;
        }
    }
    Some(schedule)
}

fn every_of(text: &str) -> Option<Every> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(interval_of(text).map_or_else(|| Every::Cron(text.to_owned()), Every::Interval))
}

fn interval_of(text: &str) -> Option<std::time::Duration> {
    let lower = text.to_ascii_lowercase();
    span::parse(lower.strip_prefix("every ").unwrap_or(&lower))
}

/// Reads `actions`, or the one action of a rule that is written flat.
fn actions(fields: &mut Fields, trust: Trust) -> Vec<super::Action> {
    let is_flat = ACTION_KEYS.iter().any(|key| fields.has(key));
    if !fields.has("actions") {
        if !is_flat {
            fields.refuse("actions", "is required");
        }
        return vec![action::read(fields, trust)];
    }
    for key in ACTION_KEYS {
        if fields.take(key).is_some() {
            fields.refuse(key, "must stand in each of `actions`");
        }
    }
    let items = fields.items("actions").unwrap_or_default();
    if items.is_empty() || items.len() > ACTIONS_MAX {
        let detail = format!("must be an array of 1 to {ACTIONS_MAX} items");
        fields.refuse("actions", detail);
        return Vec::new();
    }
    let mut actions = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if let Some(mut child) = fields.item("actions", index, item) {
            actions.push(action::read(&mut child, trust));
            fields.absorb(child);
        }
    }
    actions
}

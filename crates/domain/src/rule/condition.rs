//! Conditions: `{field, operator, value}`, checked once and then held against events.
//!
//! A field is a path. `severity`, `type`, `producer`, `id` and `created_at` are the event's own;
//! `payload.x.y`, `data.x.y`, `event.data.x.y` and a bare `x.y` all lead into the payload. A number
//! between dots is the place in a list.
//!
//! A number and a text that is a number compare as numbers, for some systems send amounts as text.
//! A field that is missing, or null, makes every operator false but `ne`, and `exists` with false.
//!
//! What a condition may take is paid from the event's budget before it is looked at, as for
//! expressions.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::cel::{Scene, weight_of};
use super::pattern::Pattern;
use super::{Condition, Operator};
use crate::{EventFacts, Severity};

/// To find a field and ask something simple of it, in units of ten nanoseconds.
const ASK: f64 = 20.0;

/// To compare two values, of which one may be the text of a number.
const COMPARE: f64 = 15.0;

/// To look for a part of a text, for each byte.
const PART: f64 = 0.2;

/// Longest text that may be a number, in bytes. A list of thousands of numbers reads it as often.
const NUMBER_BYTES_MAX: usize = 100;

/// A condition that can be held against events.
#[derive(Debug, Clone)]
pub(super) struct Check {
    field: Field,
    test: Test,
    /// Values in what the field is held against.
    weight: f64,
}

/// Where the left side comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Severity,
    Type,
    Producer,
    Id,
    CreatedAt,
    /// Keys and places, from the payload inwards; none is the payload itself.
    Payload(Vec<String>),
}

/// What is asked of the left side.
#[derive(Debug, Clone)]
enum Test {
    /// Whether it is there, or is not.
    Exists(bool),
    Matches(Pattern),
    /// The event's severity against others; the operator is none of the above.
    Severity(Operator, Vec<Severity>),
    Value(Operator, Value),
}

impl Operator {
    /// The word in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::In => "in",
            Self::Contains => "contains",
            Self::Exists => "exists",
            Self::Matches => "matches",
        }
    }

    /// Reads a word in any case, or the sign that programmers write for it.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "eq" | "==" | "=" => Some(Self::Eq),
            "ne" | "!=" => Some(Self::Ne),
            "gt" | ">" => Some(Self::Gt),
            "gte" | ">=" => Some(Self::Gte),
            "lt" | "<" => Some(Self::Lt),
            "lte" | "<=" => Some(Self::Lte),
            "in" => Some(Self::In),
            "contains" => Some(Self::Contains),
            "exists" => Some(Self::Exists),
            "matches" => Some(Self::Matches),
            _ => None,
        }
    }
}

impl Check {
    /// Checks what can be checked without an event. The problem is one of `value`.
    pub(super) fn compile(condition: &Condition) -> Result<Self, String> {
        let field = Field::parse(&condition.field);
        let operator = condition.operator;
        let value = &condition.value;
        let test = match operator {
            Operator::Exists => match value {
                Value::Null => Test::Exists(true),
                Value::Bool(wanted) => Test::Exists(*wanted),
                Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                    return Err("must be true or false, or left out".to_owned());
                }
            },
            Operator::Matches => match value {
                Value::String(source) => Test::Matches(Pattern::compile(source)?),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => return Err("must be a regular expression".to_owned()),
            },
            Operator::In if !value.is_array() => return Err("must be an array".to_owned()),
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte
                if !value.is_number() && !value.is_string() =>
            {
                return Err("must be a number or a string".to_owned());
            }
            Operator::Eq
            | Operator::Ne
            | Operator::Gt
            | Operator::Gte
            | Operator::Lt
            | Operator::Lte
            | Operator::In
                if field == Field::Severity =>
            {
                Test::Severity(operator, severities(value)?)
            }
            Operator::Eq
            | Operator::Ne
            | Operator::Gt
            | Operator::Gte
            | Operator::Lt
            | Operator::Lte
            | Operator::In
            | Operator::Contains => Test::Value(operator, value.clone()),
        };
        Ok(Self {
            field,
            test,
            weight: weight_of(value),
        })
    }

    /// Whether it holds for the event of `scene`, or why that is not known.
    pub(super) fn holds(&self, scene: &Scene<'_>) -> Result<bool, String> {
        let found = self.field.of(&scene.event);
        scene.pay(self.cost(found.as_deref()))?;
        Ok(match &self.test {
            Test::Severity(operator, wanted) => {
                severity_holds(scene.event.severity, *operator, wanted)
            }
            Test::Exists(wanted) => found.is_some() == *wanted,
            Test::Matches(pattern) => match found.as_deref().and_then(text_of) {
                Some(text) => pattern.is_in(&text)?,
                None => false,
            },
            Test::Value(operator, wanted) => match found {
                Some(found) => value_holds(&found, *operator, wanted),
                None => *operator == Operator::Ne,
            },
        })
    }

    /// What it takes at most.
    fn cost(&self, found: Option<&Value>) -> f64 {
        let Some(found) = found else {
            return ASK;
        };
        let asked = match (&self.test, found) {
            (Test::Matches(pattern), Value::String(text)) => pattern.cost(text.len() as f64),
            (Test::Matches(pattern), _) => pattern.cost(NUMBER_BYTES_MAX as f64),
            (Test::Value(Operator::Contains, _), Value::String(text)) => PART * text.len() as f64,
            (Test::Value(Operator::Contains, _), Value::Array(items)) => {
                items.len() as f64 * COMPARE * self.weight
            }
            (Test::Severity(..) | Test::Exists(_) | Test::Value(Operator::Contains, _), _) => 0.0,
            (Test::Value(..), _) => COMPARE * self.weight,
        };
        ASK + asked
    }
}

impl Field {
    fn parse(path: &str) -> Self {
        let bare = path.strip_prefix("event.").unwrap_or(path);
        match bare {
            "severity" => return Self::Severity,
            "type" | "event_type" => return Self::Type,
            "producer" => return Self::Producer,
            "id" | "event_id" => return Self::Id,
            "created_at" => return Self::CreatedAt,
            "payload" | "data" => return Self::Payload(Vec::new()),
            _ => {}
        }
        let inner = bare
            .strip_prefix("payload.")
            .or_else(|| bare.strip_prefix("data."))
            .unwrap_or(bare);
        Self::Payload(inner.split('.').map(str::to_owned).collect())
    }

    /// What the event has there; nothing where it has null.
    fn of<'a>(&self, event: &EventFacts<'a>) -> Option<Cow<'a, Value>> {
        let owned = |text: &str| Some(Cow::Owned(Value::from(text)));
        match self {
            Self::Severity => owned(event.severity?.as_str()),
            Self::Type => owned(event.kind),
            Self::Producer if event.producer.is_empty() => None,
            Self::Producer => owned(event.producer),
            Self::Id => owned(event.event_id),
            Self::CreatedAt => owned(&event.created_at.to_rfc3339()),
            Self::Payload(path) => {
                let mut found = event.payload;
                for key in path {
                    found = match found {
                        Value::Object(fields) => fields.get(key)?,
                        Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                            return None;
                        }
                    };
                }
                (!found.is_null()).then_some(Cow::Borrowed(found))
            }
        }
    }
}

/// Reads what `severity` is held against: one, or for `in` several.
fn severities(value: &Value) -> Result<Vec<Severity>, String> {
    let several = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    let parse = |word: &Value| word.as_str().and_then(Severity::parse);
    let known: Option<Vec<_>> = several.iter().map(parse).collect();
    known.ok_or_else(|| "must be one of low, medium, high, critical".to_owned())
}

fn severity_holds(found: Option<Severity>, operator: Operator, wanted: &[Severity]) -> bool {
    let Some(found) = found else {
        return operator == Operator::Ne;
    };
    match operator {
        Operator::In => wanted.contains(&found),
        Operator::Eq
        | Operator::Ne
        | Operator::Gt
        | Operator::Gte
        | Operator::Lt
        | Operator::Lte
        | Operator::Contains
        | Operator::Exists
        | Operator::Matches => wanted
            .first()
            .is_some_and(|wanted| ordering_holds(Some(found.cmp(wanted)), operator)),
    }
}

fn value_holds(found: &Value, operator: Operator, wanted: &Value) -> bool {
    match operator {
        Operator::Eq => equal(found, wanted),
        Operator::Ne => !equal(found, wanted),
        Operator::In => wanted
            .as_array()
            .is_some_and(|several| several.iter().any(|one| equal(found, one))),
        Operator::Contains => contains(found, wanted),
        Operator::Gt
        | Operator::Gte
        | Operator::Lt
        | Operator::Lte
        | Operator::Exists
        | Operator::Matches => ordering_holds(order(found, wanted), operator),
    }
}

fn ordering_holds(ordering: Option<Ordering>, operator: Operator) -> bool {
    ordering.is_some_and(|ordering| match operator {
        Operator::Eq => ordering.is_eq(),
        Operator::Ne => ordering.is_ne(),
        Operator::Gt => ordering.is_gt(),
        Operator::Gte => ordering.is_ge(),
        Operator::Lt => ordering.is_lt(),
        Operator::Lte => ordering.is_le(),
        Operator::In | Operator::Contains | Operator::Exists | Operator::Matches => false,
    })
}

/// Whether two values are the same, where `5`, `5.0` and `"5"` are, and `"5"` and `"5.0"` are not.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_) | Value::String(_))
        | (Value::String(_), Value::Number(_)) => {
            compare_numbers(left, right) == Some(Ordering::Equal)
        }
        _ => left == right,
    }
}

/// How two values are ordered: as numbers if both are, else as texts if both are.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    compare_numbers(left, right).or_else(|| Some(left.as_str()?.cmp(right.as_str()?)))
}

fn compare_numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (Amount::of(left)?, Amount::of(right)?) {
        (Amount::Whole(left), Amount::Whole(right)) => Some(left.cmp(&right)),
        (left, right) => left.to_f64().partial_cmp(&right.to_f64()),
    }
}

/// A number, exact where it is whole.
#[derive(Debug, Clone, Copy)]
enum Amount {
    Whole(i128),
    Real(f64),
}

impl Amount {
    fn of(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Number(number) => {
                return match number.as_i64() {
                    Some(whole) => Some(Self::Whole(whole.into())),
                    None => match number.as_u64() {
                        Some(whole) => Some(Self::Whole(whole.into())),
                        None => number.as_f64().map(Self::Real),
                    },
                };
            }
            Value::String(text) => text,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        // Rust reads `inf` and `nan` as numbers too; nobody sends them as amounts.
        let is_plain = text.len() <= NUMBER_BYTES_MAX
            && text.bytes().any(|byte| byte.is_ascii_digit())
            && !text
                .bytes()
                .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'));
        if !is_plain {
            return None;
        }
        let whole = text.parse().map(Self::Whole);
        whole
            .or_else(|_not_whole| text.parse().map(Self::Real))
            .ok()
    }

    fn to_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

/// Whether a list has the item, a text the part, or an object the key.
fn contains(found: &Value, wanted: &Value) -> bool {
    match found {
        Value::Array(items) => items.iter().any(|item| equal(item, wanted)),
        Value::String(text) => text_of(wanted).is_some_and(|part| text.contains(part.as_ref())),
        Value::Object(fields) => wanted.as_str().is_some_and(|key| fields.contains_key(key)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A text, or a number as it is written.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn holds(field: &str, operator: &str, value: Value) -> bool {
        let payload = json!({
            "amount": 100.5, "count": "12", "big": 9_007_199_254_740_993_u64, "name": "Ada",
            "tags": ["a", 7], "account": {"id": "x-1", "none": null}, "flag": true,
            "legs": [{"qty": 5}],
        });
        let event = EventFacts {
            event_id: "e-1",
            producer: "",
            created_at: DateTime::UNIX_EPOCH,
            kind: "order.filled",
            severity: Some(Severity::Medium),
            payload: &payload,
        };
        let condition = Condition {
            field: field.to_owned(),
            operator: Operator::parse(operator).unwrap(),
            value,
        };
        let check = Check::compile(&condition).unwrap();
        check.holds(&Scene::of(&event)).unwrap()
    }

    #[test]
    fn severities_are_ordered_by_rank() {
        for (operator, value, expected) in [
            ("gte", json!("medium"), true),
            ("gte", json!("NORMAL"), true),
            ("gt", json!("medium"), false),
            ("gt", json!("low"), true),
            ("lt", json!("high"), true),
            ("lte", json!("low"), false),
            ("in", json!(["low", "medium"]), true),
            ("in", json!([]), false),
            ("ne", json!("high"), true),
            ("eq", json!("critical"), false),
        ] {
            assert_eq!(
                holds("severity", operator, value.clone()),
                expected,
                "{operator} {value}"
            );
        }
    }

    #[test]
    fn numbers_compare_as_numbers_wherever_they_are_written() {
        for (field, operator, value) in [
            ("amount", ">", json!(100)),
            ("amount", "lte", json!("100.5")),
            ("count", "eq", json!(12)),
            ("count", "gt", json!(9)),
            ("count", "gt", json!("9")),
            ("big", "ne", json!(9_007_199_254_740_992_u64)),
            ("name", "gt", json!("Aaa")),
        ] {
            assert!(
                holds(field, operator, value.clone()),
                "{field} {operator} {value}"
            );
        }
        for (field, operator, value) in [
            ("name", "gt", json!(1)),
            ("count", "eq", json!("12.0")),
            ("flag", "eq", json!("true")),
            ("tags", "gt", json!(1)),
        ] {
            assert!(
                !holds(field, operator, value.clone()),
                "{field} {operator} {value}"
            );
        }
    }

    #[test]
    fn a_path_leads_to_the_event_or_into_the_payload() {
        for (field, value) in [
            ("type", json!("order.filled")),
            ("event.type", json!("order.filled")),
            ("id", json!("e-1")),
            ("account.id", json!("x-1")),
            ("payload.account.id", json!("x-1")),
            ("data.account.id", json!("x-1")),
            ("event.data.account.id", json!("x-1")),
            ("legs.0.qty", json!(5)),
        ] {
            assert!(holds(field, "eq", value), "{field}");
        }
    }

    #[test]
    fn a_missing_field_makes_all_false_but_ne_and_not_exists() {
        for field in [
            "nothing",
            "account.none",
            "name.first",
            "tags.9",
            "tags.x",
            "producer",
        ] {
            for (operator, value) in [
                ("eq", json!("")),
                ("gt", json!(0)),
                ("lt", json!(0)),
                ("in", json!([null])),
                ("contains", json!("")),
                ("matches", json!("")),
                ("exists", Value::Null),
            ] {
                assert!(!holds(field, operator, value), "{field} {operator}");
            }
            assert!(holds(field, "ne", json!("x")), "{field}");
            assert!(holds(field, "exists", json!(false)), "{field}");
        }
        assert!(holds("flag", "exists", Value::Null));
    }

    #[test]
    fn contains_looks_into_lists_texts_and_objects() {
        for (field, value, expected) in [
            ("tags", json!("a"), true),
            ("tags", json!(7), true),
            ("tags", json!("b"), false),
            ("name", json!("da"), true),
            ("account", json!("id"), true),
            ("amount", json!(1), false),
        ] {
            assert_eq!(
                holds(field, "contains", value.clone()),
                expected,
                "{field} {value}"
            );
        }
        assert!(holds("name", "matches", json!("^A.a$")));
        assert!(holds("amount", "matches", json!("^100")));
        assert!(!holds("name", "in", json!(["ada"])));
    }

    fn facts(payload: &Value) -> EventFacts<'_> {
        EventFacts {
            event_id: "e-1",
            producer: "",
            created_at: DateTime::UNIX_EPOCH,
            kind: "a",
            severity: None,
            payload,
        }
    }

    fn check(operator: Operator, value: Value) -> Check {
        let field = "x".to_owned();
        Check::compile(&Condition {
            field,
            operator,
            value,
        })
        .unwrap()
    }

    #[test]
    fn a_text_that_is_too_long_for_a_pattern_is_not_looked_at() {
        let check = check(Operator::Matches, json!("x"));
        let holds = |length: usize| {
            let payload = json!({"x": "x".repeat(length)});
            check.holds(&Scene::of(&facts(&payload)))
        };
        assert_eq!(holds(16 * 1024), Ok(true));
        let too_long = "the text is too long for the pattern";
        assert_eq!(holds(16 * 1024 + 1), Err(too_long.to_owned()));
    }

    #[test]
    fn a_condition_costs_what_it_has_to_look_at() {
        let cost = |operator, value, found: &Value| check(operator, value).cost(Some(found));
        let text = json!("x".repeat(10_000));
        let list = json!(vec![1; 1000]);
        let numbers = json!((0..3000).collect::<Vec<_>>());
        assert!(cost(Operator::Eq, json!(1), &text) < 100.0);
        assert!(cost(Operator::Matches, json!("(a{1,9}){1,9}"), &text) > 1e6);
        assert!(cost(Operator::Contains, json!("y"), &text) > 1e3);
        assert!(cost(Operator::Contains, json!("y"), &list) > 1e4);
        assert!(cost(Operator::In, numbers, &text) > 1e4);
    }

    #[test]
    fn a_text_of_more_than_a_hundred_digits_is_no_number() {
        let is_large = |digits: usize| {
            let payload = json!({"x": "9".repeat(digits)});
            check(Operator::Gt, json!(1)).holds(&Scene::of(&facts(&payload)))
        };
        assert_eq!(is_large(100), Ok(true));
        assert_eq!(is_large(101), Ok(false));
    }
}

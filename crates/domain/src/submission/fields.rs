//! Takes a request body apart, field by field, and remembers what was wrong with it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::json::{check, pointer_token};
use super::{FieldError, NAME_CHARS_MAX};
use crate::Channel;
use crate::locale::is_locale;

/// What `channels` may name, for a refusal.
pub(crate) const CHANNEL_WORDS: &str =
    "email, sms, voice, push, web_push, slack, webhook, in_app, pagerduty";

/// The fields of a body that have not been asked for yet.
///
/// A getter answers `None` both for an absent field and for a bad one, which it has reported. An
/// explicit `null` counts as absent.
pub(crate) struct Fields {
    rest: Map<String, Value>,
    errors: Vec<FieldError>,
    /// Where the object stands in the body; empty for the body itself.
    pointer: String,
}

impl Fields {
    pub(crate) fn of(body: Value) -> Result<Self, Vec<FieldError>> {
        match body {
            Value::Object(rest) => Ok(Self {
                rest,
                errors: Vec::new(),
                pointer: String::new(),
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(vec![FieldError::new("", "must be an object")]),
        }
    }

    /// The fields of the object `name`. Give them back with [`absorb`](Self::absorb).
    pub(crate) fn child(&mut self, name: &str) -> Option<Self> {
        let value = self.take(name)?;
        let pointer = format!("{}/{}", self.pointer, visible_token(name));
        self.object_at(pointer, value)
    }

    /// The fields of `value`, which was taken from the field `name`.
    pub(crate) fn child_of(&mut self, name: &str, value: Value) -> Option<Self> {
        self.object_at(format!("{}/{name}", self.pointer), value)
    }

    /// The fields of the object that is an item of the array `name`.
    pub(crate) fn item(&mut self, name: &str, index: usize, value: Value) -> Option<Self> {
        self.object_at(format!("{}/{name}/{index}", self.pointer), value)
    }

    fn object_at(&mut self, pointer: String, value: Value) -> Option<Self> {
        match Self::of(value) {
            Ok(child) => Some(Self { pointer, ..child }),
            Err(_not_an_object) => {
                self.report(FieldError::new(pointer, "must be an object"));
                None
            }
        }
    }

    /// Takes over what was wrong with a child, and refuses what nobody asked it for.
    pub(crate) fn absorb(&mut self, child: Self) {
        self.errors.extend(child.into_errors());
    }

    /// The names that have not been asked for yet, in the order of the body.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.rest.keys().cloned().collect()
    }

    /// Reports a problem of the field `name`.
    pub(crate) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{name}", self.pointer);
        self.errors.push(FieldError::new(pointer, detail));
    }

    /// Reports a problem of a field whose name is the caller's own.
    pub(crate) fn refuse_key(&mut self, name: &str, detail: impl Into<String>) {
        self.refuse(&visible_token(name), detail);
    }

    /// Reports a problem that knows its place.
    pub(crate) fn report(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.rest.get(name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Text of any length, possibly empty.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.contains('\0') => {
                self.refuse(name, "must not contain U+0000");
                None
            }
            Value::String(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => {
                self.refuse(name, "must be a string");
                None
            }
        }
    }

    /// A name or key: not empty, at most [`NAME_CHARS_MAX`] characters.
    pub(crate) fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.refuse(name, "must not be empty");
            return None;
        }
        if text.chars().count() > NAME_CHARS_MAX {
            self.refuse(
                name,
                format!("must have at most {NAME_CHARS_MAX} characters"),
            );
            return None;
        }
        Some(text)
    }

    /// A name that must be there. Answers an empty one if it is not; the body is refused anyway.
    pub(crate) fn required_name(&mut self, name: &str) -> String {
        if !self.has(name) {
            self.refuse(name, "is required");
        }
        self.name(name).unwrap_or_default()
    }

    /// An object that Postgres will take.
    pub(crate) fn object(&mut self, name: &str) -> Option<Value> {
        let value = self.take(name)?;
        if !value.is_object() {
            self.refuse(name, "must be an object");
            return None;
        }
        match check(&value, &format!("{}/{name}", self.pointer)) {
            Ok(()) => Some(value),
            Err(error) => {
                self.report(error);
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.take(name)?;
        if value.as_bool().is_none() {
            self.refuse(name, "must be true or false");
        }
        value.as_bool()
    }

    /// Channels under any of their names, without repeats; possibly none.
    pub(crate) fn channels(&mut self, name: &str) -> Option<Vec<Channel>> {
        let items = self.items(name)?;
        let mut channels = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().and_then(Channel::parse) {
                Some(channel) if channels.contains(&channel) => {}
                Some(channel) => channels.push(channel),
                None => self.refuse(
                    &format!("{name}/{index}"),
                    format!("must be one of {CHANNEL_WORDS}"),
                ),
            }
        }
        Some(channels)
    }

    /// At most `count_max` names without repeats, in their order; possibly none.
    pub(crate) fn names(&mut self, name: &str, count_max: usize) -> Option<Vec<String>> {
        let items = self.items(name)?;
        if items.len() > count_max {
            self.refuse(name, format!("must have at most {count_max} items"));
            return None;
        }
        let mut seen = HashSet::new();
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match check_name(&item) {
                Ok(text) if !seen.insert(text.to_owned()) => {}
                Ok(text) => names.push(text.to_owned()),
                Err(detail) => self.refuse(&format!("{name}/{index}"), detail),
            }
        }
        Some(names)
    }

    /// The items of an array.
    pub(crate) fn items(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => {
                self.refuse(name, "must be an array");
                None
            }
        }
    }

    /// A language tag such as `de` or `pt-BR`.
    pub(crate) fn locale(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if is_locale(&text) {
            Some(text)
        } else {
            self.refuse(name, "must be a BCP 47 language tag, such as pt-BR");
            None
        }
    }

    /// A time zone by its IANA name.
    pub(crate) fn timezone(&mut self, name: &str) -> Option<Tz> {
        let expected = "an IANA time zone, such as Europe/Berlin";
        let text = self.text(name)?;
        let zone = text.parse().ok();
        if zone.is_none() {
            self.refuse(name, format!("must be {expected}"));
        }
        zone
    }

    pub(crate) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        if let Ok(time) = DateTime::parse_from_rfc3339(&text) {
            Some(time.to_utc())
        } else {
            self.refuse(
                name,
                "must be an RFC 3339 time, such as 2030-01-31T12:00:00Z",
            );
            None
        }
    }

    /// A word that `parse` knows; `expected` names the known ones.
    pub(crate) fn word<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let text = self.text(name)?;
        let word = parse(&text);
        if word.is_none() {
            self.refuse(name, format!("must be one of {expected}"));
        }
        word
    }

    /// Refuses what nobody asked for, and answers `value` if there was nothing wrong at all.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        let errors = self.into_errors();
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(errors)
        }
    }

    /// Everything that was wrong, what nobody asked for included.
    pub(crate) fn into_errors(mut self) -> Vec<FieldError> {
        for name in self.rest.keys() {
            let pointer = format!("{}/{}", self.pointer, visible_token(name));
            self.errors
                .push(FieldError::new(pointer, "is not a known field"));
        }
        self.errors
    }

    /// Answers `value` if there was nothing wrong with what was asked for, whatever else is there.
    pub(crate) fn finish_open<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.errors)
        }
    }
}

/// Writes `name` as one token of a pointer that can be shown.
fn visible_token(name: &str) -> String {
    pointer_token(&name.replace('\0', "\u{fffd}"))
}

/// Checks that `value` is a name: not empty, at most [`NAME_CHARS_MAX`] characters.
pub(crate) fn check_name(value: &Value) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.contains('\0') {
        return Err("must not contain U+0000".to_owned());
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("must have at most {NAME_CHARS_MAX} characters"));
    }
    Ok(text)
}

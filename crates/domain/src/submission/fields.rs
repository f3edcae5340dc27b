//! Takes a request body apart, field by field, and remembers what was wrong with it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::json::{check, pointer_token};
use super::{FieldError, NAME_CHARS_MAX};

/// The fields of a body that have not been asked for yet.
///
/// A getter answers `None` both for an absent field and for a bad one, which it has reported. An
/// explicit `null` counts as absent.
pub(super) struct Fields {
    rest: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    pub(super) fn of(body: Value) -> Result<Self, Vec<FieldError>> {
        match body {
            Value::Object(rest) => Ok(Self {
                rest,
                errors: Vec::new(),
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(vec![FieldError::new("", "must be an object")]),
        }
    }

    /// Reports a problem of the field `name`.
    pub(super) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.errors
            .push(FieldError::new(format!("/{name}"), detail));
    }

    /// Reports a problem that knows its place.
    pub(super) fn report(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Text of any length, possibly empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
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
    pub(super) fn name(&mut self, name: &str) -> Option<String> {
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
    pub(super) fn required_name(&mut self, name: &str) -> String {
        if !self.has(name) {
            self.refuse(name, "is required");
        }
        self.name(name).unwrap_or_default()
    }

    /// An object that Postgres will take.
    pub(super) fn object(&mut self, name: &str) -> Option<Value> {
        let value = self.take(name)?;
        if !value.is_object() {
            self.refuse(name, "must be an object");
            return None;
        }
        match check(&value, &format!("/{name}")) {
            Ok(()) => Some(value),
            Err(error) => {
                self.report(error);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.take(name)?;
        if value.as_bool().is_none() {
            self.refuse(name, "must be true or false");
        }
        value.as_bool()
    }

    pub(super) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
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
    pub(super) fn word<T>(
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
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, Vec<FieldError>> {
        for name in self.rest.keys() {
            let pointer = format!("/{}", pointer_token(&name.replace('\0', "\u{fffd}")));
            self.errors
                .push(FieldError::new(pointer, "is not a known field"));
        }
        self.finish_open(value)
    }

    /// Answers `value` if there was nothing wrong with what was asked for, whatever else is there.
    pub(super) fn finish_open<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.errors)
        }
    }
}

//! Changes a part of what was said: a JSON merge patch (RFC 7396) over the whole.

use serde_json::{Map, Value};

use super::Preferences;
use super::parse::read;
use crate::{Channel, FieldError};

impl Preferences {
    /// These preferences with `patch` merged in: objects field by field, anything else as a whole,
    /// and `null` takes a field back to its default.
    pub fn merged(&self, mut patch: Value) -> Result<Self, Vec<FieldError>> {
        // Alone first, so that every problem is named as the caller wrote it, and so that a
        // `null` cannot hide a field that nobody knows.
        let (_, errors) = read(patch.clone());
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Some(channels) = patch.get_mut("channels") {
            rename_channels(channels);
        }
        let mut whole = self.to_value();
        merge(&mut whole, patch);
        Self::parse(whole)
    }
}

/// Puts every channel under the name it is stored by.
fn rename_channels(channels: &mut Value) {
    let Value::Object(fields) = channels else {
        return;
    };
    let renamed: Map<_, _> = std::mem::take(fields)
        .into_iter()
        .map(|(name, value)| {
            let stored = Channel::parse(&name).map(|channel| channel.as_str().to_owned());
            (stored.unwrap_or(name), value)
        })
        .collect();
    *fields = renamed;
}

/// Depth is bounded by [`read`], which knows every field.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

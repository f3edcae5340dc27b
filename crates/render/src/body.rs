//! A template as it is written: the API's template body, taken apart and put together again.
//!
//! ```yaml
//! name: order.filled
//! description: Order filled          # the subject where a channel needs one and has none
//! category: trading
//! channels:                          # in the default language
//!   in_app: {title: Order filled, message: "{{ quantity | number }} {{ symbol }} filled."}
//!   sms: {body: "{{ symbol }} filled."}
//! translations:
//!   ru:
//!     sms: {body: "{{ symbol }}: исполнено."}
//! variables: {type: object, properties: {symbol: {type: string}}}
//! samples:
//!   - {symbol: AAPL, quantity: 10}
//! ```
//!
//! Each channel has the fields of [`Shape`]; an unknown one is an error. What the texts themselves
//! say is the business of [`Template::compile`](crate::Template::compile).

use std::collections::BTreeMap;

use domain::{Channel, FieldError, NAME_CHARS_MAX, check_json, is_locale, pointer_token};
use serde_json::{Map, Value, json};

use crate::section::Shape;

/// Longest text of one field, in bytes. Mail clients clip HTML at about 100 kilobytes.
const TEXT_BYTES_MAX: usize = 128 * 1024;

/// Longest body in all its languages, in bytes of JSON: what a request may carry.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most languages one template is translated into.
const TRANSLATIONS_MAX: usize = 50;

/// Most sample payloads: each is rendered in every language on every channel.
const SAMPLES_MAX: usize = 20;

const TAGS_MAX: usize = 20;

const DESCRIPTION_CHARS_MAX: usize = 1000;

/// The fields of one channel, by name.
pub type Fields = Map<String, Value>;

/// A template, as somebody wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateBody {
    pub name: String,
    pub description: Option<String>,
    /// What recipients can opt out of.
    pub category: Option<String>,
    /// The texts in the default language.
    pub channels: BTreeMap<Channel, Fields>,
    /// The texts in other languages, by BCP 47 tag. One may leave out what does not differ.
    pub translations: BTreeMap<String, BTreeMap<Channel, Fields>>,
    /// A JSON Schema of the payload.
    pub variables: Option<Value>,
    /// Payloads to try it with.
    pub samples: Vec<Map<String, Value>>,
    /// Whether it may be used for what comes in from now on.
    pub enabled: bool,
    pub tags: Vec<String>,
}

impl TemplateBody {
    /// Reads a body, and reports everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        if body.to_string().len() > BODY_BYTES_MAX {
            let detail = format!("must have at most {BODY_BYTES_MAX} bytes");
            return Err(vec![FieldError::new("", detail)]);
        }
        check_json(&body, "").map_err(|error| vec![error])?;
        let Value::Object(fields) = body else {
            return Err(vec![FieldError::new("", "must be an object")]);
        };
        let mut parser = Parser {
            fields,
            errors: Vec::new(),
        };
        let parsed = parser.body();
        parser.finish(parsed)
    }

    /// The body as [`parse`](Self::parse) takes it. What is absent is left out.
    pub fn to_value(&self) -> Value {
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(self.name));
        let mut optional = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        optional("description", self.description.as_ref().map(|it| json!(it)));
        optional("category", self.category.as_ref().map(|it| json!(it)));
        optional("channels", Some(json!(self.channels)));
        let translations = (!self.translations.is_empty()).then(|| json!(self.translations));
        optional("translations", translations);
        optional("variables", self.variables.clone());
        optional(
            "samples",
            (!self.samples.is_empty()).then(|| json!(self.samples)),
        );
        optional("enabled", Some(json!(self.enabled)));
        optional("tags", (!self.tags.is_empty()).then(|| json!(self.tags)));
        Value::Object(body)
    }
}

/// The fields of a body that have not been asked for yet, and what was wrong with the others.
struct Parser {
    fields: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Parser {
    fn body(&mut self) -> TemplateBody {
        TemplateBody {
            name: self.name(),
            description: self.text("description", DESCRIPTION_CHARS_MAX),
            category: self.text("category", NAME_CHARS_MAX),
            channels: self.channels(),
            translations: self.translations(),
            variables: self.variables(),
            samples: self.samples(),
            enabled: self.enabled(),
            tags: self.tags(),
        }
    }

    fn finish(mut self, body: TemplateBody) -> Result<TemplateBody, Vec<FieldError>> {
        for name in self.fields.keys() {
            let pointer = format!("/{}", pointer_token(name));
            self.errors
                .push(FieldError::new(pointer, "is not a known field"));
        }
        if self.errors.is_empty() {
            Ok(body)
        } else {
            Err(self.errors)
        }
    }

    fn refuse(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, detail));
    }

    /// An explicit `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn name(&mut self) -> String {
        if self.fields.get("name").is_none_or(Value::is_null) {
            self.refuse("/name", "is required");
            return String::new();
        }
        let name = self.text("name", NAME_CHARS_MAX).unwrap_or_default();
        if name.chars().any(char::is_control) || name.trim().len() != name.len() {
            self.refuse(
                "/name",
                "must have no control characters and no space at its ends",
            );
        }
        name
    }

    fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let value = self.take(name)?;
        match checked_text(&value, chars_max) {
            Ok(text) => Some(text.to_owned()),
            Err(detail) => {
                self.refuse(format!("/{name}"), detail);
                None
            }
        }
    }

    fn channels(&mut self) -> BTreeMap<Channel, Fields> {
        let Some(value) = self.take("channels") else {
            self.refuse("/channels", "is required");
            return BTreeMap::new();
        };
        self.sections("/channels", value)
    }

    fn translations(&mut self) -> BTreeMap<String, BTreeMap<Channel, Fields>> {
        let mut translations = BTreeMap::new();
        let Some(value) = self.take("translations") else {
            return translations;
        };
        let Value::Object(languages) = value else {
            self.refuse("/translations", "must be an object");
            return translations;
        };
        if languages.len() > TRANSLATIONS_MAX {
            let detail = format!("must have at most {TRANSLATIONS_MAX} languages");
            self.refuse("/translations", detail);
            return translations;
        }
        for (tag, sections) in languages {
            let pointer = format!("/translations/{}", pointer_token(&tag));
            if !is_locale(&tag) {
                self.refuse(pointer, "must be a BCP 47 language tag, such as pt-BR");
            } else if translations
                .keys()
                .any(|it: &String| it.eq_ignore_ascii_case(&tag))
            {
                self.refuse(pointer, "is there twice");
            } else {
                let sections = self.sections(&pointer, sections);
                translations.insert(tag, sections);
            }
        }
        translations
    }

    fn sections(&mut self, pointer: &str, value: Value) -> BTreeMap<Channel, Fields> {
        let mut sections = BTreeMap::new();
        let Value::Object(channels) = value else {
            self.refuse(pointer, "must be an object");
            return sections;
        };
        for (name, value) in channels {
            let pointer = format!("{pointer}/{}", pointer_token(&name));
            let Some(channel) = Channel::parse(&name) else {
                let known = Channel::ALL.map(Channel::as_str).join(", ");
                self.refuse(pointer, format!("is not a channel, only {known} are"));
                continue;
            };
            let Value::Object(fields) = value else {
                self.refuse(pointer, "must be an object");
                continue;
            };
            self.check_fields(&pointer, channel, &fields);
            if sections.insert(channel, fields).is_some() {
                self.refuse(pointer, format!("names the channel {channel} again"));
            }
        }
        sections
    }

    /// Refuses a field the channel does not have, and a text that is not one.
    fn check_fields(&mut self, pointer: &str, channel: Channel, fields: &Fields) {
        let shape = Shape::of(channel);
        let known = shape.fields();
        for (field, value) in fields {
            let pointer = format!("{pointer}/{}", pointer_token(field));
            if !known.contains(&field.as_str()) {
                let known = known.join(", ");
                self.refuse(
                    pointer,
                    format!("is not a field of {channel}, only {known}"),
                );
            } else if !shape.data_fields().contains(&field.as_str()) && !value.is_string() {
                self.refuse(pointer, "must be a string");
            } else if value.as_str().is_some_and(|it| it.len() > TEXT_BYTES_MAX) {
                let detail = format!("must have at most {TEXT_BYTES_MAX} bytes");
                self.refuse(pointer, detail);
            }
        }
    }

    fn variables(&mut self) -> Option<Value> {
        let value = self.take("variables")?;
        if !value.is_object() {
            self.refuse("/variables", "must be a JSON Schema, which is an object");
        }
        Some(value)
    }

    fn samples(&mut self) -> Vec<Map<String, Value>> {
        let mut samples = Vec::new();
        for (index, item) in self.items("samples", SAMPLES_MAX).into_iter().enumerate() {
            match item {
                Value::Object(sample) => samples.push(sample),
                _other => self.refuse(format!("/samples/{index}"), "must be an object"),
            }
        }
        samples
    }

    fn enabled(&mut self) -> bool {
        let value = self.take("enabled");
        if value.as_ref().is_some_and(|it| !it.is_boolean()) {
            self.refuse("/enabled", "must be true or false");
        }
        value.and_then(|it| it.as_bool()).unwrap_or(true)
    }

    fn tags(&mut self) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        for (index, item) in self.items("tags", TAGS_MAX).into_iter().enumerate() {
            match checked_text(&item, NAME_CHARS_MAX) {
                Ok(tag) if tags.iter().any(|it| it == tag) => {}
                Ok(tag) => tags.push(tag.to_owned()),
                Err(detail) => self.refuse(format!("/tags/{index}"), detail),
            }
        }
        tags
    }

    fn items(&mut self, name: &str, count_max: usize) -> Vec<Value> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= count_max => items,
            Some(Value::Array(_)) => {
                let detail = format!("must have at most {count_max} items");
                self.refuse(format!("/{name}"), detail);
                Vec::new()
            }
            Some(_other) => {
                self.refuse(format!("/{name}"), "must be an array");
                Vec::new()
            }
        }
    }
}

/// A text that is not empty and not too long.
fn checked_text(value: &Value, chars_max: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().count() > chars_max {
        return Err(format!("must have at most {chars_max} characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: Value) -> Vec<(String, String)> {
        let errors = TemplateBody::parse(body).unwrap_err();
        errors
            .into_iter()
            .map(|error| (error.pointer, error.detail))
            .collect()
    }

    fn pointers(body: Value) -> Vec<String> {
        refused(body)
            .into_iter()
            .map(|(pointer, _)| pointer)
            .collect()
    }

    #[test]
    fn a_body_comes_back_as_it_was_written() {
        let body = json!({
            "name": "order.filled", "description": "Order filled", "category": "trading",
            "channels": {
                "email": {"subject": "s", "body": "b", "body_html": "<p>b</p>"},
                "slack": {"text": "t", "blocks": [{"type": "divider"}]},
            },
            "translations": {"pt-BR": {"email": {"subject": "z"}}},
            "variables": {"type": "object"}, "samples": [{"symbol": "AAPL"}],
            "enabled": false, "tags": ["a", "b"],
        });

        assert_eq!(TemplateBody::parse(body.clone()).unwrap().to_value(), body);
    }

    #[test]
    fn what_is_absent_has_a_default() {
        let body = TemplateBody::parse(json!({"name": "x", "channels": {}})).unwrap();

        assert!(body.enabled);
        assert_eq!(
            body.to_value(),
            json!({"name": "x", "channels": {}, "enabled": true})
        );
    }

    #[test]
    fn everything_wrong_is_named_by_its_pointer() {
        let body = json!({
            "name": "", "description": 3, "colour": "red",
            "channels": {"in_app": {"titel": "t", "message": 1}, "pigeon": {}, "sms": "x"},
            "translations": {"en_GB": {}, "ru": {"voice": {"subject": "s"}}},
            "variables": [], "samples": [1], "enabled": "yes", "tags": [""],
        });

        let mut found = pointers(body);
        found.sort();
        assert_eq!(
            found,
            [
                "/channels/in_app/message",
                "/channels/in_app/titel",
                "/channels/pigeon",
                "/channels/sms",
                "/colour",
                "/description",
                "/enabled",
                "/name",
                "/samples/0",
                "/tags/0",
                "/translations/en_GB",
                "/translations/ru/voice/subject",
                "/variables",
            ]
        );
    }

    #[test]
    fn a_field_the_channel_does_not_have_is_refused_with_those_it_has() {
        let body = json!({"name": "x", "channels": {"in_app": {"titel": "t"}}});

        let detail = "is not a field of in_app, only title, message, data";
        assert_eq!(
            refused(body),
            [("/channels/in_app/titel".to_owned(), detail.to_owned())]
        );
    }

    #[test]
    fn every_part_has_a_bound() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let tags: Vec<_> = (0..=TAGS_MAX).map(|n| n.to_string()).collect();
        let languages: Map<String, Value> = ('a'..='c')
            .flat_map(|a| ('a'..='z').map(move |b| (format!("{a}{b}"), json!({}))))
            .collect();
        let body = json!({
            "name": "n".repeat(NAME_CHARS_MAX + 1), "channels": {"sms": {"body": long}},
            "translations": languages, "samples": vec![json!({}); SAMPLES_MAX + 1], "tags": tags,
        });

        let mut found = pointers(body);
        found.sort();
        assert_eq!(
            found,
            [
                "/channels/sms/body",
                "/name",
                "/samples",
                "/tags",
                "/translations"
            ]
        );
        let huge =
            json!({"name": "x", "channels": {"webhook": {"data": "x".repeat(BODY_BYTES_MAX)}}});
        assert_eq!(pointers(huge), [""]);
        assert_eq!(pointers(json!([])), [""]);
        assert_eq!(
            pointers(json!({"name": "a\u{0}", "channels": {}})),
            ["/name"]
        );
    }

    #[test]
    fn a_language_is_there_once_however_it_is_spelt() {
        let body = json!({"name": "x", "channels": {}, "translations": {"RU": {}, "ru": {}}});

        assert_eq!(pointers(body), ["/translations/ru"]);
    }
}

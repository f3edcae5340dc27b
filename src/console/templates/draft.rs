//! A template in a form: one field for each text of a channel in a language, and back to a body.
//!
//! Names of fields are JSON pointers into the body, so that an error finds its field by itself.

use domain::{Channel, FieldError, pointer_token};
use serde_json::{Map, Value, json};

use crate::console::form::Fields;

/// Sections read of one form: nine channels in many languages.
const SECTIONS_MAX: usize = 512;

/// Lines that a field is high at most.
const ROWS_MAX: usize = 24;

/// Characters of a line in a field, about.
const LINE_CHARS: usize = 70;

/// A template as it is being written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) category: String,
    pub(super) tags: String,
    pub(super) is_enabled: bool,
    pub(super) variables: Entry,
    pub(super) samples: Entry,
    pub(super) sections: Vec<Section>,
}

/// The texts of one channel in one language.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) pointer: String,
    /// `None` is the default language.
    pub(super) locale: Option<String>,
    pub(super) channel: Channel,
    pub(super) fields: Vec<Entry>,
}

/// One field of the form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pointer: String,
    pub(super) label: String,
    pub(super) text: String,
    /// Whether it is written as JSON.
    pub(super) is_json: bool,
    pub(super) errors: Vec<String>,
}

impl Entry {
    fn new(pointer: &str, label: &str, text: String, is_json: bool) -> Self {
        Self {
            pointer: pointer.to_owned(),
            label: label.to_owned(),
            text,
            is_json,
            errors: Vec::new(),
        }
    }

    /// How high the field is.
    pub(super) fn rows(&self) -> usize {
        let least = if self.is_json { 3 } else { 1 };
        let wrapped = |line: &str| line.chars().count() / LINE_CHARS + 1;
        let rows: usize = self.text.lines().map(wrapped).sum();
        rows.clamp(least, ROWS_MAX)
    }
}

impl Section {
    fn new(locale: Option<String>, channel: Channel, text: impl Fn(&str, &str) -> String) -> Self {
        let pointer = match &locale {
            None => format!("/channels/{channel}"),
            Some(tag) => format!("/translations/{}/{channel}", pointer_token(tag)),
        };
        let (texts, data) = render::section_fields(channel);
        let entry = |name: &&'static str, is_json: bool| {
            let place = format!("{pointer}/{name}");
            let text = text(&place, name);
            Entry::new(&place, name, text, is_json)
        };
        let texts = texts.iter().map(|name| entry(name, false));
        let data = data.iter().map(|name| entry(name, true));
        Self {
            fields: texts.chain(data).collect(),
            pointer,
            locale,
            channel,
        }
    }

    /// An empty one.
    pub(super) fn empty(locale: Option<String>, channel: Channel) -> Self {
        Self::new(locale, channel, |_, _| String::new())
    }

    /// The section that a pointer names.
    fn named(pointer: &str) -> Option<(Option<String>, Channel)> {
        let mut tokens = pointer.strip_prefix('/')?.split('/');
        let locale = match tokens.next()? {
            "channels" => None,
            "translations" => Some(tokens.next()?.replace("~1", "/").replace("~0", "~")),
            _ => return None,
        };
        let channel = Channel::parse(tokens.next()?)?;
        tokens.next().is_none().then_some((locale, channel))
    }
}

impl Draft {
    /// The form of a body as it is stored.
    pub(super) fn of_body(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let mut sections = Vec::new();
        let mut read = |locale: Option<&str>, texts: &Value| {
            for (name, fields) in texts.as_object().into_iter().flatten() {
                if let Some(channel) = Channel::parse(name) {
                    let locale = locale.map(str::to_owned);
                    let written = |_: &str, field: &str| written(&fields[field]);
                    sections.push(Section::new(locale, channel, written));
                }
            }
        };
        read(None, &body["channels"]);
        for (locale, texts) in body["translations"].as_object().into_iter().flatten() {
            read(Some(locale), texts);
        }
        let tags = body["tags"].as_array().into_iter().flatten();
        let tags: Vec<_> = tags.filter_map(Value::as_str).collect();
        Self {
            name: text("name"),
            description: text("description"),
            category: text("category"),
            tags: tags.join(", "),
            is_enabled: body["enabled"].as_bool().unwrap_or(true),
            variables: Entry::new("/variables", "variables", written(&body["variables"]), true),
            samples: Entry::new("/samples", "samples", written(&body["samples"]), true),
            sections,
        }
    }

    /// What was written into the form.
    pub(super) fn of_form(fields: &Fields) -> Self {
        let text = |name: &str| plain(fields.raw(name).unwrap_or_default());
        let mut sections: Vec<Section> = Vec::new();
        for pointer in fields.all("section").into_iter().take(SECTIONS_MAX) {
            if let Some((locale, channel)) = Section::named(&pointer) {
                let is_new = |it: &Section| it.locale != locale || it.channel != channel;
                if sections.iter().all(is_new) {
                    sections.push(Section::new(locale, channel, |place, _| text(place)));
                }
            }
        }
        Self {
            name: text("/name"),
            description: text("/description"),
            category: text("/category"),
            tags: text("/tags"),
            is_enabled: fields.raw("/enabled").is_some(),
            variables: Entry::new("/variables", "variables", text("/variables"), true),
            samples: Entry::new("/samples", "samples", text("/samples"), true),
            sections,
        }
    }

    /// Adds an empty section, if it is not there.
    pub(super) fn add(&mut self, locale: Option<String>, channel: Channel) {
        let is_other = |it: &Section| it.locale != locale || it.channel != channel;
        if self.sections.iter().all(is_other) {
            self.sections.push(Section::empty(locale, channel));
        }
    }

    /// The body that the form stands for. What was left empty is left out.
    pub(super) fn to_body(&self) -> Result<Value, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut value = |entry: &Entry| {
            if entry.text.is_empty() {
                return None;
            }
            if !entry.is_json {
                return Some(json!(entry.text));
            }
            let read: Result<Value, _> = serde_json::from_str(&entry.text);
            read.map_err(|error| errors.push(not_json(&entry.pointer, &error)))
                .ok()
        };
        let mut channels = Map::new();
        let mut translations: Map<String, Value> = Map::new();
        for section in &self.sections {
            let mut texts = Map::new();
            for entry in &section.fields {
                if let Some(value) = value(entry) {
                    texts.insert(entry.label.clone(), value);
                }
            }
            let channel = section.channel.to_string();
            if texts.is_empty() {
                continue;
            }
            match &section.locale {
                None => drop(channels.insert(channel, Value::Object(texts))),
                Some(locale) => {
                    let language = translations.entry(locale.clone()).or_insert(json!({}));
                    language[channel] = Value::Object(texts);
                }
            }
        }
        let mut body = Map::new();
        let texts = [
            ("name", &self.name),
            ("description", &self.description),
            ("category", &self.category),
        ];
        for (name, text) in texts {
            if !text.is_empty() {
                body.insert(name.to_owned(), json!(text));
            }
        }
        for entry in [&self.variables, &self.samples] {
            if let Some(value) = value(entry) {
                body.insert(entry.label.clone(), value);
            }
        }
        body.insert("channels".to_owned(), Value::Object(channels));
        if !translations.is_empty() {
            body.insert("translations".to_owned(), Value::Object(translations));
        }
        let tags = self.tags.split(',').map(str::trim);
        let tags: Vec<_> = tags.filter(|tag| !tag.is_empty()).collect();
        if !tags.is_empty() {
            body.insert("tags".to_owned(), json!(tags));
        }
        body.insert("enabled".to_owned(), json!(self.is_enabled));
        if errors.is_empty() {
            Ok(Value::Object(body))
        } else {
            Err(errors)
        }
    }

    /// The fields below the texts.
    pub(super) fn documents(&self) -> [&Entry; 2] {
        [&self.samples, &self.variables]
    }

    /// Puts errors to the fields that they speak of; answers those that speak of none.
    pub(super) fn tell(&mut self, errors: &[FieldError]) -> Vec<(String, String)> {
        let mut others = Vec::new();
        let entries = self.sections.iter_mut().flat_map(|it| &mut it.fields);
        let mut entries: Vec<_> = entries
            .chain([&mut self.variables, &mut self.samples])
            .collect();
        for error in errors {
            let speaks_of = |pointer: &str| {
                let rest = error.pointer.strip_prefix(pointer);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            match entries.iter_mut().find(|it| speaks_of(&it.pointer)) {
                Some(entry) => entry.errors.push(error.detail.clone()),
                None => others.push((error.pointer.clone(), error.detail.clone())),
            }
        }
        others
    }
}

fn not_json(pointer: &str, error: &serde_json::Error) -> FieldError {
    FieldError::new(pointer, format!("is not JSON: {error}"))
}

/// A value as it stands in a field: a text by itself, all else as JSON.
fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => crate::console::text::pretty(other),
    }
}

/// Lines end as everywhere but in forms.
fn plain(text: String) -> String {
    text.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Value {
        json!({
            "name": "order.filled", "description": "Told at once", "category": "orders",
            "channels": {
                "email": {"subject": "Filled", "body": "Line\nline"},
                "in_app": {"title": "Filled", "message": "M", "data": {"a": [1]}},
            },
            "translations": {"pt-BR": {"in_app": {"title": "T"}}},
            "variables": {"type": "object"}, "samples": [{"a": 1}],
            "enabled": false, "tags": ["a", "b"],
        })
    }

    #[test]
    fn a_body_goes_through_a_form_unchanged() {
        assert_eq!(Draft::of_body(&body()).to_body(), Ok(body()));
    }

    #[test]
    fn what_a_browser_sends_is_the_body_again() {
        let draft = Draft::of_body(&body());
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("/name", &draft.name)
            .append_pair("/description", &draft.description)
            .append_pair("/category", &draft.category)
            .append_pair("/tags", &draft.tags)
            .append_pair("/variables", &draft.variables.text)
            .append_pair("/samples", &draft.samples.text);
        for section in &draft.sections {
            form.append_pair("section", &section.pointer);
            for field in &section.fields {
                form.append_pair(&field.pointer, &field.text.replace('\n', "\r\n"));
            }
        }

        let read = Draft::of_form(&Fields::parse(&form.finish()));

        assert_eq!(read.to_body(), Ok(body()));
    }

    #[test]
    fn errors_find_their_fields() {
        let mut draft = Draft::of_body(&body());
        let error = |pointer: &str| FieldError::new(pointer, "is wrong");

        let others = draft.tell(&[
            error("/translations/pt-BR/in_app/title"),
            error("/samples/0"),
            error("/name"),
        ]);

        assert_eq!(others, [("/name".to_owned(), "is wrong".to_owned())]);
        assert_eq!(draft.samples.errors, ["is wrong"]);
        assert_eq!(draft.sections[2].fields[0].errors, ["is wrong"]);
        draft.samples.text = "[".to_owned();
        let errors = draft.to_body().unwrap_err();
        assert_eq!(errors[0].pointer, "/samples");
    }

    #[test]
    fn a_strange_section_is_none() {
        for pointer in [
            "",
            "/",
            "/channels",
            "/channels/pigeon",
            "/x/email",
            "/channels/email/x",
        ] {
            assert_eq!(Section::named(pointer), None, "{pointer}");
        }
        let named = Section::named("/translations/a~1b/sms");
        assert_eq!(named, Some((Some("a/b".to_owned()), Channel::Sms)));
    }
}

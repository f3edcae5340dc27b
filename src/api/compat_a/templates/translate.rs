//! A template under system A's names, and back: `type`, `subject`, `content`, `variables`,
//! `is_active`.

use domain::{Channel, FieldError};
use serde_json::{Map, Value, json};

/// What A calls a field, and what we do.
const RENAMED: [(&str, &str); 1] = [("is_active", "enabled")];

/// The names of a channel's words, where it has such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Words {
    subject: Option<&'static str>,
    content: Option<&'static str>,
}

fn words_of(channel: Channel) -> Words {
    let (subject, content) = match channel {
        Channel::Email => (Some("subject"), Some("body")),
        Channel::Sms | Channel::Voice => (None, Some("body")),
        Channel::InApp | Channel::Push | Channel::WebPush => (Some("title"), Some("message")),
        Channel::Slack => (None, Some("text")),
        Channel::Pagerduty => (None, Some("summary")),
        Channel::Webhook => (None, None),
    };
    Words { subject, content }
}

/// A mail's text that is HTML.
const HTML: &str = "body_html";

/// Reads a body of A as one of ours, over the template as it was, and says which channel is meant.
/// Fields that A does not have are passed on.
pub(super) fn of_a(
    body: Value,
    before: Option<Value>,
) -> Result<(Value, Option<Channel>), Vec<FieldError>> {
    let Value::Object(mut said) = body else {
        return Err(vec![FieldError::new("", "must be an object")]);
    };
    // A null says nothing.
    said.retain(|_, value| !value.is_null());
    let mut body = match before {
        Some(Value::Object(before)) => before,
        _ => Map::new(),
    };
    let mut errors = Vec::new();
    let channel = channel_of(said.remove("type"), &body, &mut errors);
    let subject = said.remove("subject");
    let content = said.remove("content");
    if channel.is_none() && errors.is_empty() && !said.contains_key("channels") {
        errors.push(FieldError::new("/type", "is required"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(channel) = channel {
        write_section(&mut body, channel, subject, content)?;
    }
    if let Some(variables) = said.remove("variables") {
        body.insert("variables".to_owned(), schema_of(variables));
    }
    for (theirs, ours) in RENAMED {
        if let Some(value) = said.remove(theirs) {
            body.insert(ours.to_owned(), value);
        }
    }
    body.extend(said);
    Ok((Value::Object(body), channel))
}

/// The channel that is meant: the one that is named, else the first that there is.
fn channel_of(
    named: Option<Value>,
    body: &Map<String, Value>,
    errors: &mut Vec<FieldError>,
) -> Option<Channel> {
    let Some(named) = named else {
        return first_channel(body.get("channels")?);
    };
    let channel = named.as_str().and_then(Channel::parse);
    if channel.is_none() {
        errors.push(FieldError::new("/type", "must be a channel such as email"));
    }
    channel
}

/// The channel that a template is shown by: the first in our own order, as in a list.
fn first_channel(channels: &Value) -> Option<Channel> {
    let names = channels.as_object()?.keys();
    names.filter_map(|name| Channel::parse(name)).min()
}

fn write_section(
    body: &mut Map<String, Value>,
    channel: Channel,
    subject: Option<Value>,
    content: Option<Value>,
) -> Result<(), Vec<FieldError>> {
    let words = words_of(channel);
    let missing = |name: &str| {
        let detail = format!("is nothing that {channel} has; use /v1/templates");
        vec![FieldError::new(format!("/{name}"), detail)]
    };
    let mut changes = Vec::new();
    if let Some(content) = content {
        let field = words.content.ok_or_else(|| missing("content"))?;
        let is_html = channel == Channel::Email && is_html(&content);
        if channel == Channel::Email {
            // One takes the place of the other.
            let other = if is_html { field } else { HTML };
            changes.push((other, None));
        }
        changes.push((if is_html { HTML } else { field }, Some(content)));
    }
    if let Some(subject) = subject {
        // A had a column for it, whatever the channel.
        let is_empty = subject.as_str().is_some_and(str::is_empty);
        match words.subject {
            Some(field) => changes.push((field, Some(subject))),
            None if is_empty => {}
            None => return Err(missing("subject")),
        }
    }
    let channels = body
        .entry("channels")
        .or_insert_with(|| Value::Object(Map::new()));
    let Some(channels) = channels.as_object_mut() else {
        return Ok(());
    };
    let section = channels
        .entry(channel.as_str())
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(section) = section.as_object_mut() {
        for (field, value) in changes {
            match value {
                Some(value) => section.insert(field.to_owned(), value),
                None => section.remove(field),
            };
        }
    }
    Ok(())
}

fn is_html(content: &Value) -> bool {
    content
        .as_str()
        .is_some_and(|text| text.trim_start().starts_with('<'))
}

/// The subject and the content of a channel.
pub(super) fn section_of(body: &Value, channel: Channel) -> (Option<String>, Option<String>) {
    let section = &body["channels"][channel.as_str()];
    let text = |field: Option<&str>| section[field?].as_str().map(str::to_owned);
    let words = words_of(channel);
    let content = text(words.content).or_else(|| text(Some(HTML)));
    (text(words.subject), content)
}

/// A schema of what A says of variables: their names, or something about each; a schema stays one.
fn schema_of(variables: Value) -> Value {
    let any = |names: Vec<String>| {
        let properties: Map<_, _> = names.into_iter().map(|name| (name, json!({}))).collect();
        json!({"type": "object", "properties": properties})
    };
    match variables {
        Value::Array(names) if names.iter().all(Value::is_string) => any(names
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect()),
        Value::Object(fields) if !is_schema(&fields) => any(fields.keys().cloned().collect()),
        other => other,
    }
}

fn is_schema(fields: &Map<String, Value>) -> bool {
    fields.is_empty()
        || fields.contains_key("properties")
        || fields.contains_key("$schema")
        || fields.contains_key("required")
        || fields.get("type").is_some_and(|it| it == "object")
}

/// The names that a schema knows.
pub(super) fn names_in(schema: &Value) -> Vec<String> {
    let properties = schema["properties"].as_object();
    properties.map_or_else(Vec::new, |names| names.keys().cloned().collect())
}

/// A problem of ours under the name that A has for its field.
pub(super) fn to_a(error: FieldError, channel: Option<Channel>) -> FieldError {
    let renamed = |theirs: &str| FieldError {
        pointer: format!("/{theirs}"),
        detail: error.detail.clone(),
    };
    if let Some(channel) = channel {
        let words = words_of(channel);
        let is_of = |field: Option<&str>| {
            field.is_some_and(|field| error.pointer == format!("/channels/{channel}/{field}"))
        };
        if is_of(words.subject) {
            return renamed("subject");
        }
        if is_of(words.content) || (channel == Channel::Email && is_of(Some(HTML))) {
            return renamed("content");
        }
        if error.pointer == format!("/channels/{channel}") {
            return renamed("content");
        }
    }
    for (theirs, ours) in RENAMED {
        if error.pointer == format!("/{ours}") {
            return renamed(theirs);
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_a_is_one_channel_of_ours_and_is_shown_again() {
        let said = json!({"name": "welcome", "type": "EMAIL", "subject": "Hi", "content": "Hello",
                          "variables": ["name"], "is_active": false});

        let (body, channel) = of_a(said, None).unwrap();

        assert_eq!(channel, Some(Channel::Email));
        let expected = json!({
            "name": "welcome", "enabled": false,
            "channels": {"email": {"subject": "Hi", "body": "Hello"}},
            "variables": {"type": "object", "properties": {"name": {}}},
        });
        assert_eq!(body, expected);
        let shown = section_of(&body, Channel::Email);
        assert_eq!(shown, (Some("Hi".into()), Some("Hello".into())));
        assert_eq!(names_in(&body["variables"]), ["name"]);
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let before = json!({
            "name": "welcome", "tags": ["x"],
            "channels": {"email": {"subject": "Hi", "body": "Hello"}, "sms": {"body": "Hello"}},
        });

        let (body, _) = of_a(json!({"content": "<p>Hello</p>"}), Some(before)).unwrap();

        let expected = json!({
            "name": "welcome", "tags": ["x"],
            "channels": {"email": {"subject": "Hi", "body_html": "<p>Hello</p>"},
                         "sms": {"body": "Hello"}},
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_a_channel_does_not_have_is_refused_and_problems_have_as_names() {
        let pointers = |said: Value| -> Vec<String> {
            let errors = of_a(said, None).unwrap_err();
            errors.into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(pointers(json!({"content": "x"})), ["/type"]);
        assert_eq!(pointers(json!({"type": "pigeon"})), ["/type"]);
        assert_eq!(
            pointers(json!({"type": "sms", "subject": "x"})),
            ["/subject"]
        );
        assert_eq!(
            pointers(json!({"type": "webhook", "content": "x"})),
            ["/content"]
        );
        assert_eq!(pointers(json!([])), [""]);

        let told = |pointer: &str| {
            let error = FieldError::new(pointer, "is bad");
            to_a(error, Some(Channel::InApp)).pointer
        };
        assert_eq!(told("/channels/in_app/title"), "/subject");
        assert_eq!(told("/channels/in_app/message"), "/content");
        assert_eq!(told("/enabled"), "/is_active");
        assert_eq!(told("/name"), "/name");
    }
}

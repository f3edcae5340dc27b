//! The body of `POST /notifications`: a direct send.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::fields::{CHANNEL_WORDS, Fields};
use super::{FieldError, NAME_CHARS_MAX};
use crate::address::{self, has_line_break};
use crate::{Channel, MailParts, Priority, UserId};

/// Characters in a subject: the longest line that RFC 5322 allows.
const SUBJECT_CHARS_MAX: usize = 998;

/// A direct send that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationSubmission {
    pub user_id: UserId,
    /// Without repeats, in the order asked for; `None` lets routing choose.
    pub channels: Option<Vec<Channel>>,
    /// Either this or `content`.
    pub template: Option<String>,
    pub subject: Option<String>,
    pub content: Option<String>,
    /// The template's variables, and addresses for this send only. An object.
    pub data: Option<Value>,
    pub locale: Option<String>,
    pub category: Option<String>,
    pub priority: Priority,
    pub send_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub dedupe_key: Option<String>,
    pub bypass_quiet_hours: bool,
}

impl NotificationSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    ///
    /// `send_at` may lie at most `retention` after `now`: the row's partition would be dropped
    /// before it is due.
    pub fn parse(
        body: Value,
        now: DateTime<Utc>,
        retention: TimeDelta,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let has_template = fields.has("template");
        if has_template == fields.has("content") {
            let name = if has_template { "content" } else { "template" };
            fields.refuse(
                name,
                "must be given, or the other of `template` and `content`, not both",
            );
        }
        let channels = channels(&mut fields);
        let notification = Self {
            user_id: UserId::from(fields.required_name("user_id")),
            template: fields.name("template"),
            subject: subject(&mut fields),
            content: content(&mut fields),
            data: data(&mut fields, channels.as_deref().unwrap_or_default()),
            channels,
            locale: fields.locale("locale"),
            category: fields.name("category"),
            priority: fields
                .word("priority", Priority::parse, "critical, high, normal, low")
                .unwrap_or_default(),
            send_at: fields.time("send_at"),
            expires_at: fields.time("expires_at"),
            dedupe_key: fields.name("dedupe_key"),
            bypass_quiet_hours: fields.flag("bypass_quiet_hours").unwrap_or_default(),
        };
        check_times(&notification, now, retention, &mut fields);
        fields.finish(notification)
    }
}

/// Reads `channels`, or `type`, the source system's name for a single one.
fn channels(fields: &mut Fields) -> Option<Vec<Channel>> {
    let single = fields.word("type", Channel::parse, CHANNEL_WORDS);
    if !fields.has("channels") {
        fields.take("channels");
        return single.map(|channel| vec![channel]);
    }
    if single.is_some() {
        fields.refuse("type", "must not be given together with `channels`");
    }
    let given = fields.get("channels").and_then(Value::as_array);
    if given.is_some_and(Vec::is_empty) {
        fields.refuse("channels", "must not be empty");
    }
    fields.channels("channels")
}

/// A subject becomes a mail header, so a line break in it would start another header.
fn subject(fields: &mut Fields) -> Option<String> {
    let subject = fields.text("subject").filter(|text| !text.is_empty())?;
    if has_line_break(&subject) {
        fields.refuse("subject", "must not contain a line break");
    }
    if subject.chars().count() > SUBJECT_CHARS_MAX {
        fields.refuse(
            "subject",
            format!("must have at most {SUBJECT_CHARS_MAX} characters"),
        );
    }
    Some(subject)
}

fn content(fields: &mut Fields) -> Option<String> {
    let content = fields.text("content")?;
    if content.is_empty() {
        fields.refuse("content", "must not be empty");
    }
    Some(content)
}

/// Checks the addresses in `data`: fully where a channel was asked for by name, and for line
/// breaks everywhere, because routing may choose the channel later.
fn data(fields: &mut Fields, channels: &[Channel]) -> Option<Value> {
    let data = fields.object("data")?;
    for key in address::KEYS {
        let Some(given) = data.get(key).filter(|value| !value.is_null()) else {
            continue;
        };
        let is_asked = channels
            .iter()
            .any(|channel| channel.address_key() == Some(key));
        let problem = match given.as_str() {
            None => is_asked.then_some("must be a string"),
            Some(text) if has_line_break(text) => Some("must not contain a line break"),
            Some(text) if text.chars().count() > NAME_CHARS_MAX && is_asked => Some("is too long"),
            Some(text) if is_asked => address::check(key, text).err(),
            Some(_) => None,
        };
        if let Some(detail) = problem {
            fields.report(FieldError::new(format!("/data/{key}"), detail));
        }
    }
    // Elsewhere `cc` and the others are variables like any.
    if channels.contains(&Channel::Email)
        && let Err(errors) = MailParts::from_data(&data)
    {
        for error in errors {
            fields.report(error);
        }
    }
    Some(data)
}

fn check_times(
    notification: &NotificationSubmission,
    now: DateTime<Utc>,
    retention: TimeDelta,
    fields: &mut Fields,
) {
    let Some(send_at) = notification.send_at else {
        return;
    };
    if send_at - now > retention {
        let days = retention.num_days();
        fields.refuse(
            "send_at",
            format!("must be within {days} days, for that is how long rows are kept"),
        );
    }
    if notification
        .expires_at
        .is_some_and(|expires_at| expires_at <= send_at)
    {
        fields.refuse("expires_at", "must be after `send_at`");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn parse(body: Value) -> Result<NotificationSubmission, Vec<FieldError>> {
        NotificationSubmission::parse(body, now(), TimeDelta::days(30))
    }

    fn pointers(body: Value) -> Vec<String> {
        let mut pointers: Vec<_> = parse(body)
            .expect_err("the body is bad")
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        pointers.sort();
        pointers
    }

    /// A good body with `more` in it.
    fn body(more: Value) -> Value {
        let mut body = json!({"user_id": "u1", "content": "Hi"});
        let Value::Object(more) = more else {
            panic!("an object")
        };
        body.as_object_mut().unwrap().extend(more);
        body
    }

    #[test]
    fn a_full_direct_send_is_read() {
        let sent = parse(json!({
            "user_id": "u1", "channels": ["EMAIL", "websocket", "email"],
            "template": "risk.margin_call",
            "data": {"email": "ada@example.com"}, "locale": "de", "category": "risk",
            "priority": "medium", "send_at": "2027-01-16T00:00:00Z",
            "expires_at": "2027-01-17T00:00:00Z", "dedupe_key": "k", "bypass_quiet_hours": true,
        }))
        .unwrap();

        assert_eq!(sent.channels, Some(vec![Channel::Email, Channel::InApp]));
        assert_eq!(sent.priority, Priority::Normal);
        assert!(sent.bypass_quiet_hours);
    }

    #[test]
    fn null_channels_are_none() {
        let nothing = json!({"channels": null, "template": null, "data": null, "type": null});

        assert_eq!(parse(body(nothing)).unwrap().channels, None);
    }

    #[test]
    fn type_names_a_single_channel() {
        assert_eq!(
            parse(body(json!({"type": "sms"}))).unwrap().channels,
            Some(vec![Channel::Sms])
        );
        assert_eq!(
            pointers(body(json!({"type": "sms", "channels": ["sms"]}))),
            ["/type"]
        );
    }

    #[test]
    fn either_a_template_or_content_is_needed() {
        assert_eq!(pointers(json!({"user_id": "u1"})), ["/template"]);
        assert_eq!(pointers(body(json!({"template": "t"}))), ["/content"]);
        assert_eq!(pointers(body(json!({"content": ""}))), ["/content"]);
    }

    #[test]
    fn copies_and_attachments_are_checked_where_a_mail_is_asked_for() {
        let data = json!({"cc": "ada@example.com\r\nBcc: eve@example.com", "attachments": 3});

        assert_eq!(
            pointers(body(json!({"channels": ["email"], "data": data.clone()}))),
            ["/data/attachments", "/data/cc"]
        );
        assert!(parse(body(json!({"channels": ["in_app"], "data": data}))).is_ok());
    }

    #[test]
    fn unknown_channels_are_pointed_at() {
        assert_eq!(
            pointers(body(json!({"channels": ["email", "fax", 3]}))),
            ["/channels/1", "/channels/2"]
        );
        assert_eq!(pointers(body(json!({"channels": []}))), ["/channels"]);
        assert_eq!(pointers(body(json!({"channels": "email"}))), ["/channels"]);
    }

    #[test]
    fn a_line_break_in_a_subject_or_an_address_is_refused() {
        assert_eq!(
            pointers(body(json!({"subject": "Hi\r\nBcc: x@y.z"}))),
            ["/subject"]
        );
        assert_eq!(
            pointers(body(json!({"data": {"email": "a@b.c\nBcc: x@y.z"}}))),
            ["/data/email"]
        );
    }

    #[test]
    fn a_locale_is_a_language_tag() {
        for locale in ["zz-!", "", "en_US", "x"] {
            let refused = pointers(body(json!({ "locale": locale })));
            assert_eq!(refused, ["/locale"], "{locale}");
        }
        assert!(parse(body(json!({"locale": "pt-BR"}))).is_ok());
    }

    #[test]
    fn an_address_is_checked_when_its_channel_is_asked_for() {
        let bad = json!({"data": {"email": "nobody", "phone": "n/a"}, "channels": ["email"]});

        assert_eq!(pointers(body(bad)), ["/data/email"]);
        assert!(parse(body(json!({"data": {"email": "nobody", "phone": 7}}))).is_ok());
    }

    #[test]
    fn send_at_must_lie_within_retention() {
        let at = |days| (now() + TimeDelta::days(days)).to_rfc3339();

        assert!(parse(body(json!({"send_at": at(30)}))).is_ok());
        assert!(parse(body(json!({"send_at": at(-1)}))).is_ok());
        assert_eq!(pointers(body(json!({"send_at": at(31)}))), ["/send_at"]);
    }

    #[test]
    fn nothing_may_expire_before_it_is_sent() {
        let bad = json!({"send_at": "2027-01-16T00:00:00Z", "expires_at": "2027-01-16T00:00:00Z"});

        assert_eq!(pointers(body(bad)), ["/expires_at"]);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let bad = json!({
            "user_id": 1, "priority": "urgent", "data": "text", "bypass_quiet_hours": "yes",
            "expires_at": "soon", "colour": "red",
        });

        assert_eq!(
            pointers(body(bad)),
            [
                "/bypass_quiet_hours",
                "/colour",
                "/data",
                "/expires_at",
                "/priority",
                "/user_id"
            ]
        );
    }
}

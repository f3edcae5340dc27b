//! The body of `/consents`: that somebody agrees to be sent something, or does so no longer.

use serde_json::Value;

use super::FieldError;
use super::fields::{CHANNEL_WORDS, Fields};
use crate::{Channel, UserId};

/// Characters in what is noted beside a consent.
const NOTE_CHARS_MAX: usize = 2000;

/// A consent that may be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentSubmission {
    /// `None` is whoever asks.
    pub user_id: Option<UserId>,
    /// `None` only in a change, which keeps it.
    pub category: Option<String>,
    /// `None` is every channel; in a change, the one it has.
    pub channel: Option<Channel>,
    /// `false` withdraws it.
    pub granted: bool,
    pub source: Option<String>,
    pub note: Option<String>,
}

impl ConsentSubmission {
    /// Reads the body of a new record.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        Self::read(body, true)
    }

    /// Reads the body of a change, which need not say again what it is about.
    pub fn parse_change(body: Value) -> Result<Self, Vec<FieldError>> {
        Self::read(body, false)
    }

    fn read(body: Value, is_new: bool) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let missing = ["category", "granted"].into_iter().filter(|&name| {
            let is_needed = is_new || name == "granted";
            is_needed && !fields.has(name)
        });
        for name in missing.collect::<Vec<_>>() {
            fields.refuse(name, "is required");
        }
        let consent = Self {
            user_id: fields.name("user_id").map(UserId::from),
            category: fields.name("category"),
            channel: fields.word("channel", Channel::parse, CHANNEL_WORDS),
            granted: fields.flag("granted").unwrap_or_default(),
            source: fields.name("source"),
            note: fields.text("note").filter(|text| !text.is_empty()),
        };
        let note = consent.note.as_deref().unwrap_or_default();
        if note.chars().count() > NOTE_CHARS_MAX {
            let detail = format!("must have at most {NOTE_CHARS_MAX} characters");
            fields.refuse("note", detail);
        }
        fields.finish(consent)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_consent_says_to_what_and_whether() {
        let body = json!({"user_id": "ada", "category": "news", "channel": "EMAIL",
                          "granted": true, "source": "form", "note": ""});
        let read = ConsentSubmission::parse(body).unwrap();
        assert_eq!(read.channel, Some(Channel::Email));
        assert_eq!((read.granted, read.note), (true, None));
        assert!(ConsentSubmission::parse_change(json!({"granted": false})).is_ok());

        for (body, expected) in [
            (json!({"granted": true}), "/category"),
            (json!({"category": "news"}), "/granted"),
            (json!({"category": "news", "granted": "yes"}), "/granted"),
            (
                json!({"category": "news", "granted": true, "channel": "fax"}),
                "/channel",
            ),
            (json!({"category": "news", "granted": true, "at": 1}), "/at"),
            (
                json!({"category": "news", "granted": true, "note": "x".repeat(2001)}),
                "/note",
            ),
        ] {
            let errors = ConsentSubmission::parse(body).expect_err("the body is bad");
            assert_eq!(errors[0].pointer, expected);
        }
    }
}

//! The body of `POST /events`.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::FieldError;
use super::fields::Fields;
use crate::Severity;

/// An event that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSubmission {
    /// What happened, such as `ORDER_FILLED`. `type` outside.
    pub kind: String,
    /// An object.
    pub payload: Value,
    /// The submitter's name for it, unique per tenant and producer.
    pub event_id: Option<String>,
    /// The system that speaks.
    pub producer: Option<String>,
    pub severity: Option<Severity>,
    /// Events of one type with the same key count as one for a while.
    pub dedupe_key: Option<String>,
    pub occurred_at: Option<DateTime<Utc>>,
}

impl EventSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        if !fields.has("payload") {
            fields.refuse("payload", "is required");
        }
        let event = Self {
            kind: fields.required_name("type"),
            payload: fields.object("payload").unwrap_or_default(),
            event_id: fields.name("event_id"),
            producer: fields.name("producer"),
            severity: fields.word("severity", Severity::parse, "low, medium, high, critical"),
            dedupe_key: fields.name("dedupe_key"),
            occurred_at: fields.time("occurred_at"),
        };
        fields.finish(event)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(body: Value) -> Vec<String> {
        let mut pointers: Vec<_> = EventSubmission::parse(body)
            .expect_err("the body is bad")
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        pointers.sort();
        pointers
    }

    #[test]
    fn a_full_event_is_read() {
        let event = EventSubmission::parse(json!({
            "type": "MARGIN_CALL", "payload": {"user_id": "u1"}, "event_id": "e1",
            "producer": "risk", "severity": "HIGH", "dedupe_key": "acct-7",
            "occurred_at": "2026-11-20T10:00:00+02:00",
        }))
        .unwrap();

        assert_eq!(event.kind, "MARGIN_CALL");
        assert_eq!(event.severity, Some(Severity::High));
        assert_eq!(
            event.occurred_at.unwrap().to_rfc3339(),
            "2026-11-20T08:00:00+00:00"
        );
    }

    #[test]
    fn null_means_absent() {
        let event =
            EventSubmission::parse(json!({"type": "a", "payload": {}, "event_id": null})).unwrap();

        assert_eq!(event.event_id, None);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let body = json!({
            "type": "", "payload": [], "event_id": 7, "producer": "p".repeat(256),
            "severity": "dire", "dedupe_key": "a\0b", "occurred_at": "yesterday", "colour": "red",
        });

        assert_eq!(
            pointers(body),
            [
                "/colour",
                "/dedupe_key",
                "/event_id",
                "/occurred_at",
                "/payload",
                "/producer",
                "/severity",
                "/type"
            ]
        );
    }

    #[test]
    fn an_event_needs_a_type_and_a_payload() {
        assert_eq!(pointers(json!({})), ["/payload", "/type"]);
        assert_eq!(
            pointers(json!({"type": null, "payload": null})),
            ["/payload", "/type"]
        );
        assert_eq!(pointers(json!("text")), [""]);
    }

    #[test]
    fn names_are_counted_in_characters() {
        let body = json!({"type": "ю".repeat(255), "payload": {}});

        assert!(EventSubmission::parse(body).is_ok());
    }
}

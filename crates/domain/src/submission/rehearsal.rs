//! The body of `POST /rules/test`: an event that need not be one, and a moment.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fields::Fields;
use super::{EventSubmission, FieldError};

/// What is to be rehearsed.
#[derive(Debug, Clone, PartialEq)]
pub struct RehearsalSubmission {
    pub event: EventSubmission,
    /// `None` is now.
    pub at: Option<DateTime<Utc>>,
}

impl RehearsalSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let at = fields.time("at");
        let event = match fields.take("event") {
            Some(event) => EventSubmission::parse(event),
            None => Err(vec![FieldError::new("", "is required")]),
        };
        match event {
            Ok(event) => fields.finish(Self { event, at }),
            Err(errors) => {
                for error in errors {
                    let pointer = format!("/event{}", error.pointer);
                    fields.report(FieldError::new(pointer, error.detail));
                }
                Err(fields.into_errors())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_event_is_told_where_it_stands() {
        for (body, expected) in [
            (json!({}), vec!["/event"]),
            (json!({"event": []}), vec!["/event"]),
            (
                json!({"event": {"payload": {}, "more": 1}, "at": "noon", "also": 1}),
                vec!["/also", "/at", "/event/more", "/event/type"],
            ),
        ] {
            let errors = RehearsalSubmission::parse(body).expect_err("the body is bad");
            let mut pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
            pointers.sort();
            assert_eq!(pointers, expected);
        }
        let body = json!({
            "event": {"type": "ORDER_FILLED", "payload": {}}, "at": "2026-11-21T03:00:00+01:00",
        });
        let rehearsal = RehearsalSubmission::parse(body).unwrap();
        assert_eq!(rehearsal.event.kind, "ORDER_FILLED");
        assert_eq!(
            rehearsal.at.unwrap().to_rfc3339(),
            "2026-11-21T02:00:00+00:00"
        );
    }
}

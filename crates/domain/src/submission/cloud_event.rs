//! An event as a CloudEvent 1.0: the same facts under that specification's names.
//!
//! `id` is our `event_id`, `source` the producer, `time` the `occurred_at` and `data` the payload,
//! so what one source sends twice counts once. Of the extension attributes we read `severity` and
//! `dedupekey`; others are for other readers and are passed over, as the specification asks.

use serde_json::{Value, json};

use super::fields::Fields;
use super::{EventSubmission, FieldError};
use crate::Severity;

/// The version of the specification that we read.
const VERSION: &str = "1.0";

impl EventSubmission {
    /// Reads a CloudEvent in the JSON format, or tells everything that is wrong with it.
    pub fn parse_cloud_event(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        match fields.required_name("specversion").as_str() {
            VERSION | "" => {}
            _ => fields.refuse("specversion", "must be 1.0"),
        }
        if let Some(media_type) = fields.name("datacontenttype")
            && !is_json(&media_type)
        {
            fields.refuse("datacontenttype", "must be application/json");
        }
        if fields.has("data_base64") {
            fields.refuse("data_base64", "is not read; send JSON in `data`");
        }
        let event = Self {
            kind: fields.required_name("type"),
            // An event that only says that something happened has no data.
            payload: fields.object("data").unwrap_or_else(|| json!({})),
            event_id: Some(fields.required_name("id")),
            producer: Some(fields.required_name("source")),
            severity: fields.word("severity", Severity::parse, "low, medium, high, critical"),
            dedupe_key: fields.name("dedupekey"),
            occurred_at: fields.time("time"),
        };
        fields.finish_open(event)
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_of_a_cloud_event_become_an_event() {
        let event = EventSubmission::parse_cloud_event(json!({
            "specversion": "1.0", "id": "A-1", "source": "/orders", "type": "order.filled",
            "time": "2026-11-20T10:00:00Z", "datacontenttype": "application/json; charset=utf-8",
            "subject": "acme", "traceparent": "00-1-2-01", "severity": "high",
            "data": {"user_id": "u1"},
        }))
        .unwrap();

        assert_eq!(event.kind, "order.filled");
        assert_eq!(event.event_id.as_deref(), Some("A-1"));
        assert_eq!(event.producer.as_deref(), Some("/orders"));
        assert_eq!(event.severity, Some(Severity::High));
        assert_eq!(event.payload, json!({"user_id": "u1"}));
        assert!(event.occurred_at.is_some());
    }

    #[test]
    fn every_problem_is_named_by_the_attribute() {
        let errors = EventSubmission::parse_cloud_event(json!({
            "specversion": "0.3", "id": "", "type": 7, "time": "now", "data_base64": "AA==",
            "datacontenttype": "text/xml",
        }))
        .unwrap_err();

        let mut pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
        pointers.sort();
        assert_eq!(
            pointers,
            [
                "/data_base64",
                "/datacontenttype",
                "/id",
                "/source",
                "/specversion",
                "/time",
                "/type"
            ]
        );
    }

    #[test]
    fn an_event_without_data_has_an_empty_payload() {
        let event = EventSubmission::parse_cloud_event(json!({
            "specversion": "1.0", "id": "1", "source": "s", "type": "t",
        }));

        assert_eq!(event.unwrap().payload, json!({}));
    }

    #[test]
    fn data_is_an_object() {
        for data in [json!("text"), json!([1])] {
            let errors = EventSubmission::parse_cloud_event(json!({
                "specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": data,
            }))
            .unwrap_err();
            assert_eq!(errors[0].pointer, "/data");
        }
    }
}

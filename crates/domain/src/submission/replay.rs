//! What a request to replay dead letters may contain.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::FieldError;
use super::fields::Fields;

/// Dead letters named in one request at most.
const IDS_MAX: usize = 10_000;

/// Replayed in a second at most: far more than a database takes.
const RATE_MAX: u64 = 1_000_000;

/// Which dead letters are to run again, and how. Without any criterion it is all of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReplaySubmission {
    pub ids: Option<Vec<Uuid>>,
    pub queue: Option<String>,
    pub kind: Option<String>,
    /// Part of the last error, without regard to case.
    pub error: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    /// Only count them.
    pub is_dry_run: bool,
    /// At most so many a second.
    pub rate: Option<u32>,
    /// Also what has expired meanwhile.
    pub include_expired: bool,
}

impl ReplaySubmission {
    /// Reads a body; every problem is reported.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let replay = Self {
            ids: ids(&mut fields),
            queue: fields.name("queue"),
            kind: fields.name("kind"),
            error: fields.name("error"),
            since: fields.time("since"),
            until: fields.time("until"),
            is_dry_run: fields.flag("dry_run").unwrap_or_default(),
            rate: rate(&mut fields),
            include_expired: fields.flag("include_expired").unwrap_or_default(),
        };
        fields.finish(replay)
    }

    /// Reads the short form `{"job_id"}`, which names one dead letter.
    pub fn parse_short(body: Value) -> Result<Uuid, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        if !fields.has("job_id") {
            fields.refuse("job_id", "is required");
        }
        let id = fields.word(
            "job_id",
            |text| Uuid::parse_str(text).ok(),
            "the ids of jobs",
        );
        fields.finish(id.unwrap_or_default())
    }
}

fn ids(fields: &mut Fields) -> Option<Vec<Uuid>> {
    let Value::Array(items) = fields.take("ids")? else {
        fields.refuse("ids", "must be an array of ids");
        return None;
    };
    if items.len() > IDS_MAX {
        fields.refuse("ids", format!("must have at most {IDS_MAX} ids"));
        return None;
    }
    let mut ids = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_str().and_then(|text| Uuid::parse_str(text).ok()) {
            Some(id) => ids.push(id),
            None => fields.report(FieldError::new(
                format!("/ids/{index}"),
                "must be the id of a dead letter",
            )),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

/// A number, or as on the command line `50/s`.
fn rate(fields: &mut Fields) -> Option<u32> {
    let rate = match fields.take("rate")? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim_end_matches("/s").parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let rate = rate.filter(|rate| (1..=RATE_MAX).contains(rate));
    if rate.is_none() {
        let detail = format!("must be a number per second from 1 to {RATE_MAX}");
        fields.refuse("rate", detail);
    }
    rate.map(|rate| rate as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_may_be_empty_and_a_rate_a_word() {
        assert_eq!(
            ReplaySubmission::parse(json!({})),
            Ok(ReplaySubmission::default())
        );
        let body = json!({"queue": "email", "rate": "50/s", "dry_run": true, "error": null});

        let replay = ReplaySubmission::parse(body).unwrap();

        assert_eq!(replay.queue.as_deref(), Some("email"));
        assert_eq!((replay.rate, replay.is_dry_run), (Some(50), true));
    }

    #[test]
    fn a_bad_filter_names_each_field() {
        let id = "0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d";
        for (body, pointers) in [
            (json!([]), vec![""]),
            (json!({"ids": id}), vec!["/ids"]),
            (json!({"ids": [id, 7, "x"]}), vec!["/ids/1", "/ids/2"]),
            (
                json!({"rate": 0, "since": "yesterday"}),
                vec!["/since", "/rate"],
            ),
            (json!({"rate": 1.5}), vec!["/rate"]),
            (json!({"rate": 1_000_001}), vec!["/rate"]),
            (
                json!({"queue": "", "dry_run": "yes"}),
                vec!["/queue", "/dry_run"],
            ),
            (
                json!({"error": "a\u{0}b", "all": true}),
                vec!["/error", "/all"],
            ),
            (json!({"ids": vec![id; 10_001]}), vec!["/ids"]),
        ] {
            let errors = ReplaySubmission::parse(body).unwrap_err();
            let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, pointers);
        }
    }

    #[test]
    fn the_short_form_names_one_job() {
        let id = Uuid::from_u128(7);
        assert_eq!(ReplaySubmission::parse_short(json!({"job_id": id})), Ok(id));
        for body in [json!({}), json!({"job_id": 7}), json!({"job_id": "x"})] {
            let errors = ReplaySubmission::parse_short(body).unwrap_err();
            assert_eq!(errors[0].pointer, "/job_id");
        }
    }
}

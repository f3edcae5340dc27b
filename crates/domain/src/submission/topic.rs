//! The bodies of `/topics`: a topic, and a batch of its members.

use serde_json::Value;
use uuid::Uuid;

use super::FieldError;
use super::fields::Fields;
use crate::UserId;

/// Members named in one request.
const MEMBERS_MAX: usize = 5000;

/// Characters in a description.
const DESCRIPTION_CHARS_MAX: usize = 2000;

/// A topic that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSubmission {
    pub name: String,
    pub description: Option<String>,
}

impl TopicSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        let topic = Self {
            name: fields.required_name("name"),
            description: fields.text("description").filter(|text| !text.is_empty()),
        };
        // A path names a topic by either.
        if Uuid::parse_str(&topic.name).is_ok() {
            fields.refuse("name", "must not look like an id");
        }
        let description = topic.description.as_deref().unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARS_MAX {
            let detail = format!("must have at most {DESCRIPTION_CHARS_MAX} characters");
            fields.refuse("description", detail);
        }
        fields.finish(topic)
    }
}

/// Reads `{user_ids: […]}`: users to add, to remove, or to be the only ones. Sorted, each once.
pub fn parse_members(body: Value) -> Result<Vec<UserId>, Vec<FieldError>> {
    let mut fields = Fields::of(body)?;
    if !fields.has("user_ids") {
        fields.refuse("user_ids", "is required");
    }
    let names = fields.names("user_ids", MEMBERS_MAX).unwrap_or_default();
    let mut members: Vec<_> = names.into_iter().map(UserId::from).collect();
    members.sort_unstable();
    fields.finish(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<String> {
        let errors = result.expect_err("the body is bad");
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_topic_has_a_name_that_is_not_an_id() {
        let topic = TopicSubmission::parse(json!({"name": "releases", "description": ""}));
        assert_eq!(topic.unwrap().description, None);

        let id = Uuid::nil().to_string();
        for (body, expected) in [
            (json!({}), vec!["/name"]),
            (json!({"name": id}), vec!["/name"]),
            (json!({"name": "a", "members": []}), vec!["/members"]),
            (
                json!({"name": "a", "description": "x".repeat(2001)}),
                vec!["/description"],
            ),
        ] {
            assert_eq!(pointers(TopicSubmission::parse(body)), expected);
        }
    }

    #[test]
    fn members_are_sorted_and_counted_once() {
        let members = parse_members(json!({"user_ids": ["b", "a", "b"]})).unwrap();
        assert_eq!(members, [UserId::from("a"), UserId::from("b")]);

        let many: Vec<_> = (0..=MEMBERS_MAX).map(|n| n.to_string()).collect();
        for (body, expected) in [
            (json!({}), "/user_ids"),
            (json!({"user_ids": ["a", 7]}), "/user_ids/1"),
            (json!({"user_ids": many}), "/user_ids"),
            (json!({"user_ids": [], "more": 1}), "/more"),
        ] {
            assert_eq!(pointers(parse_members(body)), [expected]);
        }
    }
}

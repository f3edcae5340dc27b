//! Batches: each item stands for itself. Good ones land even when others are bad.

use domain::FieldError;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use crate::intake::{Answer, Row, UNIT_ROWS_MAX};

/// Why one item of a batch was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ItemError {
    /// Its place in the request, from 0.
    index: usize,
    detail: String,
}

/// A batch whose good items have been handed in.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where each row stood in the request.
    indexes: Vec<usize>,
    /// What was wrong with the other items.
    errors: Vec<ItemError>,
}

/// What became of a batch, in the order of its items.
#[derive(Debug, Default)]
pub(super) struct BatchOutcome {
    /// Ids of what is stored now, be it from this request or from the one that an item repeats.
    pub(super) landed: Vec<Uuid>,
    /// How many of them were there before.
    pub(super) duplicates: usize,
    pub(super) errors: Vec<ItemError>,
}

impl Batch {
    /// Takes the body `{<name>: [item, …]}` apart; `read` judges one item. The rows are of the good
    /// ones, in their order.
    pub(super) fn read(
        body: Value,
        name: &str,
        read: impl Fn(Value) -> Result<Row, Vec<FieldError>>,
    ) -> Result<(Vec<Row>, Self), ApiError> {
        Ok(Self::of_items(items_of(body, name)?, read))
    }

    /// The same of the items alone.
    pub(super) fn of_items(
        items: Vec<Value>,
        read: impl Fn(Value) -> Result<Row, Vec<FieldError>>,
    ) -> (Vec<Row>, Self) {
        let mut rows = Vec::new();
        let mut batch = Self {
            indexes: Vec::new(),
            errors: Vec::new(),
        };
        for (index, item) in items.into_iter().enumerate() {
            match read(item) {
                Ok(row) => {
                    rows.push(row);
                    batch.indexes.push(index);
                }
                Err(errors) => {
                    batch.errors.push(ItemError {
                        index,
                        detail: in_words(&errors),
                    });
                }
            }
        }
        (rows, batch)
    }

    /// What became of the whole, from what became of its rows.
    pub(super) fn outcome(&self, answers: &[Answer]) -> BatchOutcome {
        let mut outcome = BatchOutcome {
            errors: self.errors.clone(),
            ..BatchOutcome::default()
        };
        for (index, answer) in self.indexes.iter().zip(answers) {
            match answer {
                Answer::Accepted { id } => outcome.landed.push(*id),
                Answer::Duplicate { id } => {
                    outcome.landed.push(*id);
                    outcome.duplicates += 1;
                }
                Answer::Refused { detail } => outcome.errors.push(ItemError {
                    index: *index,
                    detail: detail.clone(),
                }),
            }
        }
        outcome.errors.sort_by_key(|error| error.index);
        outcome
    }
}

fn items_of(body: Value, name: &str) -> Result<Vec<Value>, ApiError> {
    let Value::Object(mut fields) = body else {
        return Err(ApiError::invalid_field("", "must be an object"));
    };
    let items = fields.remove(name);
    let mut errors: Vec<FieldError> = fields
        .keys()
        .map(|field| {
            let field = field.replace('~', "~0").replace('/', "~1");
            FieldError::new(format!("/{field}"), "is not a known field")
        })
        .collect();
    let pointer = format!("/{name}");
    match items {
        Some(Value::Array(items)) if items.len() > UNIT_ROWS_MAX as usize => {
            errors.push(FieldError::new(
                pointer,
                format!("has at most {UNIT_ROWS_MAX} items"),
            ));
        }
        Some(Value::Array(items)) if errors.is_empty() => return Ok(items),
        Some(Value::Array(_)) => {}
        Some(_) => errors.push(FieldError::new(pointer, "must be an array")),
        None => errors.push(FieldError::new(pointer, "is required")),
    }
    Err(ApiError::invalid(errors))
}

/// The problems of one item, in one line.
fn in_words(errors: &[FieldError]) -> String {
    let problems: Vec<String> = errors
        .iter()
        .map(|error| {
            format!("{} {}", error.pointer, error.detail)
                .trim_start()
                .to_owned()
        })
        .collect();
    problems.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn detail_of(body: Value) -> String {
        items_of(body, "events").unwrap_err().detail().to_owned()
    }

    #[test]
    fn the_envelope_of_a_batch_is_checked_like_any_body() {
        assert_eq!(detail_of(json!([])), "the body must be an object");
        assert_eq!(detail_of(json!({})), "/events: is required");
        assert_eq!(detail_of(json!({"events": 7})), "/events: must be an array");
        assert_eq!(
            detail_of(json!({"events": [], "more": 1})),
            "/more: is not a known field"
        );
        let many = vec![Value::Null; UNIT_ROWS_MAX as usize + 1];
        assert_eq!(
            detail_of(json!({"events": many})),
            "/events: has at most 5000 items"
        );
    }

    #[test]
    fn all_problems_of_an_item_are_told_in_one_line() {
        let errors = [
            FieldError::new("/type", "is required"),
            FieldError::new("", "must be an object"),
        ];
        assert_eq!(in_words(&errors), "/type is required; must be an object");
    }
}

//! `variables`: the JSON Schema that a template's payload is held against.

mod graph;
mod work;

use domain::FieldError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use self::work::Work;
use crate::TemplateIssue;

/// Most problems of one payload that are named.
const PROBLEMS_MAX: usize = 20;

/// Largest compiled pattern, in bytes, as in rules: the time a byte of text takes grows with it.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Checks for which every problem is looked for. They are gathered before the first one is told.
const CHECKS_TOLD_MAX: u64 = 500_000;

/// A schema whose work is bounded.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    work: Work,
}

/// Compiles `variables`. It cannot refer to another document: nothing is fetched.
pub(crate) fn compile_schema(schema: &Value) -> Result<Schema, TemplateIssue> {
    let issue = |place: &str, detail| TemplateIssue::new(format!("/variables{place}"), detail);
    let work = work::measure(schema).map_err(|(place, detail)| issue(&place, detail))?;
    // The linear engine: a pattern that goes back and forth could hold the door for minutes.
    let patterns = PatternOptions::regex()
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX);
    let validator = jsonschema::options()
        .with_pattern_options(patterns)
        // A payload that is a pattern would be read as one, however deep it is.
        .with_format("regex", |_: &str| true)
        .build(schema)
        .map_err(|error| {
            let detail = match error.kind() {
                ValidationErrorKind::Format { format } if format == "regex" => {
                    "is not a regular expression, or too large a one".to_owned()
                }
                _ => format!("is not a JSON Schema: {}", error.masked()),
            };
            issue(&error.instance_path().to_string(), detail)
        })?;
    Ok(Schema { validator, work })
}

impl Schema {
    /// What the schema has against `data`. The words name no value.
    pub(crate) fn validate(&self, data: &Value) -> Vec<FieldError> {
        // Whether it fits costs bounded time; all that does not fit may cost memory without bound.
        if self.validator.is_valid(data) {
            return Vec::new();
        }
        let checks = self.work.checks.saturating_mul(graph::values(data));
        if checks <= CHECKS_TOLD_MAX {
            let errors = self.validator.iter_errors(data).take(PROBLEMS_MAX);
            return errors.map(|error| field_error(&error)).collect();
        }
        if self.work.gathers {
            let detail = "does not fit `variables`, and is too large to say where";
            return vec![FieldError::new("", detail)];
        }
        let first = self.validator.validate(data);
        first.map_or_else(|error| vec![field_error(&error)], |()| Vec::new())
    }
}

fn field_error(error: &ValidationError<'_>) -> FieldError {
    let pointer = error.instance_path().to_string();
    FieldError::new(pointer, error.masked().to_string())
}

#[cfg(test)]
mod tests;

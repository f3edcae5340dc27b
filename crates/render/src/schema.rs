//! `variables`: the JSON Schema that a template's payload is held against.

use domain::FieldError;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::TemplateIssue;

/// Most problems of one payload that are named.
const PROBLEMS_MAX: usize = 20;

/// Compiles `variables`. It cannot refer to another document: nothing is fetched.
pub(crate) fn compile_schema(schema: &Value) -> Result<Validator, TemplateIssue> {
    // The linear engine: a pattern that goes back and forth could hold the door for minutes.
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| {
            let pointer = format!("/variables{}", error.instance_path());
            TemplateIssue::new(pointer, format!("is not a JSON Schema: {}", error.masked()))
        })
}

/// What the schema has against `data`. The words name no value.
pub(crate) fn validate(schema: &Validator, data: &Value) -> Vec<FieldError> {
    schema
        .iter_errors(data)
        .take(PROBLEMS_MAX)
        .map(|error| {
            FieldError::new(
                error.instance_path().to_string(),
                error.masked().to_string(),
            )
        })
        .collect()
}

//! Whether Postgres will take a JSON value.
//!
//! `jsonb` refuses U+0000, and one refused row fails its whole batch; so it is refused here, where
//! the field can still be named.

use serde_json::Value;

use super::{DEPTH_MAX, FieldError};

/// Reports U+0000 in any key or text below `pointer`, and nesting deeper than [`DEPTH_MAX`].
///
/// One problem is enough: a caller who sent a thousand bad keys learns of the first.
pub fn check(value: &Value, pointer: &str) -> Result<(), FieldError> {
    let mut path = Vec::new();
    match find_problem(value, 1, &mut path) {
        None => Ok(()),
        Some(detail) => {
            let mut pointer = pointer.to_owned();
            for token in path.iter().rev() {
                pointer.push('/');
                pointer.push_str(token);
            }
            Err(FieldError::new(pointer, detail))
        }
    }
}

/// Writes `key` as one token of a JSON pointer.
pub fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Fills `path` from the innermost token outwards.
///
/// Recursion ends one level below [`DEPTH_MAX`], whatever the value is.
fn find_problem(value: &Value, depth: usize, path: &mut Vec<String>) -> Option<&'static str> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => text.contains('\0').then_some("must not contain U+0000"),
        Value::Array(_) | Value::Object(_) if depth > DEPTH_MAX => {
            Some("must not be nested deeper than 128 levels")
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let problem = find_problem(item, depth + 1, path)?;
            path.push(index.to_string());
            Some(problem)
        }),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            if key.contains('\0') {
                path.push(pointer_token(&key.replace('\0', "\u{fffd}")));
                return Some("must not have a name that contains U+0000");
            }
            let problem = find_problem(item, depth + 1, path)?;
            path.push(pointer_token(key));
            Some(problem)
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| json!([inner]))
    }

    #[test]
    fn a_zero_character_is_found_and_pointed_at() {
        let value = json!({"orders": [{"a/b": "fine"}, {"a/b": "bro\0ken"}]});

        let error = check(&value, "/payload").unwrap_err();

        assert_eq!(
            error,
            FieldError::new("/payload/orders/1/a~1b", "must not contain U+0000")
        );
    }

    #[test]
    fn a_zero_character_in_a_key_is_found() {
        let error = check(&json!({"deep": {"k\0": 1}}), "/data").unwrap_err();

        assert_eq!(error.pointer, "/data/deep/k\u{fffd}");
    }

    #[test]
    fn the_deepest_allowed_value_passes_and_one_more_level_does_not() {
        assert_eq!(check(&nested(DEPTH_MAX), "/data"), Ok(()));
        assert!(check(&nested(DEPTH_MAX + 1), "/data").is_err());
    }
}

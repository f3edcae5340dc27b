//! Puts the environment into a file's values: `${NAME}`, `${NAME:-default}`, and `$${` for `${`.

/// Replaces the names in `text` by what `value_of` knows. An empty value counts as none where
/// there is a default, as in a shell.
///
/// # Errors
///
/// What to do about a name without value, or a brace that is not closed.
pub(super) fn expand(
    text: &str,
    value_of: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some((inner, after)) = after.split_once('}') else {
            return Err("`${` is not closed; write `$${` for the characters themselves".to_owned());
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{inner}}}` names no variable; write `${{NAME}}` or `${{NAME:-default}}`"
            ));
        }
        match (value_of(name), default) {
            (Some(value), None) => expanded.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => expanded.push_str(&value),
            (_, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!(
                    "{name} is not set; set it, or write `${{{name}:-default}}`"
                ));
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(text: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.chars().all(is_letter) && text.starts_with(|first: char| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, |name| match name {
            "HOST" => Some("db".to_owned()),
            "NOTHING" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn names_are_replaced_and_defaults_stand_in() {
        for (text, result) in [
            ("plain", "plain"),
            ("${HOST}", "db"),
            ("a-${HOST}-${HOST}", "a-db-db"),
            ("${PORT:-5432}", "5432"),
            ("${HOST:-other}", "db"),
            ("${NOTHING:-other}", "other"),
            ("${NOTHING}", ""),
            ("${PORT:-}", ""),
            ("$${HOST}", "${HOST}"),
            ("$5 and $HOST", "$5 and $HOST"),
            ("${URL:-http://x:1/?a=-}", "http://x:1/?a=-"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_says_so() {
        assert!(
            expanded("${PORT}")
                .unwrap_err()
                .starts_with("PORT is not set")
        );
        assert!(expanded("${HOST").unwrap_err().contains("not closed"));
        for text in ["${}", "${A B}", "${1A}", "${:-x}"] {
            assert!(
                expanded(text).unwrap_err().contains("names no variable"),
                "{text}"
            );
        }
    }
}

//! Which database errors pass by themselves, and which name a row that will never be accepted.

/// Whether the same statements may succeed when they are tried again: the connection was
/// lost, or Postgres answered with class 08 (connection), 40 (rollback), 53 (resources), 57
/// (operator intervention) or 58 (system).
///
/// Anything else is the fault of what was sent: bisect, and bury the culprit alone.
pub fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            let class = code.get(..2).unwrap_or_default();
            // 25P03 and 25006: an idle transaction was ended; a standby that is being promoted.
            matches!(class, "08" | "40" | "53" | "57" | "58")
                || matches!(code.as_ref(), "25P03" | "25006")
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// The error with its causes, without U+0000, at most 2 KiB: fit for a text column.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many libraries repeat the cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    storable(&text)
}

/// Longest error text kept per attempt. With eight attempts a dead letter stays within 16 KiB.
const ERROR_BYTES_MAX: usize = 2048;

/// Makes a text acceptable to Postgres: no U+0000, bounded length.
pub fn storable(text: &str) -> String {
    // Cut after replacing, for the replacement is longer than what it replaces.
    let mut stored = cut(text).replace('\0', "\u{fffd}");
    stored.truncate(cut(&stored).len());
    stored
}

/// As much of the text as may be kept.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_texts_are_bounded_and_without_nul() {
        let text = format!("a\0b{}", "ä".repeat(3000));

        let stored = storable(&text);

        assert!(stored.len() <= ERROR_BYTES_MAX);
        assert!(stored.starts_with("a\u{fffd}b"));
        assert!(!stored.contains('\0'));
    }

    #[test]
    fn a_lost_connection_passes_and_a_bad_value_does_not() {
        assert!(is_passing(&sqlx::Error::Io(
            std::io::ErrorKind::ConnectionReset.into()
        )));
        assert!(is_passing(&sqlx::Error::PoolTimedOut));
        assert!(!is_passing(&sqlx::Error::RowNotFound));
    }
}

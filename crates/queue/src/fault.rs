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

/// How a settlement came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettlementFault {
    /// There was no connection to begin on.
    #[error("no connection to settle on")]
    NotBegun(#[source] sqlx::Error),
    /// A statement or the COMMIT was refused, or its answer lost.
    #[error(transparent)]
    Failed(sqlx::Error),
    #[error("the settlement hung")]
    Hung,
}

impl SettlementFault {
    /// Whether the same settlement may succeed when it is tried again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotBegun(error) | Self::Failed(error) => is_passing(error),
            Self::Hung => true,
        }
    }

    /// Whether it may have failed by its size, so that halves of it are tried. A database that is
    /// away says nothing about that, however long it is.
    pub(crate) fn may_be_its_size(&self) -> bool {
        match self {
            // 57014: cancelled, by `statement_timeout`.
            Self::Failed(sqlx::Error::Database(error)) => error.code().as_deref() == Some("57014"),
            Self::NotBegun(_) | Self::Failed(_) => false,
            Self::Hung => true,
        }
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

    #[test]
    fn an_outage_says_nothing_about_the_size_of_a_settlement() {
        let away = SettlementFault::NotBegun(sqlx::Error::PoolTimedOut);
        let hung = SettlementFault::Hung;

        assert!(away.is_passing() && !away.may_be_its_size());
        assert!(hung.is_passing() && hung.may_be_its_size());
    }
}

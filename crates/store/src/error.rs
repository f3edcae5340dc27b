//! How a statement can fail, and whether it is worth trying again.

use std::error::Error as _;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The statement did not succeed. Ask [`is_transient`](Self::is_transient) what to do.
    #[error("could not {operation}")]
    Database {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },

    /// The schema could not be brought up to date. Someone must look at it.
    #[error("could not migrate the database")]
    Migration {
        #[source]
        source: sqlx::migrate::MigrateError,
    },

    /// A row contradicts the code. Trying again will not help.
    #[error("{table} holds a row this version cannot read: {detail}")]
    Inconsistent { table: &'static str, detail: String },
}

impl StoreError {
    /// Whether the same statement may succeed later: the connection broke, or the server was busy,
    /// stopping, or had to break a deadlock. Otherwise the data itself was refused.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_transient(source),
            Self::Migration { .. } | Self::Inconsistent { .. } => false,
        }
    }

    /// What the database said, without our own words around it: the answer to a caller whose data
    /// was refused.
    pub fn database_message(&self) -> Option<String> {
        let database = self
            .source()?
            .downcast_ref::<sqlx::Error>()?
            .as_database_error()?;
        Some(database.message().to_owned())
    }
}

/// Whether `error` says nothing about the data: see [`StoreError::is_transient`].
///
/// Class 08 is a broken connection, 40 a rolled-back transaction, 53 a lack of resources, 57 an
/// operator's intervention, such as a stopping server, 58 the system's failure.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            let is_class = ["08", "40", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class));
            // A standby that is being promoted; a transaction that idled for too long.
            is_class
                || matches!(code.as_ref(), "25006" | "25P03")
                || lacks_partition(database.as_ref())
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether a table is missing: the schema of this build was never brought in.
pub fn lacks_schema(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        let database = cause
            .downcast_ref::<sqlx::Error>()
            .and_then(sqlx::Error::as_database_error);
        database.is_some_and(|database| database.code().as_deref() == Some("42P01"))
    })
}

/// Whether a row found no partition: ours to make, not the submitter's fault.
fn lacks_partition(database: &dyn sqlx::error::DatabaseError) -> bool {
    database.code().as_deref() == Some("23514")
        && database.message().starts_with("no partition of relation")
}

/// Names what was being done when a statement failed; for `map_err`.
pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { operation, source }
}

/// A stored word that no variant has; for `ok_or_else`.
pub(crate) fn unknown_word(table: &'static str, word: &str) -> StoreError {
    StoreError::Inconsistent {
        table,
        detail: format!("unknown word {word:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_worth_another_try_and_bad_data_is_not() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);

        assert!(during("read")(sqlx::Error::Io(broken)).is_transient());
        assert!(during("read")(sqlx::Error::PoolTimedOut).is_transient());
        assert!(!during("read")(sqlx::Error::RowNotFound).is_transient());
    }
}

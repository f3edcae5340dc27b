//! Lines up the rows of a claim with the jobs that asked for them.
//!
//! A claim of hundreds of jobs is loaded with one statement per table; rows come back in any order,
//! and without those that are gone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use queue::Failure;
use store::{Connection, Store, StoreError};

/// Loads rows on a connection of the pool; an error becomes one that is tried again.
pub(crate) async fn with_connection<R>(
    store: &Store,
    load: impl AsyncFnOnce(&mut Connection) -> Result<R, StoreError>,
) -> Result<R, Failure> {
    let loaded = async {
        let mut reader = store.acquire().await?;
        load(&mut reader).await
    };
    loaded
        .await
        .map_err(|error: StoreError| Failure::from_error(&error))
}

/// One row per key, in the order of `keys`; `None` where there is none.
///
/// Shared, because apalis clones what it hands to a handler, and two jobs may ask for one row.
pub(crate) fn lined_up<K: Copy + Eq + Hash, R>(
    keys: &[K],
    rows: Vec<R>,
    key_of: impl Fn(&R) -> K,
) -> Vec<Option<Arc<R>>> {
    let found: HashMap<K, Arc<R>> = rows
        .into_iter()
        .map(|row| (key_of(&row), Arc::new(row)))
        .collect();
    keys.iter()
        .map(|key| found.get(key).map(Arc::clone))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_gets_its_row_or_none_in_its_own_order() {
        let rows = vec![(2, "two"), (1, "one")];

        let lined_up = lined_up(&[1, 3, 2, 1], rows, |row| row.0);

        let words: Vec<_> = lined_up
            .iter()
            .map(|row| row.as_deref().map(|row| row.1))
            .collect();
        assert_eq!(words, [Some("one"), None, Some("two"), Some("one")]);
    }
}

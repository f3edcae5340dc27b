//! Which rows of a group are fresh and which repeat another, by one kind of key.
//!
//! Repeats within the group are found here; the database is asked once for each key, in sorted
//! order, so that two transactions never wait for each other in a circle.

use std::collections::BTreeMap;

use store::keys::KeyClaim;
use uuid::Uuid;

/// Where a row stands after its keys have been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Fresh,
    /// Repeats a row that landed before this group.
    RepeatOf(Uuid),
    /// Repeats an earlier row of this group, by its place in it.
    RepeatOfPlace(usize),
}

/// The keys of the rows that are still fresh: the first row of each key in the group, and which
/// others repeat it.
pub(super) fn first_of_each<K: Ord>(
    keys: impl Iterator<Item = (usize, K)>,
    standings: &mut [Standing],
) -> BTreeMap<K, usize> {
    let mut firsts = BTreeMap::new();
    for (place, key) in keys {
        if standings.get(place) != Some(&Standing::Fresh) {
            continue;
        }
        let first = *firsts.entry(key).or_insert(place);
        if first != place {
            standings[place] = Standing::RepeatOfPlace(first);
        }
    }
    firsts
}

/// Notes which of the first rows repeat one that landed before: `claims` are the database's
/// answers, in the order of `firsts`.
pub(super) fn settle<K>(
    firsts: &BTreeMap<K, usize>,
    claims: &[KeyClaim],
    standings: &mut [Standing],
) {
    for (place, claim) in firsts.values().zip(claims) {
        if let KeyClaim::DuplicateOf(id) = claim {
            standings[*place] = Standing::RepeatOf(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_repeat_within_the_group_points_at_the_first() {
        let keys = ["b", "a", "b"];
        let mut standings = [Standing::Fresh; 3];

        let firsts = first_of_each(keys.into_iter().enumerate(), &mut standings);

        assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [("a", 1), ("b", 0)]);
        assert_eq!(
            standings,
            [Standing::Fresh, Standing::Fresh, Standing::RepeatOfPlace(0)]
        );
    }

    #[test]
    fn a_key_that_belongs_to_an_earlier_row_makes_a_repeat() {
        let keys = ["a", "b"];
        let mut standings = [Standing::Fresh; 2];
        let firsts = first_of_each(keys.into_iter().enumerate(), &mut standings);

        settle(
            &firsts,
            &[KeyClaim::Fresh, KeyClaim::DuplicateOf(id(99))],
            &mut standings,
        );

        assert_eq!(standings, [Standing::Fresh, Standing::RepeatOf(id(99))]);
    }

    #[test]
    fn a_row_that_is_a_repeat_already_claims_nothing() {
        let keys = ["a", "a"];
        let mut standings = [Standing::RepeatOf(id(7)), Standing::Fresh];

        let firsts = first_of_each(keys.into_iter().enumerate(), &mut standings);

        assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [("a", 1)]);
    }
}

//! Which side of a test of templates or channels a user is on.

use sha2::{Digest, Sha256};

use crate::{RuleId, UserId, Variant};

/// Chooses by the weights, always the same for one user of one action: whichever event it is, on
/// whichever node. Changing the weights moves users; changing nothing else of the rule does.
///
/// `None` where there is nothing to choose from.
pub(super) fn choose<'a>(
    variants: &'a [Variant],
    rule_id: RuleId,
    action: u16,
    user_id: &UserId,
) -> Option<&'a Variant> {
    let total: u64 = variants.iter().map(|it| u64::from(it.weight)).sum();
    if total == 0 {
        return variants.first();
    }
    let mut hash = Sha256::new();
    hash.update(rule_id.as_uuid().as_bytes());
    hash.update(action.to_be_bytes());
    hash.update(user_id.as_str().as_bytes());
    let digest = hash.finalize();
    let first = digest
        .iter()
        .take(8)
        .fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
    let mut point = first % total;
    variants.iter().find(|it| {
        let weight = u64::from(it.weight);
        let is_here = point < weight;
        point = point.saturating_sub(weight);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn side(name: &str, weight: u32) -> Variant {
        Variant {
            name: name.to_owned(),
            weight,
            template: None,
            channels: None,
        }
    }

    fn shares(variants: &[Variant], rule_id: RuleId) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for user in 0..10_000 {
            let user = UserId::from(format!("user-{user}"));
            let chosen = choose(variants, rule_id, 0, &user).unwrap();
            assert_eq!(Some(chosen), choose(variants, rule_id, 0, &user));
            *counts.entry(chosen.name.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn users_are_shared_out_by_weight_and_stay_where_they_are() {
        let rule_id = RuleId::from(Uuid::from_u128(7));
        let counts = shares(&[side("a", 1), side("none", 0), side("b", 3)], rule_id);

        assert_eq!(counts.get("none"), None);
        // A quarter of 10 000; eight standard deviations either way.
        assert!((2150..2850).contains(&counts["a"]), "{counts:?}");
        assert_eq!(counts["a"] + counts["b"], 10_000);
    }

    #[test]
    fn tests_of_two_rules_do_not_share_out_users_alike() {
        let sides = [side("a", 1), side("b", 1)];
        let alike = (0..10_000)
            .map(|user| UserId::from(format!("user-{user}")))
            .filter(|user| {
                let of = |rule: u128| choose(&sides, RuleId::from(Uuid::from_u128(rule)), 0, user);
                of(1).map(|it| &it.name) == of(2).map(|it| &it.name)
            })
            .count();
        assert!((4600..5400).contains(&alike), "{alike}");
    }

    #[test]
    fn sides_without_weight_leave_the_first() {
        let user = UserId::from("u");
        let rule_id = RuleId::from(Uuid::nil());
        assert_eq!(choose(&[], rule_id, 0, &user), None);
        let sides = [side("a", 0), side("b", 0)];
        assert_eq!(choose(&sides, rule_id, 0, &user), sides.first());
    }
}

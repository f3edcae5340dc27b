//! What holding data against a schema may cost, found before the schema is ever used.
//!
//! A few lines of schema can ask for more checks than there are atoms: ten references to what has
//! ten references, fifteen times. So the ways from the whole to each of its parts are counted, for
//! one value in data as deep as data can be, and the sum is bounded. Then all of it is at most so
//! much for every value of the data.

use super::graph::{self, Node, Refusal};
use serde_json::Value;

/// A regular expression, next to a look at a value's type. The slowest ones take microseconds for a
/// byte, so few of them may be held against one text.
pub(super) const PATTERN_WEIGHT: u64 = 250;

/// A look at all items of a list, whose own parts may be looked at the same way.
pub(super) const UNIQUE_WEIGHT: u64 = 20;

/// Most checks that one value of the data may cost.
const CHECKS_MAX: u64 = 2000;

/// Schemas that are held against the same value, each because of the one before.
const CHAIN_MAX: u32 = 32;

/// Schemas on the way from the whole data to its deepest part.
const PATH_MAX: u32 = 640;

/// Levels of data: as many as are read from JSON.
const DATA_LEVELS: usize = 128;

/// What a schema may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    /// Checks of one value at most.
    pub(super) checks: u64,
    /// Whether even the first problem is told only after others were gathered.
    pub(super) gathers: bool,
}

/// Counts what a schema may cost, and refuses one that could cost too much.
pub(super) fn measure(schema: &Value) -> Result<Work, Refusal> {
    let nodes = graph::read(schema)?;
    let whole = |detail: String| (String::new(), detail);
    let order = inner_first(&nodes).ok_or_else(|| {
        whole("refers to itself without going into the data, so it would never end".to_owned())
    })?;
    let again = looked_at_again(&nodes, &order);
    let mut checks_all = 0;
    let mut below = vec![Cost::default(); nodes.len()];
    for level in 0..DATA_LEVELS {
        let mut costs = vec![Cost::default(); nodes.len()];
        for &number in &order {
            let Some(node) = nodes.get(number) else {
                continue;
            };
            let times = if again.get(number) == Some(&true) {
                2
            } else {
                1
            };
            let cost = cost_of(node, level, &costs, &below, times);
            if let Some(slot) = costs.get_mut(number) {
                *slot = cost;
            }
        }
        let root = costs.first().copied().unwrap_or_default();
        checks_all = checks_all.max(root.checks);
        if root.checks > CHECKS_MAX {
            return Err(whole(format!(
                "could cost more than {CHECKS_MAX} checks of one value: it has too many \
                 alternatives and references within each other"
            )));
        }
        if level == 0 && costs.iter().any(|cost| cost.path > CHAIN_MAX) {
            let detail = format!("holds more than {CHAIN_MAX} schemas in a row against one value");
            return Err(whole(detail));
        }
        if root.path > PATH_MAX {
            let detail =
                format!("needs more than {PATH_MAX} schemas in a row for the deepest data");
            return Err(whole(detail));
        }
        if costs == below {
            break;
        }
        below = costs;
    }
    Ok(Work {
        checks: checks_all,
        gathers: nodes.iter().any(|node| node.gathers),
    })
}

/// What a schema costs, once, for data of some levels.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Cost {
    /// Checks of one value of the deepest level.
    checks: u64,
    /// Schemas in a row down to there.
    path: u32,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self {
            checks: self.checks.saturating_add(other.checks),
            path: self.path.max(other.path),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            checks: self.checks.max(other.checks),
            path: self.path.max(other.path),
        }
    }
}

/// `costs` are those of this level as far as they are known, `below` those of one level less.
fn cost_of(node: &Node, level: usize, costs: &[Cost], below: &[Cost], times: u64) -> Cost {
    let of = |costs: &[Cost], number: usize| costs.get(number).copied().unwrap_or_default();
    let mut cost = Cost {
        checks: if level == 0 { node.weight } else { 0 },
        path: 0,
    };
    for &number in &node.same {
        let mut same = of(costs, number);
        same.checks = same.checks.saturating_mul(times);
        cost = cost.and(same);
    }
    if level > 0 {
        let one = node.one_of_parts.iter().map(|&number| of(below, number));
        cost = cost.and(one.fold(Cost::default(), Cost::or));
        let all = node.all_of_parts.iter().map(|&number| of(below, number));
        let mut all = all.fold(Cost::default(), Cost::and);
        all.checks = all.checks.saturating_mul(times);
        cost = cost.and(all);
    }
    cost.path = cost.path.saturating_add(1);
    cost
}

/// The schemas, each after all that are held against the same value because of it; none if that
/// goes round in a circle.
fn inner_first(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut outers = vec![0_usize; nodes.len()];
    for &inner in nodes.iter().flat_map(|node| &node.same) {
        *outers.get_mut(inner)? += 1;
    }
    let is_outermost = |(number, outers): (usize, &usize)| (*outers == 0).then_some(number);
    let mut order: Vec<usize> = outers.iter().enumerate().filter_map(is_outermost).collect();
    let mut next = 0;
    while let Some(&number) = order.get(next) {
        next += 1;
        for &inner in &nodes.get(number)?.same {
            let left = outers.get_mut(inner)?;
            *left -= 1;
            if *left == 0 {
                order.push(inner);
            }
        }
    }
    order.reverse();
    (order.len() == nodes.len()).then_some(order)
}

/// The schemas that are asked twice, because an `unevaluated…` around them asks what they looked at.
fn looked_at_again(nodes: &[Node], order: &[usize]) -> Vec<bool> {
    let mut again: Vec<bool> = nodes.iter().map(|node| node.looks_again).collect();
    for &number in order.iter().rev() {
        if again.get(number) != Some(&true) {
            continue;
        }
        for &inner in nodes.get(number).into_iter().flat_map(|node| &node.same) {
            if let Some(slot) = again.get_mut(inner) {
                *slot = true;
            }
        }
    }
    again
}

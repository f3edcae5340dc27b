//! Cost: an upper bound of what an expression takes, found before it is evaluated.
//!
//! The bound follows the tree. Every value has [`Dimensions`]: how many items its largest
//! collection may have, and how much there is in it to copy or compare. A macro costs what its body
//! costs, times the items; what it makes may be as large as what its body makes, times the items.
//! So `xs.map(a, a + a)`, repeated, is seen to double, and refused.
//!
//! A unit is about ten nanoseconds of a release build, rounded up. `postrider bench rules` grows an
//! event until each of twelve slow expressions is refused: none that was accepted took longer than
//! 34 ms, on two cores at three quarters of their speed, after the 0.11 s that an event of 1 MiB takes to be
//! prepared, once.

use std::cell::Cell;

use cel::common::ast::operators;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use serde_json::Value;

use super::{Patterns, pattern_of};

/// What one expression may cost.
pub(super) const EXPRESSION_MAX: f64 = 5e6;

/// To evaluate one node.
const NODE: f64 = 20.0;

/// To copy one value: an object is a table of its own, with a text for each key.
const COPY: f64 = 40.0;

/// To call a function that looks at a text and answers something small.
const CALL: f64 = 100.0;

/// To begin one round of a macro.
const ROUND: f64 = 60.0;

/// To measure one value of the payload.
const MEASURE: f64 = 2.0;

/// Bytes of text that are worth as much as one value.
const TEXT_BYTES: f64 = 32.0;

/// Calls that make something small of what they are given.
const SMALL_CALLS: [&str; 25] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "bool",
    "timestamp",
    "duration",
    "type",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    operators::DIVIDE,
    operators::MODULO,
    operators::MULTIPLY,
    operators::NEGATE,
];

/// Names of types, which `type(x)` is compared with.
const TYPES: [&str; 11] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "google.protobuf.Timestamp",
];

/// How large a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dimensions {
    /// Of the largest list or object in it.
    items: f64,
    /// Values in it, with their texts: what copying and comparing take.
    weight: f64,
}

impl Dimensions {
    /// An event that any accepted expression can afford: 16 items, and a kilobyte or two.
    pub(super) const SMALL: Self = Self {
        items: 16.0,
        weight: 128.0,
    };

    const SCALAR: Self = Self {
        items: 0.0,
        weight: 1.0,
    };

    pub(super) fn of_text(text: &str) -> Self {
        Self {
            items: 0.0,
            weight: 1.0 + text.len() as f64 / TEXT_BYTES,
        }
    }

    /// Recursion ends with the value, which is at most 128 levels deep.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::SCALAR,
            Value::String(text) => Self::of_text(text),
            Value::Array(items) => items.iter().fold(Self::of_items(items.len()), |sum, item| {
                sum.and(Self::of(item))
            }),
            Value::Object(fields) => fields
                .iter()
                .fold(Self::of_items(fields.len()), |sum, (key, item)| {
                    sum.and(Self::of_text(key)).and(Self::of(item))
                }),
        }
    }

    fn of_items(count: usize) -> Self {
        Self {
            items: count as f64,
            weight: 1.0,
        }
    }

    /// Both in one value.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            items: self.items.max(other.items),
            weight: self.weight + other.weight,
        }
    }

    /// One or the other.
    fn or(self, other: Self) -> Self {
        Self {
            items: self.items.max(other.items),
            weight: self.weight.max(other.weight),
        }
    }
}

/// What an expression takes, and how large its answer may be.
#[derive(Debug, Clone, Copy)]
struct Bound<'e> {
    cost: f64,
    answer: Dimensions,
    /// The variable it is a part of, which need not be copied to be looked at.
    part_of: Option<&'e str>,
}

impl Bound<'_> {
    fn small(cost: f64) -> Self {
        Self {
            cost,
            answer: Dimensions::SCALAR,
            part_of: None,
        }
    }
}

/// How many values there are in `value`, with their texts.
pub(in crate::rule) fn weight_of(value: &Value) -> f64 {
    Dimensions::of(value).weight
}

/// What is known of an expression and the event that it is evaluated over.
struct Known<'k> {
    patterns: &'k Patterns,
    /// Where every part that is named is to be measured by itself.
    payload: Option<&'k Value>,
    /// What measuring has cost so far.
    measured: Cell<f64>,
}

/// Refuses an expression that names what there is not, or costs too much for an event so large.
pub(super) fn check(
    expression: &IdedExpr,
    event: Dimensions,
    patterns: &Patterns,
) -> Result<(), String> {
    let known = Known::of(patterns, None);
    let cost = bound(expression, &mut vec![("event", event)], &known)?.cost;
    if cost > EXPRESSION_MAX {
        return Err("could take too long, even for a small event".to_owned());
    }
    Ok(())
}

/// What an expression takes at most, with an event of these dimensions.
pub(super) fn estimate(expression: &IdedExpr, event: Dimensions, patterns: &Patterns) -> f64 {
    let known = Known::of(patterns, None);
    let found = bound(expression, &mut vec![("event", event)], &known);
    found.map_or(f64::INFINITY, |bound| bound.cost)
}

/// The same, where every part of the payload that is named is measured by itself; and what it cost
/// to measure them.
pub(super) fn estimate_closely(
    expression: &IdedExpr,
    event: Dimensions,
    patterns: &Patterns,
    payload: &Value,
) -> (f64, f64) {
    let known = Known::of(patterns, Some(payload));
    let found = bound(expression, &mut vec![("event", event)], &known);
    let cost = found.map_or(f64::INFINITY, |bound| bound.cost);
    (cost, known.measured.get())
}

impl<'k> Known<'k> {
    fn of(patterns: &'k Patterns, payload: Option<&'k Value>) -> Self {
        Self {
            patterns,
            payload,
            measured: Cell::new(0.0),
        }
    }

    /// Measures what a path such as `event.data.items` leads to.
    fn measure(&self, path: &IdedExpr) -> Option<Dimensions> {
        let payload = self.payload?;
        if self.measured.get() > EXPRESSION_MAX {
            return None;
        }
        let found = Dimensions::of(follow(path, payload)?);
        self.measured
            .set(self.measured.get() + MEASURE * found.weight);
        Some(found)
    }
}

type Scope<'e> = Vec<(&'e str, Dimensions)>;

fn bound<'e>(
    node: &'e IdedExpr,
    scope: &mut Scope<'e>,
    known: &Known<'_>,
) -> Result<Bound<'e>, String> {
    match &node.expr {
        Expr::Literal(literal) => Ok(Bound {
            answer: match literal {
                LiteralValue::String(text) => Dimensions::of_text(text.inner()),
                LiteralValue::Bytes(bytes) => Dimensions {
                    items: 0.0,
                    weight: 1.0 + bytes.inner().len() as f64 / TEXT_BYTES,
                },
                LiteralValue::Boolean(_)
                | LiteralValue::Double(_)
                | LiteralValue::Int(_)
                | LiteralValue::Null
                | LiteralValue::UInt(_) => Dimensions::SCALAR,
            },
            ..Bound::small(NODE)
        }),
        Expr::Ident(name) => {
            let variable = scope.iter().rev().find(|(variable, _)| variable == name);
            if let Some(&(variable, answer)) = variable {
                return Ok(Bound {
                    cost: NODE,
                    answer,
                    part_of: Some(variable),
                });
            }
            if TYPES.contains(&name.as_str()) {
                return Ok(Bound::small(NODE));
            }
            Err(format!("knows `event` and what macros name, not `{name}`"))
        }
        Expr::Select(select) => {
            let operand = bound(&select.operand, scope, known)?;
            let measured = known.measure(node);
            let copied = match operand.part_of {
                Some(_) => 0.0,
                None => COPY * operand.answer.weight,
            };
            Ok(Bound {
                cost: operand.cost + NODE + copied,
                answer: if select.test {
                    Dimensions::SCALAR
                } else {
                    measured.unwrap_or(operand.answer)
                },
                part_of: operand.part_of.filter(|_| !select.test),
            })
        }
        Expr::List(list) => {
            let mut sum = Bound {
                answer: Dimensions::of_items(list.elements.len()),
                ..Bound::small(NODE)
            };
            for element in &list.elements {
                add(&mut sum, bound(element, scope, known)?);
            }
            sum.cost += COPY * sum.answer.weight;
            Ok(sum)
        }
        Expr::Map(map) => {
            let mut sum = Bound {
                answer: Dimensions::of_items(map.entries.len()),
                ..Bound::small(NODE)
            };
            for entry in &map.entries {
                match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        add(&mut sum, bound(&entry.key, scope, known)?);
                        add(&mut sum, bound(&entry.value, scope, known)?);
                    }
                    EntryExpr::StructField(_) => return Err(no_messages()),
                }
            }
            sum.cost += COPY * sum.answer.weight;
            Ok(sum)
        }
        Expr::Call(call) => bound_call(call, scope, known),
        Expr::Comprehension(rounds) => bound_rounds(rounds, scope, known),
        Expr::Struct(_) | Expr::Unspecified => Err(no_messages()),
    }
}

fn no_messages() -> String {
    "must not make messages; there are only events".to_owned()
}

fn add(sum: &mut Bound<'_>, part: Bound<'_>) {
    sum.cost += part.cost;
    sum.answer = sum.answer.and(part.answer);
}

fn bound_call<'e>(
    call: &'e CallExpr,
    scope: &mut Scope<'e>,
    known: &Known<'_>,
) -> Result<Bound<'e>, String> {
    let mut cost = NODE;
    let mut weight = 0.0;
    let mut given = Vec::with_capacity(call.args.len() + 1);
    for argument in call.target.as_deref().into_iter().chain(&call.args) {
        let argument = bound(argument, scope, known)?;
        cost += argument.cost;
        weight += argument.answer.weight;
        given.push(argument);
    }
    let name = call.func_name.as_str();
    let bound = match (name, given.as_slice()) {
        (operators::CONDITIONAL, [_, then, otherwise]) => Bound {
            answer: then.answer.or(otherwise.answer),
            ..Bound::small(cost)
        },
        (
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE,
            _,
        ) => Bound::small(cost),
        (
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS,
            [left, right],
        ) => Bound::small(cost + 2.0 * left.answer.weight.min(right.answer.weight)),
        (operators::IN, _) => Bound::small(cost + weight),
        (operators::INDEX, [of, _]) => Bound {
            cost: cost + of.part_of.map_or(COPY * of.answer.weight, |_| 0.0),
            answer: of.answer,
            part_of: of.part_of,
        },
        (operators::ADD | operators::SUBSTRACT, [left, right]) => Bound {
            answer: Dimensions {
                items: left.answer.items + right.answer.items,
                weight,
            },
            ..Bound::small(cost + COPY * weight)
        },
        ("matches", [text, _]) => {
            let pattern = pattern_of(call).and_then(|source| known.patterns.get(&source));
            let searched = pattern.map_or(f64::INFINITY, |pattern| {
                pattern.cost(text.answer.weight * TEXT_BYTES)
            });
            Bound::small(cost + CALL + searched)
        }
        ("string" | "dyn", [text]) => Bound {
            answer: text.answer,
            ..Bound::small(cost + CALL + weight)
        },
        (name, _) if SMALL_CALLS.contains(&name) => Bound::small(cost + CALL + weight),
        _ => return Err(format!("has no function `{name}` with so many arguments")),
    };
    Ok(bound)
}

/// A macro: `has` is none, the others all become rounds over a list or the keys of an object.
fn bound_rounds<'e>(
    rounds: &'e ComprehensionExpr,
    scope: &mut Scope<'e>,
    known: &Known<'_>,
) -> Result<Bound<'e>, String> {
    let range = bound(&rounds.iter_range, scope, known)?;
    let init = bound(&rounds.accu_init, scope, known)?;
    let outer = scope.len();
    scope.push((
        &rounds.accu_var,
        Dimensions {
            weight: 0.0,
            ..Dimensions::SCALAR
        },
    ));
    scope.push((&rounds.iter_var, range.answer));
    let condition = bound(&rounds.loop_cond, scope, known)?;
    let step = bound(&rounds.loop_step, scope, known)?;
    let result = bound(&rounds.result, scope, known)?;
    scope.truncate(outer);

    let count = range.answer.items;
    let makes_list = matches!(&rounds.accu_init.expr, Expr::List(_));
    // A part of the item is copied into a list of one, and that into the answer: in all rounds
    // together no more than all items, twice.
    let gathers = makes_list && gathers_parts(&rounds.loop_step, &rounds.iter_var);
    let gathered = if gathers {
        2.0 * COPY * range.answer.weight
    } else {
        0.0
    };
    let answer = if makes_list {
        let weight = if gathers {
            range.answer.weight + count
        } else {
            count * (1.0 + step.answer.weight)
        };
        Dimensions {
            items: count.max(step.answer.items),
            weight: 1.0 + weight,
        }
    } else {
        Dimensions::SCALAR
    };
    let round = ROUND + condition.cost + (step.cost - gathered).max(0.0);
    let rounds_cost = count * round + gathered;
    let copied = COPY * (range.answer.weight + answer.weight);
    Ok(Bound {
        cost: range.cost + init.cost + rounds_cost + copied + result.cost + NODE,
        answer,
        part_of: None,
    })
}

/// Whether a step appends the item of the round, or a part of it.
fn gathers_parts(step: &IdedExpr, item: &str) -> bool {
    let Expr::Call(call) = &step.expr else {
        return false;
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::CONDITIONAL, [_, then, _]) => gathers_parts(then, item),
        (operators::ADD, [_, added]) => match &added.expr {
            Expr::List(list) => list.elements.iter().all(|element| is_part(element, item)),
            _ => false,
        },
        _ => false,
    }
}

fn is_part(expression: &IdedExpr, item: &str) -> bool {
    match &expression.expr {
        Expr::Ident(name) => name == item,
        Expr::Select(select) => select.test || is_part(&select.operand, item),
        _ => false,
    }
}

/// What a path such as `event.data.items` leads to.
fn follow<'v>(path: &IdedExpr, payload: &'v Value) -> Option<&'v Value> {
    let Expr::Select(select) = &path.expr else {
        return None;
    };
    match &select.operand.expr {
        Expr::Ident(name) if name == "event" => {
            matches!(select.field.as_str(), "data" | "payload").then_some(payload)
        }
        _ => follow(&select.operand, payload)?.get(&select.field),
    }
}

//! Expressions: CEL over `event`, for `when`, dynamic recipients and batch keys.
//!
//! The interpreter cannot be interrupted, so what runs is bounded before it starts. [`Expression`]
//! is refused where its source is long or deep; [`Scene`] holds one event and evaluates an
//! expression only if its [cost](cost), for what this event holds, fits a budget.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of the library have many variants, of which few are of interest here"
)]

mod compiler;
mod cost;
mod scene;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use cel::Program;
use cel::common::ast::operators;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use super::pattern::Pattern;
pub(super) use compiler::compile;
pub(super) use cost::weight_of;
pub use scene::Scene;

/// Longest source, in bytes.
pub(super) const SOURCE_BYTES_MAX: usize = 4096;

/// Patterns by their source.
type Patterns = HashMap<String, Pattern>;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    program: Program,
    /// What its `matches` name; they are literals, so they are compiled once.
    patterns: Arc<Patterns>,
    /// Whether it may ask for `event.payload`.
    names_payload: bool,
}

impl Expression {
    /// The event types it can hold for, if it says so itself: `event.type == "a" && …`.
    pub(super) fn event_types(&self) -> Option<Vec<String>> {
        types_of(self.program.expression())
    }
}

fn types_of(expression: &IdedExpr) -> Option<Vec<String>> {
    let Expr::Call(call) = &expression.expr else {
        return None;
    };
    let [left, right] = call.args.as_slice() else {
        return None;
    };
    match call.func_name.as_str() {
        operators::LOGICAL_AND => types_of(left).or_else(|| types_of(right)),
        // Both sides must say so.
        operators::LOGICAL_OR => {
            let mut types = types_of(left)?;
            types.extend(types_of(right)?);
            Some(types)
        }
        operators::EQUALS if is_event_type(left) => Some(vec![text_of(right)?]),
        operators::EQUALS if is_event_type(right) => Some(vec![text_of(left)?]),
        operators::IN if is_event_type(left) => match &right.expr {
            Expr::List(list) => list.elements.iter().map(text_of).collect(),
            _ => None,
        },
        _ => None,
    }
}

fn is_event_type(expression: &IdedExpr) -> bool {
    let Expr::Select(select) = &expression.expr else {
        return false;
    };
    !select.test
        && select.field == "type"
        && matches!(&select.operand.expr, Expr::Ident(name) if name == "event")
}

fn text_of(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

/// The pattern of a call of `matches`, which is its last argument.
fn pattern_of(call: &CallExpr) -> Option<String> {
    text_of(call.args.last()?)
}

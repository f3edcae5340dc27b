//! The template language: minijinja with our limits, filters and functions.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value,
    default_auto_escape_callback, escape_formatter,
};

use crate::{language, words, work};

/// The target of a text in which Slack reads markup.
pub(crate) const SLACK: &str = "slack";

/// Work one field may cost, in engine instructions. The longest template we ship needs under 300.
const FUEL: u64 = 50_000;

/// Values of a payload for which that much work is let be. One instruction can compare or search all
/// of them, so with more there are fewer instructions.
const VALUES_FULL_FUEL: usize = 10_000;

/// Work a field may cost whatever the payload is.
const FUEL_MIN: u64 = 1000;

/// The work a field may cost with a payload of so many values; `None` for the usual.
pub(crate) fn fuel_for(values: usize) -> Option<u64> {
    if values <= VALUES_FULL_FUEL {
        return None;
    }
    Some((FUEL * VALUES_FULL_FUEL as u64 / values as u64).max(FUEL_MIN))
}

/// How deep blocks may nest.
const RECURSION_MAX: usize = 32;

/// An environment without any text in it.
pub(crate) fn new() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // An error names what is undefined. It also holds the values around it, until `error::bare`.
    engine.set_debug(true);
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(RECURSION_MAX);
    engine.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some(SLACK) => AutoEscape::Custom(Cow::Borrowed(SLACK)),
        _ => default_auto_escape_callback(name),
    });
    engine.set_formatter(write_value);
    work::install(&mut engine);
    language::install(&mut engine);
    words::install(&mut engine);
    // A `{% if %}` on a line of its own leaves no empty line in a mail.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    engine.set_syntax(syntax.expect("the delimiters are the default ones"));
    engine
}

/// Writes a value the way the target asks for.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.is_none() && !matches!(state.auto_escape(), AutoEscape::Json) {
        // A word of Python's has no place in a sentence.
        return Ok(());
    }
    work::charge(state, value)?;
    let is_markup = matches!(state.auto_escape(), AutoEscape::Custom(_));
    if !is_markup || value.is_safe() {
        return match state.auto_escape() {
            AutoEscape::Custom(_) => write!(out, "{value}").map_err(Error::from),
            _ => escape_formatter(out, state, value),
        };
    }
    // What Slack asks to be replaced, and nothing else.
    let text = value.to_string();
    for part in text.split_inclusive(['&', '<', '>']) {
        let (plain, entity) = match part.char_indices().next_back() {
            Some((at, '&')) => (part.split_at(at).0, "&amp;"),
            Some((at, '<')) => (part.split_at(at).0, "&lt;"),
            Some((at, '>')) => (part.split_at(at).0, "&gt;"),
            _ => (part, ""),
        };
        out.write_str(plain)?;
        out.write_str(entity)?;
    }
    Ok(())
}

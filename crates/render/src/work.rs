//! The work a message may cost beyond its instructions: the bytes that filters read and write.
//!
//! One instruction can apply a filter to a whole payload. What the built-in filters take and give is
//! counted, and a text they make is bounded; `join` and `replace`, whose result can be far larger
//! than what they are given, are bounded while they write. `format` and `indent` have no use here
//! and no bound.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use crate::language::Speech;
use crate::vars::SPEECH;

/// Bytes that the filters of one message may read and write.
const WORK_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest text that a filter may make, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A value up to this many bytes is not counted: the instructions bound how many there are.
const SMALL_BYTES: usize = 256;

/// What an item of a list counts: more than it takes.
const ITEM_BYTES: usize = 32;

/// What is left for one message.
#[derive(Debug)]
pub(crate) struct Work(AtomicUsize);

impl Default for Work {
    fn default() -> Self {
        Self(AtomicUsize::new(WORK_BYTES_MAX))
    }
}

impl Work {
    fn take(&self, bytes: usize) -> Result<(), Error> {
        let left = self.0.load(Ordering::Relaxed);
        let left = left.checked_sub(bytes).ok_or_else(|| {
            let detail =
                format!("reads and writes more than {WORK_BYTES_MAX} bytes in its filters");
            Error::new(ErrorKind::OutOfFuel, detail)
        })?;
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }
}

/// Counts a value against the message's work, if it is not small.
pub(crate) fn charge(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let bytes = weigh(value);
    if bytes <= SMALL_BYTES {
        return Ok(());
    }
    let speech = state.lookup(SPEECH);
    match speech
        .as_ref()
        .and_then(|it| it.downcast_object_ref::<Speech>())
    {
        Some(speech) => speech.work().take(bytes),
        None => Ok(()),
    }
}

fn weigh(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.len(),
        None => value.len().unwrap_or(0).saturating_mul(ITEM_BYTES),
    }
}

/// Puts the bounds on an environment's filters, and takes away what cannot have any.
pub(crate) fn install(engine: &mut Environment<'static>) {
    let all = [
        ("batch", Value::from_function(filters::batch)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("chain", Value::from_function(filters::chain)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("groupby", Value::from_function(filters::groupby)),
        ("items", Value::from_function(filters::items)),
        ("lines", Value::from_function(filters::lines)),
        ("list", Value::from_function(filters::list)),
        ("lower", Value::from_function(filters::lower)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("reverse", Value::from_function(filters::reverse)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("slice", Value::from_function(filters::slice)),
        ("sort", Value::from_function(filters::sort)),
        ("split", Value::from_function(filters::split)),
        ("string", Value::from_function(filters::string)),
        ("sum", Value::from_function(filters::sum)),
        ("title", Value::from_function(filters::title)),
        ("tojson", Value::from_function(filters::tojson)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
        ("urlencode", Value::from_function(filters::urlencode)),
        ("zip", Value::from_function(filters::zip)),
    ];
    for (name, filter) in all {
        engine.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<Value>| {
            bounded(state, &filter, &args)
        });
    }
    engine.add_filter("join", join);
    engine.add_filter("map", map);
    engine.add_filter("replace", replace);
    for name in ["format", "indent", "pprint"] {
        engine.remove_filter(name);
    }
    for name in ["namespace", "debug"] {
        engine.remove_global(name);
    }
}

fn bounded(state: &mut State<'_, '_>, filter: &Value, args: &[Value]) -> Result<Value, Error> {
    for arg in args {
        charge(state, arg)?;
    }
    let made = filter.call(state, args)?;
    check_text(made.as_str().map_or(0, str::len))?;
    charge(state, &made)?;
    Ok(made)
}

/// Refuses a text of so many bytes before it is made.
pub(crate) fn check_text(bytes: usize) -> Result<(), Error> {
    if bytes <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("a filter makes a text of more than {TEXT_BYTES_MAX} bytes");
    Err(Error::new(ErrorKind::InvalidOperation, detail))
}

/// `join`, which gives up before it has written too much.
fn join(
    state: &mut State<'_, '_>,
    list: Value,
    separator: Option<Value>,
    attribute: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    charge(state, &list)?;
    let separator_bytes = separator.as_ref().map_or(0, weigh);
    let count = list.len().unwrap_or(0);
    check_text(separator_bytes.saturating_mul(count.saturating_sub(1)))?;
    let mut args = vec![list];
    args.extend(separator);
    args.extend(attribute);
    args.push(Value::from(kwargs));
    let join = Value::from_function(filters::join);
    bounded(state, &join, &args)
}

/// `replace`, which looks how much it would write before it does.
fn replace(state: &mut State<'_, '_>, text: Value, from: Value, to: Value) -> Result<Value, Error> {
    if let (Some(text), Some(from), Some(to)) = (text.as_str(), from.as_str(), to.as_str())
        && to.len() > from.len()
    {
        // An escaped replacement is at most six times as long.
        let times = text.matches(from).count();
        check_text(times.saturating_mul(to.len().saturating_mul(6)))?;
    }
    let replace = Value::from_function(filters::replace);
    bounded(state, &replace, &[text, from, to])
}

/// `map`, by attribute alone: a filter for every item would be counted as one instruction.
fn map(
    state: &mut State<'_, '_>,
    list: Value,
    filter: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    if filter.is_some() || !kwargs.has("attribute") {
        let detail = "`map` takes an attribute: write `map(attribute=\"name\")`";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    let map = Value::from_function(filters::map);
    bounded(state, &map, &[list, Value::from(kwargs)])
}

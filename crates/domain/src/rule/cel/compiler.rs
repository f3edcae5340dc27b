//! Compiles expressions, on a thread whose stack is large enough for the parser.
//!
//! The parser recurses, and running out of stack ends the process. So its input is bounded before
//! it is parsed, and it is parsed on a thread of its own.

use std::panic::catch_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread;

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::cost::{self, Dimensions};
use super::scene::ENVIRONMENT;
use super::{Expression, Patterns, SOURCE_BYTES_MAX, pattern_of};
use crate::rule::pattern::Pattern;

/// Brackets of all kinds in a source, wherever they close: the parser recurses on those that are
/// nested.
const BRACKETS_MAX: usize = 200;

/// Operators in a row, such as `!!!a` or `- - -1`; the parser recurses on them too.
const UNARY_MAX: usize = 50;

/// Nodes of an expression, those that macros add included.
const NODES_MAX: usize = 1000;

/// Levels of an expression. It is evaluated on stacks of 2 MiB; a debug build takes up to 50 KiB a
/// level, so half of that for so many.
const DEPTH_MAX: usize = 24;

/// Stack of the parsing thread, in bytes. The parser gives up after 96 levels, for which a debug
/// build takes 18 MiB; what is not used is never given by the system.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Expressions that wait to be parsed; whoever brings another waits.
const WAITING_MAX: usize = 16;

type Answer = Result<Expression, String>;

/// A source, and where to send what became of it.
struct Request(String, SyncSender<Answer>);

/// The way to the parsing thread; none if the system gave no thread.
static COMPILER: LazyLock<Option<SyncSender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = sync_channel(WAITING_MAX);
    let builder = thread::Builder::new()
        .name("rule-compiler".to_owned())
        .stack_size(STACK_BYTES);
    builder.spawn(move || serve(&requests)).ok()?;
    Some(sender)
});

/// Compiles `source`, or says what is wrong with it.
pub(in crate::rule) fn compile(source: &str) -> Answer {
    check_source(source)?;
    let unavailable = || "could not be compiled; try again".to_owned();
    let compiler = COMPILER.as_ref().ok_or_else(unavailable)?;
    let (sender, answer) = sync_channel(1);
    let request = Request(source.to_owned(), sender);
    compiler.send(request).map_err(|_gone| unavailable())?;
    answer.recv().map_err(|_gone| unavailable())?
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request(source, answer)) = requests.recv() {
        let compiled = catch_unwind(|| compile_here(source));
        let compiled = compiled.unwrap_or_else(|_panic| Err("cannot be read as CEL".to_owned()));
        // Nobody waits any more if the other side was dropped; there is nothing to do about it.
        drop(answer.send(compiled));
    }
}

/// What can be said of a source without reading it.
fn check_source(source: &str) -> Result<(), String> {
    if source.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("must have at most {SOURCE_BYTES_MAX} bytes"));
    }
    let is_bracket = |byte: &u8| matches!(byte, b'(' | b'[' | b'{' | b'?');
    if source.bytes().filter(|byte| is_bracket(byte)).count() > BRACKETS_MAX {
        let detail = format!("must have at most {BRACKETS_MAX} brackets and question marks");
        return Err(detail);
    }
    let mut in_a_row = 0;
    for byte in source.bytes() {
        match byte {
            b'!' | b'-' => in_a_row += 1,
            byte if byte.is_ascii_whitespace() => {}
            _ => in_a_row = 0,
        }
        if in_a_row > UNARY_MAX {
            return Err(format!("must have at most {UNARY_MAX} signs in a row"));
        }
    }
    Ok(())
}

fn compile_here(source: String) -> Answer {
    let program = ENVIRONMENT.compile(&source).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "cannot be read as CEL".to_owned(),
            |error| {
                let (line, column) = error.pos;
                let text = error.msg.lines().next().unwrap_or_default();
                format!("cannot be read as CEL at {line}:{column}: {text}")
            },
        )
    })?;
    let patterns = check_shape(&program)?;
    cost::check(program.expression(), Dimensions::SMALL, &patterns)?;
    Ok(Expression {
        names_payload: source.contains("payload"),
        source,
        program,
        patterns: Arc::new(patterns),
    })
}

/// Bounds the tree, and compiles the patterns in it.
fn check_shape(program: &Program) -> Result<Patterns, String> {
    let mut patterns = Patterns::new();
    let mut nodes = 0;
    let mut waiting = vec![(program.expression(), 1)];
    while let Some((node, depth)) = waiting.pop() {
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(format!("is too long: it has more than {NODES_MAX} parts"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("is nested deeper than {DEPTH_MAX} levels"));
        }
        if let Expr::Call(call) = &node.expr
            && call.func_name == "matches"
        {
            let Some(source) = pattern_of(call) else {
                return Err("must give `matches` its pattern as a text in quotes".to_owned());
            };
            let compiled = Pattern::compile(&source);
            let pattern =
                compiled.map_err(|detail| format!("the pattern of `matches` {detail}"))?;
            patterns.insert(source, pattern);
        }
        waiting.extend(children(node).map(|child| (child, depth + 1)));
    }
    Ok(patterns)
}

/// What stands directly below a node.
fn children(node: &IdedExpr) -> Box<dyn Iterator<Item = &IdedExpr> + '_> {
    match &node.expr {
        Expr::Call(call) => Box::new(call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Select(select) => Box::new(std::iter::once(&*select.operand)),
        Expr::List(list) => Box::new(list.elements.iter()),
        Expr::Comprehension(macro_) => Box::new(
            [
                &macro_.iter_range,
                &macro_.accu_init,
                &macro_.loop_cond,
                &macro_.loop_step,
                &macro_.result,
            ]
            .into_iter(),
        ),
        Expr::Map(map) => Box::new(map.entries.iter().flat_map(|entry| match &entry.expr {
            EntryExpr::StructField(_) => Vec::new(),
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        })),
        // Refused where the cost is found.
        Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {
            Box::new(std::iter::empty())
        }
    }
}

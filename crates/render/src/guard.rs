//! What a text may not say, so that no value in between can outgrow what went in.
//!
//! The engine counts instructions, not bytes, and one instruction may copy everything: `x ~ x`, said
//! forty times, would be a terabyte. Filters are bounded while they run (see [`work`](crate::work));
//! operators cannot be, so their growth is bounded here, when a text is compiled:
//!
//! - Nothing carries a value from one round of a loop to the next, or into a deeper call: there are
//!   no macros, imports, recursive loops or namespaces.
//! - So a value is at most the sum of the variables and literals of the tag it is made in. Those are
//!   added up through `set`, `with` and `for`, and the sum is bounded.
//! - `*` repeats a text, so it is for what is written as a number.
//! - A text that is captured within a loop is short.
//!
//! The sum is one of *shares*: a payload is one. What is refused is far from what a message needs.

use std::collections::HashMap;

use crate::depth::{self, Depth, LEVELS_MAX};
use crate::lexer::{Piece, Token, pieces};

/// A variable that is not made in the text itself: at most the payload.
const SHARE: u64 = 16;

/// Bytes of a literal that count one sixteenth of a share.
const LITERAL_BYTES: u64 = 8192;

/// Most shares of one value.
const VALUE_SHARES_MAX: u64 = 32 * SHARE;

/// Most shares that are made and kept under a name, all values of a text together.
const KEPT_SHARES_MAX: u64 = 128 * SHARE;

/// Most bytes of plain text in loops whose output is captured: a loop has some ten thousand rounds.
const CAPTURED_BYTES_MAX: usize = 2048;

/// Tags that a text has no use for.
const REFUSED: [&str; 7] = [
    "macro", "call", "import", "from", "include", "extends", "block",
];

const KEYWORDS: [&str; 13] = [
    "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
];

/// Filters whose result is a number, whatever they are given.
const NUMERIC: [&str; 7] = ["int", "float", "length", "count", "abs", "round", "sum"];

/// Filters whose result depends on the reader's zone.
const IN_ZONE: [&str; 3] = ["date", "time", "datetime"];

/// Refuses a text that could make too much of too little; the error names the line. Answers whether
/// the text depends on who reads it.
pub(crate) fn check(text: &str) -> Result<bool, (usize, String)> {
    let mut guard = Guard::default();
    let mut is_personal = false;
    for (line, piece) in pieces(text) {
        let (tokens, checked) = match piece {
            Piece::Plain(plain) => {
                guard.plain(plain);
                continue;
            }
            Piece::Expression(tokens) => {
                let checked = depth::expression(&tokens);
                let checked = checked.and_then(|()| guard.expression(&tokens).map(|_made| ()));
                (tokens, checked)
            }
            Piece::Statement(tokens) => {
                let checked = guard.statement(&tokens);
                (tokens, checked)
            }
        };
        checked.map_err(|detail| (line, detail))?;
        is_personal |= tokens.contains(&Token::Name("user"));
        is_personal |= tokens.windows(2).any(|pair| match pair {
            [Token::Sign("|"), Token::Name(filter)] => IN_ZONE.contains(filter),
            // A filter that another is to try goes by its name.
            [Token::Sign("("), Token::Text(text)] => {
                IN_ZONE.contains(&text.trim_matches(['"', '\'']))
            }
            _ => false,
        });
    }
    guard.finish().map_err(|detail| (1, detail))?;
    Ok(is_personal)
}

/// What a value may hold.
#[derive(Debug, Default, Clone, Copy)]
struct Made {
    /// In sixteenths of a share.
    shares: u64,
    /// Levels beyond those of the payload.
    levels: usize,
}

#[derive(Debug, Default)]
struct Guard<'a> {
    /// What a name that is made in the text may hold.
    made: HashMap<&'a str, Made>,
    kept: u64,
    depth: Depth<'a>,
    /// The blocks that are open, outermost first: `set`, `filter` and `for`.
    open: Vec<&'a str>,
    captured_bytes: usize,
}

impl<'a> Guard<'a> {
    fn plain(&mut self, text: &str) {
        let capture = self.open.iter().position(|it| *it != "for");
        let is_repeated =
            capture.is_some_and(|at| self.open.iter().skip(at).any(|it| *it == "for"));
        if is_repeated {
            self.captured_bytes += text.len();
        }
    }

    fn finish(&self) -> Result<(), String> {
        if self.captured_bytes > CAPTURED_BYTES_MAX {
            return Err(format!(
                "has more than {CAPTURED_BYTES_MAX} bytes of text in loops within `set` or `filter`"
            ));
        }
        Ok(())
    }

    fn statement(&mut self, tokens: &[Token<'a>]) -> Result<(), String> {
        self.depth.statement(tokens)?;
        let Some((&Token::Name(keyword), inner)) = tokens.split_first() else {
            return Ok(());
        };
        if REFUSED.contains(&keyword) {
            return Err(format!("`{keyword}` is not part of the language"));
        }
        match keyword {
            "for" => {
                if inner.contains(&Token::Name("recursive")) {
                    return Err("a recursive loop is not part of the language".to_owned());
                }
                let at = inner.iter().position(|it| *it == Token::Name("in"));
                let (targets, source) = inner.split_at(at.unwrap_or(inner.len()));
                self.keep(targets, source)?;
                // Its items are also reached as `loop.previtem`.
                self.keep(&[Token::Name("loop")], source)?;
                self.open.push("for");
            }
            "with" => self.keep(inner, inner)?,
            "set" => {
                let decides = |it: &Token<'_>| matches!(it, Token::Sign("=" | "|"));
                let at = inner.iter().position(decides);
                let (targets, source) = inner.split_at(at.unwrap_or(inner.len()));
                if depth::is_capture(inner) {
                    // What is captured is bounded as it is written.
                    let made = self.expression(source)?;
                    let shares = SHARE.max(made.shares);
                    self.make(targets, Made { shares, ..made });
                    self.open.push("set");
                } else {
                    self.keep(targets, source)?;
                }
            }
            "filter" => {
                self.expression(inner)?;
                self.open.push("filter");
            }
            "endfor" | "endset" | "endfilter" => {
                let _ = self.open.pop();
            }
            _ => {
                self.expression(inner)?;
            }
        }
        Ok(())
    }

    /// Every name among `targets` may hold what `source` makes.
    fn keep(&mut self, targets: &[Token<'a>], source: &[Token<'a>]) -> Result<(), String> {
        let made = self.expression(source)?;
        if grows(source) {
            self.kept += made.shares;
        }
        if self.kept > KEPT_SHARES_MAX {
            return Err("makes too much of its variables".to_owned());
        }
        self.make(targets, made);
        Ok(())
    }

    fn make(&mut self, targets: &[Token<'a>], value: Made) {
        for target in targets {
            if let Token::Name(name) = target {
                let made = self.made.entry(name).or_default();
                made.shares = made.shares.max(value.shares);
                made.levels = made.levels.max(value.levels);
            }
        }
    }

    /// The most that an expression can make: all that it names.
    fn expression(&self, tokens: &[Token<'a>]) -> Result<Made, String> {
        let mut shares = 0;
        let mut levels = 0;
        for (index, token) in tokens.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|it| tokens.get(it));
            match token {
                Token::Name(name) => {
                    let is_name_of_value = !KEYWORDS.contains(name)
                        && !matches!(before, Some(Token::Sign("." | "|") | Token::Name("is")));
                    if is_name_of_value {
                        let made = self.made.get(name);
                        shares += made.map_or(SHARE, |it| it.shares);
                        levels = levels.max(made.map_or(0, |it| it.levels));
                    }
                }
                Token::Text(text) => shares += 1 + text.len() as u64 / LITERAL_BYTES,
                Token::Sign("*") => check_product(tokens, index)?,
                Token::Sign("**") if !is_number_before(tokens, index) => {
                    return Err(product("**"));
                }
                Token::Number | Token::Sign(_) => {}
            }
        }
        if grows(tokens) && shares > VALUE_SHARES_MAX {
            return Err("makes too much of its variables".to_owned());
        }
        levels += depth::levels(tokens);
        if levels > LEVELS_MAX {
            return Err(format!(
                "makes lists within lists, more than {LEVELS_MAX} levels"
            ));
        }
        Ok(Made { shares, levels })
    }
}

/// Whether a value may be more than each of those it is made of.
fn grows(tokens: &[Token<'_>]) -> bool {
    let grow = |token: &Token<'_>| matches!(token, Token::Sign("~" | "+" | "[" | "{" | ","));
    tokens.iter().any(grow)
}

/// `*` repeats a text as often as a number says, so both sides must be written as numbers.
fn check_product(tokens: &[Token<'_>], at: usize) -> Result<(), String> {
    let is_number = is_number_before(tokens, at) && is_number_after(tokens, at + 1);
    if is_number { Ok(()) } else { Err(product("*")) }
}

fn product(sign: &str) -> String {
    format!("`{sign}` needs numbers on both sides: write `a | float {sign} (b | float)`")
}

/// Whether what ends before `at` is a number: one, or what comes out of a filter that makes one.
fn is_number_before(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(last) = at.checked_sub(1) else {
        return false;
    };
    match tokens.get(last) {
        Some(Token::Number) => true,
        Some(Token::Name(name)) => match last.checked_sub(1).and_then(|it| tokens.get(it)) {
            Some(Token::Sign("|")) => NUMERIC.contains(name),
            Some(Token::Sign(".")) => is_loop_number(tokens, last),
            _ => false,
        },
        Some(Token::Sign(")")) => {
            let Some(open) = opening(tokens, last) else {
                return false;
            };
            let is_filter = open > 0 && is_number_before(tokens, open);
            is_filter || is_number_group(tokens.get(open + 1..last).unwrap_or_default())
        }
        _ => false,
    }
}

/// Whether what begins at `at` is a number. A filter binds closer than `*`.
fn is_number_after(tokens: &[Token<'_>], at: usize) -> bool {
    match tokens.get(at) {
        Some(Token::Number) => true,
        Some(Token::Sign("-")) => is_number_after(tokens, at + 1),
        Some(Token::Sign("(")) => {
            let closing = (at..tokens.len()).find(|&it| {
                tokens.get(it) == Some(&Token::Sign(")")) && opening(tokens, it) == Some(at)
            });
            closing.is_some_and(|end| {
                is_number_group(tokens.get(at + 1..end).unwrap_or_default())
                    && tokens.get(end + 1) != Some(&Token::Sign("|"))
            })
        }
        Some(Token::Name("loop")) => is_loop_number(tokens, at + 2),
        Some(Token::Name(_)) => {
            // A name, its attributes, and a filter that makes a number of it.
            let is_path = |token: &Token<'_>| matches!(token, Token::Name(_) | Token::Sign("."));
            let rest = tokens.get(at..).unwrap_or_default();
            let path = rest.iter().take_while(|token| is_path(token)).count();
            match (rest.get(path), rest.get(path + 1), rest.get(path + 2)) {
                (Some(Token::Sign("|")), Some(Token::Name(name)), next) => {
                    NUMERIC.contains(name) && !matches!(next, Some(Token::Sign("|" | "(")))
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether the last operand of a parenthesis is a number, so that the whole is one or an error.
fn is_number_group(tokens: &[Token<'_>]) -> bool {
    let chooses = |token: &Token<'_>| {
        matches!(
            token,
            Token::Name("if" | "or" | "and") | Token::Sign("~" | "," | "[" | "{") | Token::Text(_)
        )
    };
    !tokens.iter().any(chooses) && is_number_before(tokens, tokens.len())
}

/// `loop.index` and its like, whose last name is at `at`.
fn is_loop_number(tokens: &[Token<'_>], at: usize) -> bool {
    let path = at.checked_sub(2).and_then(|from| tokens.get(from..=at));
    matches!(
        path,
        Some([
            Token::Name("loop"),
            Token::Sign("."),
            Token::Name("index" | "index0" | "revindex" | "revindex0" | "length" | "depth"),
        ])
    )
}

/// Where the parenthesis was opened that closes at `close`.
fn opening(tokens: &[Token<'_>], close: usize) -> Option<usize> {
    let mut depth = 0;
    (0..=close).rev().find(|&at| {
        match tokens.get(at) {
            Some(Token::Sign(")")) => depth += 1,
            Some(Token::Sign("(")) => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let (line, detail) = check(text).expect_err(text);
        format!("{line}: {detail}")
    }

    #[test]
    fn what_messages_say_is_let_through() {
        for text in [
            "{{ a ~ ' ' ~ b }} {{ a | default('x') | upper }} {# {{ * #}",
            "{% for label, value in [('Order', a | default), ('Side', b)] if value %}{{ value }}{% endfor %}",
            "{% set name = first ~ ' ' ~ last %}{% set both = name ~ name %}{{ both }}",
            "{{ 2 * 3 }} {{ a | float * 2 }} {{ a.b | int * (c | float) }} {{ loop.index * 10 }}",
            "{{ (a | float + b | float) * -2 }} {{ a | round(2) * loop.index0 }} {{ 2 ** 8 }}",
            "{{ {'a': {'b': 1}} }} {{ '}}' }} {{ \"it's\" }} {% raw %}{{ a * ' {% endraw %}",
            "{% set x %}{% for i in items %}- {{ i }}{% endfor %}{% endset %}{{ x }}",
            "{%- if a == 1 and b != 2 -%} x {%+ endif %}{{ 1.5e3 * 2 }}",
            "a * b {not a tag} {",
        ] {
            assert_eq!(check(text), Ok(false), "{text}");
        }
        assert_eq!(check(&"{{ a ~ b ~ c ~ d }}\n".repeat(1000)), Ok(false));
    }

    #[test]
    fn a_text_that_depends_on_its_reader_is_known() {
        for text in [
            "{{ t | date }}",
            "{% if user.id %}",
            "{{ f(a|datetime(style='long')) }}",
            "{{ t | try('date') }}",
        ] {
            assert_eq!(check(text), Ok(true), "{text}");
        }
        for text in ["{{ date }} {{ time | number }}", "user | date"] {
            assert_eq!(check(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn what_doubles_is_refused_with_its_line() {
        let doubling = "{% set x = x ~ x %}\n".repeat(40);
        assert_eq!(refusal(&doubling), "6: makes too much of its variables");
        for text in [
            "{% set x = [x, x] %}".repeat(40),
            "{% set x = {'a': x, 'b': x} %}".repeat(40),
            "{% set x = x + x %}".repeat(40),
            "{% with x = x ~ x %}".repeat(40),
            "{% for x in [x, x] %}".repeat(40),
            "{% for a in b %}{% set x = loop.previtem ~ loop.previtem %}{% for b in [x] %}"
                .repeat(40),
            "{% set a = x %}{% set b = a ~ a %}{% set x = b ~ b %}".repeat(20),
            format!("{{{{ {}x }}}}", "x ~ ".repeat(32)),
            "{% set a = x ~ x ~ x ~ x %}"
                .repeat(100)
                .replace("a =", "abcd ="),
        ] {
            let refusal = refusal(&text);
            assert!(
                refusal.ends_with("too much of its variables"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn a_product_of_what_may_be_a_text_is_refused() {
        for text in [
            "{{ 'x' * 1000000000 }}",
            "{{ a * 3 }}",
            "{{ 3 * a }}",
            "{{ a | float * b }}",
            "{{ [1] * 1000 }}",
            "{{ 3 * (a if b else c | float) }}",
            "{{ 3 * (a | float) | string }}",
            "{{ (a ~ b | int) * 3 }}",
            "{{ 3 * loop.previtem }}",
            "{{ f(*a) }}",
            "{{ 3 * a | int | string }}",
        ] {
            assert!(refusal(text).contains("needs numbers"), "{text}");
        }
    }

    #[test]
    fn what_would_carry_a_value_on_is_refused() {
        for text in [
            "{% macro f(x) %}{% endmacro %}",
            "{% include 'x' %}",
            "{%- import 'x' as y %}",
            "{% from 'x' import y %}",
            "{% extends 'x' %}",
            "{% block x %}{% endblock %}",
            "{% call f() %}{% endcall %}",
            "{% for x in y recursive %}{% endfor %}",
        ] {
            assert!(
                refusal(text).ends_with("is not part of the language"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_text_in_a_captured_loop_is_refused() {
        let long = "x".repeat(3000);
        for (open, close) in [("set x", "endset"), ("filter upper", "endfilter")] {
            let text =
                format!("{{% {open} %}}{{% for a in b %}}{long}{{% endfor %}}{{% {close} %}}");
            assert!(refusal(&text).contains("bytes of text in loops"), "{open}");
        }
        let outside =
            format!("{{% for a in b %}}{long}{{% endfor %}}{{% set x %}}{long}{{% endset %}}");
        assert_eq!(check(&outside), Ok(false));
    }
}

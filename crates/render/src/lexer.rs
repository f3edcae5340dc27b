//! Cuts a text into plain parts and tags, and tags into tokens, exactly where the engine does.
//!
//! What [`guard`](crate::guard) and [`depth`](crate::depth) know of a text they know from here, so
//! nothing may hide: where the engine sees a tag, the same one is seen here.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Name(&'a str),
    Number,
    /// A literal text, with its quotes.
    Text(&'a str),
    Sign(&'a str),
}

/// One part of a text. A comment is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// What is written as it stands.
    Plain(&'a str),
    /// `{{ … }}`
    Expression(Vec<Token<'a>>),
    /// `{% … %}`
    Statement(Vec<Token<'a>>),
}

/// The pieces of a text, each with the line that it begins in.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = (usize, Piece<'_>)> {
    let mut rest = text;
    let mut line = 1;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (piece, after) = next_piece(rest);
            let began = line;
            let passed = rest.split_at(rest.len() - after.len()).0;
            line += passed.bytes().filter(|byte| *byte == b'\n').count();
            rest = after;
            if let Some(piece) = piece {
                return Some((began, piece));
            }
        }
        None
    })
}

/// What a text begins with, unless it is a comment, and what follows it.
fn next_piece(text: &str) -> (Option<Piece<'_>>, &str) {
    let (plain, tag) = text.split_at(find_start(text));
    if !plain.is_empty() {
        return (Some(Piece::Plain(plain)), tag);
    }
    let (mark, inner) = tag.split_at(2);
    if mark == "{#" {
        return (None, inner.split_once("#}").map_or("", |(_, after)| after));
    }
    // A sign that trims the space before the tag.
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    if mark == "{{" {
        let (tokens, after) = tokenize(inner, "}}");
        return (Some(Piece::Expression(tokens)), after);
    }
    let (tokens, after) = tokenize(inner, "%}");
    if tokens == [Token::Name("raw")] {
        let (raw, after) = split_raw(after);
        return (Some(Piece::Plain(raw)), after);
    }
    (Some(Piece::Statement(tokens)), after)
}

/// Where the first tag begins, or the end of the text.
fn find_start(text: &str) -> usize {
    let pairs = text.as_bytes().windows(2);
    let start = pairs
        .enumerate()
        .find(|(_, pair)| matches!(pair, [b'{', b'{' | b'%' | b'#']));
    start.map_or(text.len(), |(at, _)| at)
}

/// The tokens up to `end`, and what follows it. A brace within brackets ends nothing.
fn tokenize<'a>(text: &'a str, end: &str) -> (Vec<Token<'a>>, &'a str) {
    let mut tokens = Vec::new();
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let ended = rest
            .strip_prefix(end)
            .or_else(|| rest.strip_prefix(['-', '+'])?.strip_prefix(end));
        if let Some(after) = ended.filter(|_| depth == 0) {
            return (tokens, after);
        }
        let Some(first) = rest.chars().next() else {
            return (tokens, "");
        };
        let length = match first {
            '"' | '\'' => {
                let length = text_length(rest, first);
                tokens.push(Token::Text(rest.split_at(length).0));
                length
            }
            c if c.is_ascii_digit() => {
                let length = while_chars(rest, |c| c.is_ascii_alphanumeric() || c == '_');
                tokens.push(Token::Number);
                fraction(rest, length)
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = while_chars(rest, |c| c.is_alphanumeric() || c == '_');
                tokens.push(Token::Name(rest.split_at(length).0));
                length
            }
            c => {
                let pairs = ["**", "//", "==", "!=", "<=", ">="];
                let pair = pairs.iter().any(|pair| rest.starts_with(pair));
                let length = if pair { 2 } else { c.len_utf8() };
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                tokens.push(Token::Sign(rest.split_at(length).0));
                length
            }
        };
        rest = rest.split_at(length).1;
    }
}

fn while_chars(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// The length of a number with the digits after its point.
fn fraction(text: &str, length: usize) -> usize {
    let digits = text
        .get(length..)
        .and_then(|rest| rest.strip_prefix('.'))
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    digits.map_or(length, |digits| {
        length + 1 + while_chars(digits, |c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The length of a literal with its quotes.
fn text_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What stands before `{% endraw %}`, and what after it. Only one sign trims, and only ASCII is
/// space here, as for the engine.
fn split_raw(text: &str) -> (&str, &str) {
    for (at, _) in text.match_indices("{%") {
        let (before, tag) = text.split_at(at);
        if let Some(after) = after_endraw(tag) {
            return (before, after);
        }
    }
    (text, "")
}

fn after_endraw(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let rest = inner.trim_ascii_start().strip_prefix("endraw")?;
    let rest = rest.trim_ascii_start();
    rest.strip_prefix(['-', '+'])
        .unwrap_or(rest)
        .strip_prefix("%}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_the_engine_cuts_it() {
        let text = "a {b} {{- x.y }}\n{# {{ z }} #}{% if not c -%}\n{{ '}}' ~ {'d': 1} }}";
        let name = Token::Name;
        let sign = Token::Sign;

        let pieces: Vec<_> = pieces(text).collect();

        assert_eq!(
            pieces,
            [
                (1, Piece::Plain("a {b} ")),
                (1, Piece::Expression(vec![name("x"), sign("."), name("y")])),
                (1, Piece::Plain("\n")),
                (
                    2,
                    Piece::Statement(vec![name("if"), name("not"), name("c")])
                ),
                (2, Piece::Plain("\n")),
                (
                    3,
                    Piece::Expression(vec![
                        Token::Text("'}}'"),
                        sign("~"),
                        sign("{"),
                        Token::Text("'d'"),
                        sign(":"),
                        Token::Number,
                        sign("}"),
                    ])
                ),
            ]
        );
    }

    #[test]
    fn a_raw_part_ends_where_it_does_for_the_engine() {
        let tag = |text: &str| {
            let is_tag = |(_, piece): &(usize, Piece<'_>)| matches!(piece, Piece::Expression(_));
            let tag = pieces(text).find(is_tag);
            tag.map(|(_, piece)| format!("{piece:?}"))
        };
        let b = tag("{{ b }}");
        for end in ["{% endraw %}", "{%-endraw+%}", "{%+\n endraw -%}"] {
            let text = format!("{{% raw %}}{{{{ a }}}}{end}{{{{ b }}}}");
            assert_eq!(tag(&text), b, "{end}");
        }
        // None of these ends it: what looks like a comment after it is plain, and hides nothing.
        for other in [
            "{%--endraw%}",
            "{%\u{a0}endraw %}",
            "{% endraw --%}",
            "{% endrawn %}",
        ] {
            let text = format!("{{% raw %}}{other}{{# {{% endraw %}}{{{{ b }}}} #}}");
            assert_eq!(tag(&text), b, "{other}");
        }
    }
}

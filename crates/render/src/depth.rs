//! How deep a text may nest, and a value that it makes.
//!
//! The engine's parser, its compiler, and what lets go of both recurse on a text, and running out of
//! stack ends the process. It counts brackets and blocks itself, but neither operators nor `elif`;
//! so all of them are counted here, in the source, before it sees any of it. A value of lists within
//! lists is written and let go of the same way, so its levels are counted, too.
//!
//! The bounds are for a stack of 2 MiB of which others have used half: unoptimised, a bracket takes
//! 20 KiB of it, a block 9 KiB, an `elif` or a level of a value 2.5 KiB, an operator 2 KiB.

use crate::lexer::Token;

/// Brackets within each other.
const BRACKETS_MAX: usize = 16;

/// Operators, attributes, filters, tests, calls and subscripts of one item of an expression, what is
/// in its brackets included. The items of a list are counted each for itself.
const OPERATORS_MAX: usize = 200;

/// Blocks within each other.
const BLOCKS_MAX: usize = 30;

/// The `elif`s of all blocks that are open.
const ELIFS_MAX: usize = 100;

/// Levels of a value beyond those of the payload.
pub(crate) const LEVELS_MAX: usize = 100;

const BLOCKS: [&str; 5] = ["for", "if", "with", "filter", "autoescape"];

/// The blocks that are open.
#[derive(Debug, Default)]
pub(crate) struct Depth<'a> {
    open: Vec<Block<'a>>,
}

#[derive(Debug)]
struct Block<'a> {
    keyword: &'a str,
    elifs: usize,
}

impl<'a> Depth<'a> {
    /// Counts a `{% … %}` in.
    pub(crate) fn statement(&mut self, tokens: &[Token<'a>]) -> Result<(), String> {
        expression(tokens)?;
        let Some((&Token::Name(keyword), inner)) = tokens.split_first() else {
            return Ok(());
        };
        let is_block = BLOCKS.contains(&keyword) || keyword == "set" && is_capture(inner);
        if is_block {
            self.open.push(Block { keyword, elifs: 0 });
        }
        if let Some(block) = self.open.last_mut() {
            if keyword == "elif" {
                block.elifs += 1;
            }
            if keyword.strip_prefix("end") == Some(block.keyword) {
                self.open.pop();
            }
        }
        if self.open.len() > BLOCKS_MAX {
            return Err(format!(
                "has more than {BLOCKS_MAX} blocks within each other"
            ));
        }
        let elifs: usize = self.open.iter().map(|block| block.elifs).sum();
        if elifs > ELIFS_MAX {
            return Err(format!(
                "has more than {ELIFS_MAX} times `elif` in its open blocks"
            ));
        }
        Ok(())
    }
}

/// Bounds a tag.
pub(crate) fn expression(tokens: &[Token<'_>]) -> Result<(), String> {
    let (brackets, operators) = weigh(tokens, is_operator);
    if brackets > BRACKETS_MAX {
        return Err(format!(
            "has more than {BRACKETS_MAX} brackets within each other"
        ));
    }
    if operators > OPERATORS_MAX {
        return Err(format!(
            "has more than {OPERATORS_MAX} operators, attributes, filters and calls in one expression"
        ));
    }
    Ok(())
}

/// Levels that a value may have beyond those of what it is made of.
pub(crate) fn levels(tokens: &[Token<'_>]) -> usize {
    weigh(tokens, |token| {
        matches!(token, Token::Sign("[" | "{" | "(" | "|" | "+"))
    })
    .1
}

/// Whether what follows `set` is a name alone, or one with filters: what is to be captured.
pub(crate) fn is_capture(tokens: &[Token<'_>]) -> bool {
    let decides = |token: &&Token<'_>| matches!(token, Token::Sign("=" | "|"));
    tokens.iter().find(decides) != Some(&Token::Sign("="))
}

fn is_operator(token: &Token<'_>) -> bool {
    match token {
        Token::Sign(sign) => !matches!(*sign, ")" | "]" | "}" | "," | ":"),
        Token::Name(name) => matches!(*name, "and" | "or" | "not" | "in" | "is" | "if" | "else"),
        Token::Number | Token::Text(_) => false,
    }
}

/// The deepest bracket, and the most of what `counts` in one item: what is before a comma or a
/// colon does not hold what is after it.
fn weigh(tokens: &[Token<'_>], counts: impl Fn(&Token<'_>) -> bool) -> (usize, usize) {
    let mut open = Vec::new();
    let mut deepest = 0;
    // Of the bracket that is open: the most that an item had, and what this one has.
    let (mut most, mut here) = (0_usize, 0_usize);
    for token in tokens {
        here += usize::from(counts(token));
        match token {
            Token::Sign("(" | "[" | "{") => {
                open.push((most, here));
                deepest = deepest.max(open.len());
                (most, here) = (0, 0);
            }
            Token::Sign(")" | "]" | "}") => {
                if let Some((most_around, here_around)) = open.pop() {
                    (most, here) = (most_around, here_around + most.max(here));
                }
            }
            Token::Sign("," | ":") => (most, here) = (most.max(here), 0),
            _ => {}
        }
    }
    // What is not closed is refused by the engine, but not before it has gone down.
    let around: usize = open.iter().map(|(_, here)| here).sum();
    let most_around = open.iter().map(|(most, _)| *most).max().unwrap_or_default();
    (deepest, most_around.max(around + most.max(here)))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use serde_json::json;

    use super::*;
    use crate::{Template, TemplateBody, TemplateIssue};

    /// What the runtime gives its threads.
    const STACK_BYTES: usize = 2 * 1024 * 1024;

    /// Compiles and renders a text where it would end the process if it went too deep.
    fn issues(text: &str) -> Vec<TemplateIssue> {
        let body = TemplateBody::parse(json!({
            "name": "deep",
            "channels": {"sms": {"body": text}},
            "samples": [{"s": "a", "l": [[1]]}],
        }));
        let body = body.unwrap();
        let deep = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || match Template::compile(&body) {
                Ok(template) => template.check(),
                Err(issues) => issues,
            });
        deep.unwrap().join().unwrap()
    }

    fn refusal(text: &str) -> String {
        let issues = issues(text);
        let first = issues
            .first()
            .unwrap_or_else(|| panic!("{text} is let through"));
        assert_eq!(first.pointer, "/channels/sms/body", "{text}");
        assert_eq!(first.line, Some(1), "{text}");
        first.detail.clone()
    }

    /// What is repeated in a `{{ … }}`, what is before and after it, and how many operators it is.
    const CHAINS: [(&str, &str, &str, usize); 21] = [
        ("", "-", "1", 1),
        ("1", "+1", "", 1),
        ("1", "-s", "", 1),
        ("1", "**1", "", 1),
        ("1", "~1", "", 1),
        ("1", "//1", "", 1),
        ("1", "<1", "", 1),
        ("1", " and 1", "", 1),
        ("s", " and s", "", 1),
        ("s", " or s", "", 1),
        ("s", " is defined", "", 1),
        ("s", " is not defined", "", 2),
        ("", "not ", "1", 1),
        ("", "1 if 0 else ", "1", 2),
        ("1", " if 1", "", 1),
        ("s", ".a", "", 1),
        ("s", "|upper", "", 1),
        ("s", "|default(1)", "", 2),
        ("l", "[0]", "", 1),
        ("s", "()", "", 1),
        ("s", "[0:1]", "", 1),
    ];

    #[test]
    fn a_chain_of_operators_is_bounded() {
        for (before, link, after, operators) in CHAINS {
            let text = |operators_all: usize| {
                let links = link.repeat(operators_all / operators);
                format!("{{{{ {before}{links}{after} }}}}")
            };
            let refused = "has more than 200 operators";
            assert!(
                refusal(&text(2 * OPERATORS_MAX)).starts_with(refused),
                "{link}"
            );
            assert!(
                refusal(&text(100_000 / link.len().max(2))).starts_with(refused),
                "{link}"
            );
            let known = |issue: &TemplateIssue| {
                [
                    "undefined value",
                    "invalid operation",
                    "makes lists within",
                    "makes too much",
                ]
                .iter()
                .any(|it| issue.detail.starts_with(it))
            };
            let issues = issues(&text(OPERATORS_MAX));
            assert!(issues.iter().all(known), "{link}: {issues:?}");
        }
    }

    #[test]
    fn a_chain_that_fits_is_rendered() {
        for (text, links) in [
            (["{{ ", "-", "1 }}"], OPERATORS_MAX),
            (["{{ 1", "**1", " }}"], OPERATORS_MAX),
            (["{{ s", " and s", " }}"], 30),
            (["{{ s", " is not defined", " }}"], OPERATORS_MAX / 2),
            (["{{ s", "|upper", " }}"], LEVELS_MAX),
            (["{% set s", "|upper", " %}x{% endset %}"], LEVELS_MAX),
            (["{{ ", "1 if 0 else ", "1 }}"], OPERATORS_MAX / 2),
        ] {
            let [before, link, after] = text;
            let text = format!("{before}{}{after}", link.repeat(links));
            assert_eq!(issues(&text), [], "{text}");
        }
    }

    #[test]
    fn brackets_are_bounded() {
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("not (", "1", ")"),
            ("1|default(", "1", ")"),
            ("either(", "s", ")"),
            ("l[0 and ", "0", "]"),
        ] {
            let text = |levels| {
                format!(
                    "{{{{ {}{inner}{} }}}}",
                    open.repeat(levels),
                    close.repeat(levels)
                )
            };
            assert_eq!(issues(&text(BRACKETS_MAX)), [], "{open}");
            for levels in [BRACKETS_MAX + 1, 2 * BRACKETS_MAX, 10_000] {
                let refused = "has more than 16 brackets within each other";
                assert_eq!(refusal(&text(levels)), refused, "{open}");
            }
        }
        let targets = format!("{{% set {}a{} = 1 %}}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(
            refusal(&targets),
            "has more than 16 brackets within each other"
        );
        let open = format!("{{{{ {}", "l[-1][1+(".repeat(5000));
        assert_eq!(
            refusal(&open),
            "has more than 16 brackets within each other"
        );
    }

    #[test]
    fn blocks_are_bounded() {
        for (open, close) in [
            ("{% if s %}", "{% endif %}"),
            ("{% for x in l %}", "{% endfor %}"),
            ("{% with %}", "{% endwith %}"),
            ("{% filter upper %}", "{% endfilter %}"),
            ("{% set x | trim %}", "{% endset %}"),
            ("{% set x %}", "{% endset %}"),
            ("{% autoescape true %}", "{% endautoescape %}"),
            ("{% if 0 %}{% else %}", "{% endif %}"),
        ] {
            let text = |levels| format!("{}x{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(issues(&text(BLOCKS_MAX)), [], "{open}");
            for levels in [BLOCKS_MAX + 1, 2 * BLOCKS_MAX, 3000] {
                let refused = "has more than 30 blocks within each other";
                assert_eq!(refusal(&text(levels)), refused, "{open}");
            }
            let one_by_one = format!("{open}x{close}").repeat(500);
            assert_eq!(issues(&one_by_one), [], "{open}");
        }
    }

    #[test]
    fn alternatives_are_bounded() {
        let text = |elifs| format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(elifs));
        assert_eq!(issues(&text(ELIFS_MAX)), []);
        assert_eq!(issues(&text(ELIFS_MAX).repeat(10)), []);
        for elifs in [ELIFS_MAX + 1, 2 * ELIFS_MAX, 5000] {
            let refused = "has more than 100 times `elif` in its open blocks";
            assert_eq!(refusal(&text(elifs)), refused);
        }
        let nested = "{% if 0 %}{% elif 1 %}{% elif 1 %}{% elif 1 %}{% elif 1 %}".repeat(28);
        assert_eq!(
            refusal(&nested),
            "has more than 100 times `elif` in its open blocks"
        );
    }

    #[test]
    fn all_bounds_at_once_fit_the_stack() {
        let deep = format!(
            "{}{}{}{{{{ {}{}1{}{} }}}}{}",
            "{% if s %}".repeat(BLOCKS_MAX - 1),
            "{% if 0 %}",
            "{% elif s %}".repeat(ELIFS_MAX),
            "not (".repeat(BRACKETS_MAX),
            "not ".repeat(OPERATORS_MAX - 2 * BRACKETS_MAX),
            "",
            ")".repeat(BRACKETS_MAX),
            "{% endif %}".repeat(BLOCKS_MAX),
        );
        assert_eq!(issues(&deep), []);
    }

    #[test]
    fn lists_within_lists_are_bounded() {
        for (tag, levels) in [
            ("{% set x = [[[[[[[[[[x]]]]]]]]]] %}", 10),
            ("{% set x = {1: {1: x}} %}", 2),
            ("{% set x = x|batch(1)|batch(1) %}", 4),
            ("{% set x = x[0:][0:] %}", 2),
            ("{% set x = x|slice(1) %}", 2),
        ] {
            let text = |count: usize| {
                format!(
                    "{{% set x = l %}}{}{{{{ x }}}}{{{{ x|tojson }}}}",
                    tag.repeat(count)
                )
            };
            assert_eq!(issues(&text(LEVELS_MAX / levels - 1)), [], "{tag}");
            for count in [2 * LEVELS_MAX / levels, 2000] {
                let refusal = refusal(&text(count));
                let refused = [
                    "makes lists within lists",
                    "makes too much of its variables",
                ];
                assert!(
                    refused.iter().any(|it| refusal.starts_with(it)),
                    "{tag}: {refusal}"
                );
            }
        }
    }

    #[test]
    fn what_messages_say_is_far_from_the_bounds() {
        let row = "('Order', data.order.id | default('-') | upper, data.order.total | float * 2),";
        let table = format!(
            "{{% for name, value in [{}] %}}{{{{ name }}}}{{% endfor %}}",
            row.repeat(10)
        );
        let choice = "{% if s == 'a' or s == 'b' and not (s in ['c', 'd']) %}x{% endif %}";
        for text in [table, choice.repeat(200), "{{ s }}\n".repeat(5000)] {
            assert_eq!(crate::guard::check(&text), Ok(false));
        }
    }
}

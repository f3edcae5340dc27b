//! Words for what may be missing: the filters that let one sentence read well with and without a
//! value.
//!
//! A payload is what somebody else's system sends. Strictness finds a template's own mistakes; a
//! notice of a failed payment must still go out when its amount is absent, null or nonsense. So a
//! template says where that may be:
//!
//! - `x | try("money", currency)`: what the filter makes of `x`; `x` as it is if the filter refuses
//!   it; nothing if it is missing.
//! - `x | phrase(" for …", "otherwise")`: the words with the value in the place of `…`, or else the
//!   others. A list is joined by spaces, without what is missing of it.
//! - `either(a, b)`: the first that is there.
//! - `{"Order": order_id, …} | facts`: a line, or in HTML a row of a table, for each that is there.
//! - `x | link`: the address, if it is one for a browser, else nothing.
//!
//! Missing is what is undefined, null, empty, or no text, number or truth at all: an object has no
//! place in a sentence.

use std::fmt::Write;

use minijinja::value::{Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, HtmlEscape, State, Value};

use crate::work;

/// Where a phrase puts its value.
const GAP: &str = "…";

/// Longest address that is shown as a link, in bytes: what browsers have long agreed on.
const LINK_BYTES_MAX: usize = 2048;

/// Adds the words to a template's engine.
pub(crate) fn install(engine: &mut Environment<'static>) {
    engine.add_filter("try", attempt);
    engine.add_filter("phrase", phrase);
    engine.add_filter("facts", facts);
    engine.add_filter("link", link);
    engine.add_function("either", either);
}

fn attempt(
    state: &mut State<'_, '_>,
    value: &Value,
    filter: &str,
    options: Rest<Value>,
) -> Result<Value, Error> {
    let Some(value) = said(value) else {
        return Ok(Value::from(""));
    };
    let mut arguments = vec![value.clone()];
    arguments.extend(options.0);
    match state.apply_filter(filter, &arguments) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnknownFilter | ErrorKind::OutOfFuel
            ) =>
        {
            Err(error)
        }
        shown => Ok(shown.unwrap_or(value)),
    }
}

fn phrase(
    state: &State<'_, '_>,
    value: &Value,
    words: &str,
    otherwise: Option<&str>,
) -> Result<String, Error> {
    let Some((before, after)) = words.split_once(GAP) else {
        let detail = format!("phrase: `{GAP}` says where the value goes, and is missing");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    };
    let Some(text) = text(state, value)? else {
        return Ok(otherwise.unwrap_or_default().to_owned());
    };
    // A Russian date ends with the stop of its `г.`, and so may a name or an Arabic currency, before
    // a mark of direction: it ends the sentence too.
    let is_mark = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}');
    let after = match after.strip_prefix('.') {
        Some(rest) if text.trim_end_matches(is_mark).ends_with('.') => rest,
        _ => after,
    };
    work::check_text(words.len() + text.len())?;
    Ok(format!("{before}{text}{after}"))
}

fn either(values: Rest<Value>) -> Value {
    let found = values.0.iter().find_map(said);
    found.unwrap_or_else(|| Value::from(""))
}

fn link(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if is_link(text) => value.clone(),
        _ => Value::from(""),
    }
}

/// Whether a browser opens it, and it cannot end the mark-up around it: Slack writes `<link|words>`.
fn is_link(text: &str) -> bool {
    let opens = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>|\"".contains(c);
    opens && text.len() <= LINK_BYTES_MAX && text.chars().all(is_plain)
}

fn facts(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Map {
        let detail = "facts: takes an object of labels and values";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    let mut rows = Vec::new();
    let mut bytes = 0;
    for label in value.try_iter()? {
        if let Some(text) = text(state, &value.get_item(&label)?)? {
            let label = label.to_string();
            // Escaped, a text is at most six times as long.
            bytes += 6 * (label.len() + text.len());
            work::check_text(bytes)?;
            rows.push((label, text));
        }
    }
    if !matches!(state.auto_escape(), AutoEscape::Html) {
        let lines: Vec<_> = rows
            .iter()
            .map(|(l, text)| format!("{l}: {text}"))
            .collect();
        return Ok(Value::from(lines.join("\n")));
    }
    if rows.is_empty() {
        return Ok(Value::from(""));
    }
    // Mail programs know `align`, and few of them the logical sides of a style sheet.
    let is_rtl = state
        .lookup("dir")
        .is_some_and(|dir| dir.as_str() == Some("rtl"));
    let side = if is_rtl { "right" } else { "left" };
    let mut html = String::from("<table>\n");
    for (label, text) in &rows {
        let (label, text) = (HtmlEscape(label), HtmlEscape(text));
        // A code within Arabic is read on its own: its hyphens and digits keep their order.
        let row = if is_rtl {
            format_args!("<tr><th align=\"{side}\">{label}</th><td><bdi>{text}</bdi></td></tr>\n")
        } else {
            format_args!("<tr><th align=\"{side}\">{label}</th><td>{text}</td></tr>\n")
        };
        html.write_fmt(row)?;
    }
    html.push_str("</table>");
    Ok(Value::from_safe_string(html))
}

/// A value with a place in a sentence.
fn said(value: &Value) -> Option<Value> {
    match value.kind() {
        ValueKind::Number | ValueKind::Bool => Some(value.clone()),
        ValueKind::String => value
            .as_str()
            .is_some_and(|text| !text.trim().is_empty())
            .then(|| value.clone()),
        _ => None,
    }
}

/// The text of a value, or of those in a list. What is copied counts as work of the message.
fn text(state: &State<'_, '_>, value: &Value) -> Result<Option<String>, Error> {
    work::charge(state, value)?;
    if value.kind() != ValueKind::Seq {
        return Ok(said(value).map(|value| value.to_string()));
    }
    let mut all = String::new();
    for item in value.try_iter()? {
        let Some(item) = said(&item) else { continue };
        work::charge(state, &item)?;
        if !all.is_empty() {
            all.push(' ');
        }
        write!(all, "{item}")?;
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;
    use serde_json::json;

    use super::*;
    use crate::engine;

    fn shown(target: &str, text: &str) -> Result<String, Error> {
        let mut engine = engine::new();
        engine.add_template_owned(target.to_owned(), text.to_owned())?;
        let payload = json!({
            "n": 5, "zero": 0, "word": "a b", "odd": {"x": [1]}, "blank": " ", "none": null,
            "list": ["x", null, 2, [3]], "page": "https://example.com/?a=1&b=2", "dir": "rtl",
            "script": "javascript:alert(1)", "label": "https://example.com|bank.example",
        });
        engine
            .get_template(target)?
            .render(Value::from(Serde(&payload)))
    }

    fn text_of(text: &str) -> String {
        shown("x.txt", text).unwrap()
    }

    #[test]
    fn a_filter_is_tried_and_what_it_refuses_is_shown_as_it_is() {
        assert_eq!(text_of("{{ word | try('upper') }}"), "A B");
        assert_eq!(text_of("{{ word | try('replace', ' ', '-') }}"), "a-b");
        assert_eq!(text_of("{{ word | try('round') }}"), "a b");
        assert_eq!(text_of("[{{ missing | try('upper') }}]"), "[]");
        assert_eq!(
            text_of("[{{ odd | try('upper') }}{{ none | try('upper') }}]"),
            "[]"
        );
        assert_eq!(text_of("{{ word | try('replace', ' ', missing) }}"), "a b");
    }

    #[test]
    fn a_filter_that_is_none_is_a_mistake_of_the_template() {
        let error = shown("x.txt", "{{ word | try('uper') }}").unwrap_err();

        assert_eq!(error.kind(), ErrorKind::UnknownFilter);
    }

    #[test]
    fn a_phrase_is_left_out_where_there_is_nothing_to_say() {
        assert_eq!(text_of("a{{ n | phrase(' for …!') }}"), "a for 5!");
        assert_eq!(text_of("a{{ zero | phrase(' for …') }}"), "a for 0");
        for missing in ["missing", "none", "blank", "odd", "''", "[none, odd]"] {
            assert_eq!(
                text_of(&format!("a{{{{ {missing} | phrase(' …') }}}}")),
                "a"
            );
            let other = format!("{{{{ {missing} | phrase('…', 'other') }}}}");
            assert_eq!(text_of(&other), "other");
        }
        assert_eq!(
            text_of("{{ [n, missing, word] | phrase('(…)') }}"),
            "(5 a b)"
        );
        assert_eq!(text_of("{{ list | phrase('…') }}"), "x 2");
        assert_eq!(text_of("{{ 'Inc.' | phrase('To ….') }}"), "To Inc.");
        assert!(shown("x.txt", "{{ n | phrase(' for') }}").is_err());
    }

    #[test]
    fn the_first_that_is_there_is_taken() {
        assert_eq!(text_of("{{ either(missing, none, odd, n, word) }}"), "5");
        assert_eq!(text_of("[{{ either(missing, blank) }}]"), "[]");
    }

    #[test]
    fn facts_are_lines_of_a_text_and_rows_of_a_table() {
        let template = "{{ {'Sum': n, 'No': missing, 'Odd': odd, '<b>': '<a&b>'} | facts }}";

        assert_eq!(text_of(template), "Sum: 5\n<b>: <a&b>");
        assert_eq!(
            shown("x.html", template).unwrap(),
            "<table>\n<tr><th align=\"right\">Sum</th><td><bdi>5</bdi></td></tr>\n\
             <tr><th align=\"right\">&lt;b&gt;</th><td><bdi>&lt;a&amp;b&gt;</bdi></td></tr>\n</table>"
        );
        assert_eq!(
            shown("x.html", "[{{ {'No': missing} | facts }}]").unwrap(),
            "[]"
        );
    }

    #[test]
    fn a_phrase_is_escaped_like_any_text() {
        let html = shown("x.html", "{{ '<a>' | phrase('of …') }}").unwrap();

        assert_eq!(html, "of &lt;a&gt;");
    }

    #[test]
    fn only_the_address_of_a_page_is_a_link() {
        assert_eq!(text_of("{{ page | link }}"), "https://example.com/?a=1&b=2");
        for other in ["script", "label", "n", "missing", "word"] {
            assert_eq!(
                text_of(&format!("[{{{{ {other} | link }}}}]")),
                "[]",
                "{other}"
            );
        }
    }
}

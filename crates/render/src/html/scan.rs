//! Looks over HTML before a parser does, so that no page costs more than a mail is worth.
//!
//! A parser's tree can be far larger and deeper than its text: an element left open is inside every
//! later one, and an open `<b>` is made again in every later paragraph. Tags are told apart as the
//! HTML standard's tokenizer does, so that what is counted here is what a parser sees; of how they
//! nest, only what keeps the count from being too small.

/// Most tags of one mail. A mail of the length at which mail programs cut it has some thousands.
const TAGS_MAX: usize = 10_000;

/// How deep elements may be nested: some parsers walk a page by recursion.
const DEPTH_MAX: usize = 200;

/// How many elements may be closed by the end of another: each may come back in every later one.
const LEFT_OPEN_MAX: usize = 20;

/// Most bytes of styles times tags: every rule is held against every element, and may be written
/// into it.
const STYLE_WORK_MAX: usize = 16 * 1024 * 1024;

const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// Elements that need no end tag.
const SELF_ENDING: [&str; 11] = [
    "p", "li", "td", "th", "tr", "tbody", "thead", "tfoot", "dt", "dd", "option",
];

/// Elements whose content a parser reads by rules of its own. No mail program shows them.
const REFUSED: [&str; 15] = [
    "script",
    "iframe",
    "textarea",
    "xmp",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "select",
    "svg",
    "math",
    "template",
    "frameset",
    "object",
    "applet",
];

/// What there is in a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) is_page: bool,
    pub(crate) has_styles: bool,
}

/// Refuses what would cost too much. `styles` are the bytes of styles that come from elsewhere.
pub(crate) fn survey(html: &str, styles: usize) -> Result<Survey, String> {
    let mut survey = Survey::default();
    let mut open: Vec<String> = Vec::new();
    let (mut tags, mut left_open, mut style_bytes) = (0_usize, 0_usize, styles);
    let mut scanner = Scanner { rest: html };
    while let Some(tag) = scanner.next_tag() {
        if tag.is_end {
            if let Some(at) = open.iter().rposition(|it| *it == tag.name) {
                let above = open.drain(at..).skip(1);
                left_open += above.filter(|it| !is_any(&SELF_ENDING, it)).count();
            }
        } else {
            tags += 1;
            if is_any(&REFUSED, &tag.name) {
                return Err(format!("must have no `{}`, which no mail shows", tag.name));
            }
            if tag.name == "html" {
                survey.is_page = true;
            } else if tag.name == "style" || tag.name == "title" {
                let text = scanner.raw_text(&tag.name);
                if tag.name == "style" {
                    survey.has_styles = true;
                    style_bytes += text.len();
                }
                continue;
            }
            if !is_any(&VOID, &tag.name) {
                while open.last().is_some_and(|top| ends(top, &tag.name)) {
                    open.pop();
                }
                open.push(tag.name);
            }
        }
        if tags > TAGS_MAX {
            return Err(format!("has more than {TAGS_MAX} tags"));
        }
        if open.len() > DEPTH_MAX {
            return Err(format!("is nested deeper than {DEPTH_MAX} elements"));
        }
        if left_open > LEFT_OPEN_MAX {
            return Err(format!(
                "has more than {LEFT_OPEN_MAX} elements without an end tag"
            ));
        }
        if style_bytes * tags > STYLE_WORK_MAX {
            return Err("has too many styles for so many elements".to_owned());
        }
    }
    Ok(survey)
}

/// Gives every element the style that `style_of` has for its name. One with a style of its own keeps
/// that alone.
pub(crate) fn with_styles<'a>(html: &str, style_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut styled = String::with_capacity(html.len() * 2);
    let mut copied = 0;
    let mut scanner = Scanner { rest: html };
    while let Some(tag) = scanner.next_tag() {
        if tag.is_end {
            continue;
        }
        if tag.name == "title" {
            scanner.raw_text("title");
        }
        let has_own = tag.attributes.to_ascii_lowercase().contains("style");
        let Some(style) = style_of(&tag.name).filter(|_| !has_own) else {
            continue;
        };
        let at = html.len() - tag.after_name.len();
        styled.push_str(html.get(copied..at).unwrap_or_default());
        styled.push_str(" style=\"");
        styled.push_str(style);
        styled.push('"');
        copied = at;
    }
    styled.push_str(html.get(copied..).unwrap_or_default());
    styled
}

/// Whether `top`, being open, ends where `next` begins.
fn ends(top: &str, next: &str) -> bool {
    match next {
        "p" | "li" => top == next,
        "td" | "th" => matches!(top, "td" | "th"),
        "tr" => matches!(top, "td" | "th" | "tr"),
        "dt" | "dd" => matches!(top, "dt" | "dd"),
        _ => false,
    }
}

fn is_any(list: &[&str], name: &str) -> bool {
    list.contains(&name)
}

struct Tag<'a> {
    /// In lower case.
    name: String,
    is_end: bool,
    /// What stands between the name and the end.
    attributes: &'a str,
    /// What follows the name.
    after_name: &'a str,
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn next_tag(&mut self) -> Option<Tag<'a>> {
        loop {
            let (_, after) = self.rest.split_once('<')?;
            self.rest = after;
            if let Some(comment) = after.strip_prefix("!--") {
                self.rest = after_comment(comment);
                continue;
            }
            let (is_end, after) = match after.strip_prefix('/') {
                Some(after) => (true, after),
                None => (false, after),
            };
            if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let ends_name = |c: char| c.is_ascii_whitespace() || c == '/' || c == '>';
                let length = after.find(ends_name).unwrap_or(after.len());
                let (name, attributes) = after.split_at(length);
                self.rest = after_attributes(attributes);
                return Some(Tag {
                    name: name.to_ascii_lowercase(),
                    is_end,
                    attributes: attributes.split_at(attributes.len() - self.rest.len()).0,
                    after_name: attributes,
                });
            }
            // A declaration or a mistake: a comment up to the next `>`. A lone `<` is a text.
            if is_end || after.starts_with(['!', '?']) {
                self.rest = after.split_once('>').map_or("", |(_, rest)| rest);
            }
        }
    }

    /// Takes the text up to the end tag `name`; there are no tags in it.
    fn raw_text(&mut self, name: &str) -> &'a str {
        let text = self.rest;
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| rest.find("</")) {
            let at = from + found;
            let tag = text.get(at + 2..at + 2 + name.len());
            if tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name)) {
                let (raw, rest) = text.split_at(at);
                self.rest = rest.split_once('>').map_or("", |(_, rest)| rest);
                return raw;
            }
            from = at + 2;
        }
        self.rest = "";
        text
    }
}

fn after_comment(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('>').or_else(|| text.strip_prefix("->")) {
        return rest;
    }
    let ends = ["-->", "--!>"].map(|end| text.split_once(end).map(|(_, rest)| rest));
    // Of both, the end that leaves more.
    let rest = ends.into_iter().flatten().max_by_key(|rest| rest.len());
    rest.unwrap_or("")
}

/// What follows the `>` of a tag; one within quotes is none.
fn after_attributes(text: &str) -> &str {
    enum At {
        /// Between attributes.
        Space,
        Name,
        /// After a name and a space: an equals sign may still come.
        AfterName,
        /// After the equals sign.
        BeforeValue,
        Value,
        Quoted(char),
    }
    let mut at = At::Space;
    for (index, c) in text.char_indices() {
        at = match (at, c) {
            (At::Quoted(quote), c) if c != quote => At::Quoted(quote),
            (At::Quoted(_), _) => At::Space,
            (_, '>') => return text.split_at(index + 1).1,
            (At::Name | At::AfterName, '=') => At::BeforeValue,
            (At::Name | At::AfterName, c) if c.is_ascii_whitespace() => At::AfterName,
            (At::Space | At::Value, c) if c.is_ascii_whitespace() => At::Space,
            (At::Name | At::AfterName | At::Space, '/') => At::Space,
            (At::BeforeValue, c) if c.is_ascii_whitespace() => At::BeforeValue,
            (At::BeforeValue, '"' | '\'') => At::Quoted(c),
            (At::BeforeValue | At::Value, _) => At::Value,
            (At::Space | At::Name | At::AfterName, _) => At::Name,
        };
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(html: &str) -> Vec<String> {
        let mut scanner = Scanner { rest: html };
        let mut names = Vec::new();
        while let Some(tag) = scanner.next_tag() {
            let slash = if tag.is_end { "/" } else { "" };
            names.push(format!("{slash}{}", tag.name));
        }
        names
    }

    #[test]
    fn tags_are_told_apart_as_the_standard_says() {
        for (html, expected) in [
            ("<P>a<br/>b</P >", "p br /p"),
            ("<a title='<b>' href=\"</a>\">x</a>", "a /a"),
            ("<a t=x\"y>z<b q=\">", "a b"),
            ("<a =\"><b>", "a b"),
            ("<a t =\n '>'><b>", "a b"),
            ("<!-- <b> --><i><!--><u><!-- --!><s>", "i u s"),
            ("<!doctype html><?x <p>>1 < 2 <3 </ b><em>", "em"),
            ("<a/b='x'>y", "a"),
            ("<b", "b"),
        ] {
            assert_eq!(names(html).join(" "), expected, "{html}");
        }
    }

    #[test]
    fn elements_get_their_style_where_a_parser_would_see_them() {
        let style_of = |name: &str| (name == "p").then_some("margin:0");

        assert_eq!(
            with_styles(
                "<P class='<p>'>a</p><!-- <p> --><p style=x><p/><br><p",
                style_of
            ),
            "<P style=\"margin:0\" class='<p>'>a</p><!-- <p> --><p style=x><p style=\"margin:0\"/><br>\
             <p style=\"margin:0\""
        );
        assert_eq!(with_styles("no tag < at all", style_of), "no tag < at all");
    }

    #[test]
    fn a_page_and_its_styles_are_seen() {
        let survey = |html| survey(html, 0).unwrap();

        assert!(survey("<!doctype html><HTML><body>").is_page);
        let styled = survey("<style>p > b { content: '<div>' }</STYLE><p>");
        assert!(styled.has_styles && !styled.is_page);
        assert_eq!(survey("<p>html style</p>"), Survey::default());
    }

    #[test]
    fn html_that_a_mail_may_have_is_let_through() {
        let rows = "<tr><td>a<td>b".repeat(1000);
        let paragraphs = "<p>one<br>two".repeat(1000);
        let nested = format!("{}x{}", "<div>".repeat(150), "</div>".repeat(150));
        for html in [
            format!("<table>{rows}</table>"),
            paragraphs,
            nested,
            "<ul><li>a<li>b</ul><!-- <div> -->".repeat(500),
        ] {
            survey(&html, 600).unwrap();
        }
    }

    #[test]
    fn html_that_costs_more_than_its_length_is_refused() {
        let many = |text: &str, times: usize| text.repeat(times);
        for (html, expected) in [
            (many("<br>", 10_001), "tags"),
            (many("<div>", 201), "nested"),
            (many("<div></b>", 201), "nested"),
            (many("<div><!-- </div> -->", 201), "nested"),
            (many("<div title=</div>>", 201), "nested"),
            (many("<div title='</div>'>", 201), "nested"),
            (many("<p><b>x</p>", 30), "without an end tag"),
            (
                format!(
                    "<style>{}</style>{}",
                    many("*{a:b}", 3000),
                    many("<p>", 1000)
                ),
                "styles",
            ),
            ("<p><sCript>".to_owned(), "`script`"),
            ("<svg></svg>".to_owned(), "`svg`"),
        ] {
            let error = survey(&html, 600).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

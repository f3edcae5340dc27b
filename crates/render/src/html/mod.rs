//! The HTML of a mail: the brand's layout around it, the styles inlined, and a text made of it.
//!
//! Many mail programs read no style sheet, so every rule is written into the elements it is for. The
//! layout carries its styles in its elements as it is, and a fragment gets [`STYLES`] by the names of
//! its elements; only one that brings a `<style>` of its own is parsed, with all that is around it.
//! A fragment with an `<html>` is a page: it gets no layout.

mod scan;

use std::sync::LazyLock;

use css_inline::{CSSInliner, InlineError};
use minijinja::value::Serde;
use minijinja::{Environment, context};

use self::scan::{survey, with_styles};
use crate::Brand;

/// What the elements of a fragment look like.
const STYLES: [(&str, &str); 9] = [
    ("p", "margin:0 0 16px"),
    ("h1", "margin:0 0 16px;font-size:22px;line-height:1.3"),
    ("h2", "margin:0 0 12px;font-size:18px;line-height:1.3"),
    ("ul", "margin:0 0 16px;padding:0 24px"),
    ("ol", "margin:0 0 16px;padding:0 24px"),
    ("li", "margin:0 0 8px"),
    ("table", "border-collapse:collapse;margin:0 0 16px"),
    (
        "th",
        "padding:4px 0;padding-inline-end:24px;font-weight:400;color:#616e7c;text-align:start;\
         vertical-align:top",
    ),
    ("td", "padding:4px 0;vertical-align:top"),
];

/// Longest style sheet that [`STYLES`] make.
const STYLES_BYTES: usize = 1024;

const LAYOUT: &str = include_str!("../../../../templates/layout.html");

/// Where a plain text is broken, in characters.
const TEXT_WIDTH: usize = 78;

/// What is around a fragment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) tag: &'a str,
    pub(crate) dir: &'a str,
    pub(crate) title: &'a str,
    pub(crate) brand: &'a Brand,
}

/// Makes a mail of what a template has written. The error says what is wrong with the HTML.
pub(crate) fn finish(html: &str, frame: Frame<'_>) -> Result<String, String> {
    let survey = survey(html, STYLES_BYTES)?;
    match (survey.is_page, survey.has_styles) {
        (true, false) => Ok(html.to_owned()),
        (true, true) => inliner().inline(html).map_err(failed),
        (false, true) => {
            let rules = STYLES.map(|(name, style)| format!("{name}{{{style}}}"));
            let page = wrap(html, &format!("<style>{}</style>", rules.concat()), frame)?;
            inliner().inline(&page).map_err(failed)
        }
        (false, false) => {
            let style_of = |name: &str| Some(STYLES.iter().find(|it| it.0 == name)?.1);
            wrap(&with_styles(html, style_of), "", frame)
        }
    }
}

/// The text of a mail that has none of its own: links are numbered and listed at its end.
pub(crate) fn to_text(html: &str) -> Result<String, String> {
    survey(html, 0)?;
    let text = html2text::config::plain_no_decorate()
        .link_footnotes(true)
        .no_table_borders()
        .string_from_read(html.as_bytes(), TEXT_WIDTH)
        .map_err(|error| format!("could not be made a text: {error}"))?;
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n").trim().to_owned())
}

fn wrap(content: &str, style: &str, frame: Frame<'_>) -> Result<String, String> {
    static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut engine = Environment::new();
        engine
            .add_template("layout.html", LAYOUT)
            .expect("a test compiles it");
        engine
    });
    let vars = context! {
        content, style,
        lang => frame.tag,
        dir => frame.dir,
        title => frame.title,
        brand => minijinja::Value::from(Serde(frame.brand)),
    };
    ENGINE
        .get_template("layout.html")
        .and_then(|layout| layout.render(vars))
        .map_err(|error| format!("does not fit the layout: {error}"))
}

/// Nothing is ever fetched for a mail: neither a style sheet nor an image.
fn inliner() -> &'static CSSInliner<'static> {
    static INLINER: LazyLock<CSSInliner<'static>> = LazyLock::new(|| {
        CSSInliner::options()
            .load_remote_stylesheets(false)
            .keep_at_rules(true)
            .build()
    });
    &INLINER
}

fn failed(error: InlineError) -> String {
    format!("has styles that could not be inlined: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(html: &str, dir: &str, brand: &Brand) -> String {
        let frame = Frame {
            tag: "ar",
            dir,
            title: "A < B",
            brand,
        };
        finish(html, frame).unwrap()
    }

    #[test]
    fn a_fragment_stands_in_the_layout_with_its_styles_inlined() {
        let brand = Brand {
            name: "Ada & Co".to_owned(),
            color: "#ff0000".to_owned(),
            logo_url: Some("https://ada.example/logo.png".to_owned()),
            url: Some("https://ada.example/".to_owned()),
            address: Some("1 Main St".to_owned()),
        };

        let html = finished("<p>Hi</p><table><tr><th>a</th></tr></table>", "rtl", &brand);

        for part in [
            "<html lang=\"ar\" dir=\"rtl\">",
            "<title>A &lt; B</title>",
            "<p style=\"margin:0 0 16px\">Hi</p>",
            "text-align:right",
            "border-top:4px solid #ff0000",
            "src=\"https:&#x2f;&#x2f;ada.example&#x2f;logo.png\"",
            "alt=\"Ada &amp; Co\"",
            "1 Main St",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        assert!(!html.contains("<style"), "{html}");
        assert_eq!(html.matches("<html").count(), 1);
    }

    #[test]
    fn a_style_of_its_own_is_inlined_over_that_of_the_layout_and_media_rules_stay() {
        let html = finished(
            "<style>p { margin: 1px } @media print { p { color: red } }</style><p>Hi</p>",
            "ltr",
            &Brand::default(),
        );

        assert!(html.contains("<p style=\"margin: 1px;\">Hi</p>"), "{html}");
        assert!(html.contains("@media print"), "{html}");
        assert!(html.contains("Postrider"), "{html}");
    }

    #[test]
    fn a_page_gets_no_layout() {
        let page = "<!doctype html><html><body><p>Hi</p></body></html>";
        assert_eq!(finished(page, "ltr", &Brand::default()), page);

        let styled =
            "<html><head><style>p { color: red }</style></head><body><p>Hi</p></body></html>";
        let html = finished(styled, "ltr", &Brand::default());
        assert!(html.contains("<p style=\"color: red;\">Hi</p>"), "{html}");
        assert!(!html.contains("Postrider"), "{html}");
    }

    #[test]
    fn a_style_sheet_elsewhere_is_not_fetched() {
        let html = "<html><head><link rel=\"stylesheet\" href=\"file:///etc/passwd\"><style>p \
                    {color: red}</style></head><body><p>Hi</p></body></html>";

        let html = finished(html, "ltr", &Brand::default());

        assert!(
            html.contains("color: red") && !html.contains("root:"),
            "{html}"
        );
    }

    #[test]
    fn a_text_is_made_of_a_fragment() {
        let html = "<h1>Order</h1><p>Hello <b>Ada</b>,<br>it is <a href=\"https://a.example/1\">here</a>.</p>\
                    <table><tr><th>Symbol</th><td>AAPL</td></tr></table>";

        let text = to_text(html).unwrap();

        assert_eq!(
            text,
            "# Order\n\nHello Ada,\nit is [here][1].\n\nSymbol AAPL\n\n[1]: https://a.example/1"
        );
    }
}

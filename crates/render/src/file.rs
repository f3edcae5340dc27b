//! A template in a YAML file, in the shape of the API's template body; and where in it a pointer
//! points.

use domain::pointer_token;
use serde_json::Value;

use crate::{Template, TemplateBody, TemplateError, TemplateIssue};

/// Longest template file, in bytes: a body in all its languages and some comments.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A template's text and where it came from, for errors that name a line.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A path to show, such as `templates/order.filled.yaml`.
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Reads the body that the file holds.
    pub fn parse(self) -> Result<TemplateBody, Vec<TemplateError>> {
        if self.text.len() > FILE_BYTES_MAX {
            let detail = format!("longer than {FILE_BYTES_MAX} bytes");
            return Err(vec![self.error(1, detail)]);
        }
        // By way of YAML's own values, which refuse a key that is there twice.
        let value = yaml_serde::from_str::<yaml_serde::Value>(self.text)
            .and_then(yaml_serde::from_value::<Value>)
            .map_err(|error| {
                let line = error.location().map_or(1, |at| at.line());
                vec![self.error(line, error.to_string())]
            })?;
        TemplateBody::parse(value).map_err(|errors| {
            let issues = errors.into_iter().map(TemplateIssue::from);
            issues.map(|issue| self.locate(&issue)).collect()
        })
    }

    /// Reads and compiles the template that the file holds.
    pub fn compile(self) -> Result<Template, Vec<TemplateError>> {
        let body = self.parse()?;
        Template::compile(&body)
            .map_err(|issues| issues.iter().map(|issue| self.locate(issue)).collect())
    }

    /// An issue of the body as an error of the file: the line is that of the file.
    pub fn locate(self, issue: &TemplateIssue) -> TemplateError {
        let key_line = self.line_of(&issue.pointer);
        let line = match issue.line {
            Some(within) if self.is_block(key_line) => key_line + within,
            _ => key_line,
        };
        let place = issue.pointer.trim_start_matches('/').replace('/', ".");
        let separator = if place.is_empty() { "" } else { ": " };
        self.error(line, format!("{place}{separator}{}", issue.detail))
    }

    fn error(self, line: usize, detail: impl Into<String>) -> TemplateError {
        TemplateError {
            file: self.file.to_owned(),
            line,
            detail: detail.into(),
        }
    }

    /// The line that a pointer names, from 1: that of the innermost key or item which has a line of
    /// its own.
    fn line_of(self, pointer: &str) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut at = 0;
        let mut depth = None;
        for token in pointer.split('/').skip(1) {
            let Some(found) = find_token(&lines, at, depth, token) else {
                break;
            };
            depth = Some(indent(lines[found]));
            at = found + 1;
        }
        at.max(1)
    }

    /// Whether the key in this line has a text below it, rather than beside it.
    fn is_block(self, line: usize) -> bool {
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        text.rsplit(':')
            .next()
            .is_some_and(|rest| rest.trim().starts_with(['|', '>']))
    }
}

/// The line of a key, or of an item by its number, within the block that begins at line `from`
/// and whose own key stands at `depth`.
fn find_token(lines: &[&str], from: usize, depth: Option<usize>, token: &str) -> Option<usize> {
    let index: Option<usize> = token.parse().ok();
    let mut items = 0;
    let mut inner = None;
    for (number, line) in lines.iter().enumerate().skip(from) {
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let is_item = text == "-" || text.starts_with("- ");
        // The items of a list may stand as deep as the key they belong to.
        let is_below = depth.is_none_or(|depth| {
            indent(line) > depth || (indent(line) == depth && is_item && index.is_some())
        });
        if !is_below {
            return None;
        }
        if indent(line) != *inner.get_or_insert(indent(line)) {
            continue;
        }
        match index {
            Some(index) if is_item => {
                if items == index {
                    return Some(number);
                }
                items += 1;
            }
            _ => {
                let key = text.split(':').next().unwrap_or_default();
                if text.contains(':') && pointer_token(key.trim_matches(['"', '\''])) == token {
                    return Some(number);
                }
            }
        }
    }
    None
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# About it.
name: x
channels:
  sms:
    body: fine
  email: {subject: s, body: b}
translations:
  ru:
    email:
      body: |
        one
        two
samples:
- {a: 1}
-
  b: 2
- {c: 3}
";

    fn line_of(pointer: &str) -> usize {
        Source {
            file: "x.yaml",
            text: TEXT,
        }
        .line_of(pointer)
    }

    #[test]
    fn a_pointer_finds_its_line_or_that_of_what_is_around_it() {
        for (pointer, line) in [
            ("/name", 2),
            ("/channels/sms/body", 5),
            ("/channels/email/body", 6),
            ("/channels/voice", 3),
            ("/translations/ru/email/body", 10),
            ("/translations/ru/sms/body", 8),
            ("/samples/0/a", 14),
            ("/variables", 1),
            ("", 1),
        ] {
            assert_eq!(line_of(pointer), line, "{pointer}");
        }
    }

    #[test]
    fn an_issue_within_a_block_names_the_line_of_the_file() {
        let source = Source {
            file: "x.yaml",
            text: TEXT,
        };
        let issue = TemplateIssue {
            pointer: "/translations/ru/email/body".to_owned(),
            line: Some(2),
            detail: "no".to_owned(),
        };

        let error = source.locate(&issue);

        assert_eq!(
            error.to_string(),
            "x.yaml:12: translations.ru.email.body: no"
        );
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let source = Source {
            file: "x.yaml",
            text: "name: x\nchannels:\n  sms: {body: a}\n  sms: {body: b}\n",
        };

        let errors = source.parse().unwrap_err();

        assert!(errors[0].to_string().starts_with("x.yaml:"), "{errors:?}");
    }
}

//! What can go wrong with a template: when it is compiled, and when it is rendered.
//!
//! The texts name the place and never quote a variable's value: they are stored with the delivery
//! and shown to operators.

use std::fmt;

use domain::FieldError;
use minijinja::ErrorKind;

/// Why a template file cannot be used. The start fails with it.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {detail}")]
pub struct TemplateError {
    /// The path below the repository, such as `templates/order.filled.yaml`.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    pub detail: String,
}

/// One thing that is wrong with a template body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateIssue {
    /// A JSON pointer into the body, such as `/channels/email/body`.
    pub pointer: String,
    /// The line within the text that the pointer names, from 1; `None` where it names no template.
    pub line: Option<usize>,
    /// What is wrong, as the end of a sentence about the field.
    pub detail: String,
}

impl TemplateIssue {
    pub(crate) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            line: None,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for TemplateIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} line {line}: {}", self.pointer, self.detail),
            None => write!(f, "{}: {}", self.pointer, self.detail),
        }
    }
}

impl From<FieldError> for TemplateIssue {
    fn from(error: FieldError) -> Self {
        Self::new(error.pointer, error.detail)
    }
}

impl From<TemplateIssue> for FieldError {
    /// For the answer to a request: a problem document has no place for a line but its words.
    fn from(issue: TemplateIssue) -> Self {
        let detail = match issue.line {
            Some(line) => format!("line {line}: {}", issue.detail),
            None => issue.detail,
        };
        Self::new(issue.pointer, detail)
    }
}

/// Why a message could not be rendered. The same input fails again: change the template or the
/// data first.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// No template has this name.
    #[error("there is no template `{name}`")]
    UnknownTemplate { name: String },

    /// The template met a variable it cannot use, or more work than a message may cost.
    #[error("template `{place}` failed in line {line}")]
    Evaluation {
        /// Template, language, channel and field.
        place: String,
        /// The field as a JSON pointer into the template's body.
        pointer: String,
        line: usize,
        #[source]
        source: minijinja::Error,
    },

    /// The HTML of a mail cannot be made a mail: it is too deep, too large, or no HTML for mails.
    #[error("template `{place}` renders to HTML that {detail}")]
    Html {
        place: String,
        /// The field as a JSON pointer into the template's body.
        pointer: String,
        detail: String,
    },

    /// The message grew beyond the limit.
    #[error("template `{place}` renders to more than {bytes_max} bytes")]
    TooLarge {
        place: String,
        /// The field as a JSON pointer into the template's body.
        pointer: String,
        bytes_max: usize,
    },
}

impl RenderError {
    /// The error as an issue of the template.
    pub fn to_issue(&self) -> TemplateIssue {
        match self {
            Self::UnknownTemplate { .. } => TemplateIssue::new("", self.to_string()),
            Self::Evaluation {
                pointer,
                line,
                source,
                ..
            } => TemplateIssue {
                pointer: pointer.clone(),
                line: Some(*line),
                detail: detail(source),
            },
            Self::Html {
                pointer, detail, ..
            } => TemplateIssue::new(pointer.clone(), format!("renders to HTML that {detail}")),
            Self::TooLarge {
                pointer, bytes_max, ..
            } => TemplateIssue::new(
                pointer.clone(),
                format!("renders to more than {bytes_max} bytes"),
            ),
        }
    }
}

/// Longest tag that is quoted, in bytes.
const QUOTED_BYTES_MAX: usize = 100;

/// The error without the text and the values that the engine attaches, which nothing may print. What
/// is undefined is named; where only its tag is known, that is quoted.
pub(crate) fn bare(error: &minijinja::Error) -> minijinja::Error {
    let is_named = |detail: &str| detail.contains("` is undefined");
    let is_nameless =
        error.kind() == ErrorKind::UndefinedError && !error.detail().is_some_and(is_named);
    let tag = is_nameless.then(|| tag_of(error)).flatten();
    let tag = tag.filter(|tag| tag.len() <= QUOTED_BYTES_MAX);
    let detail = match (error.detail(), tag) {
        (Some(detail), Some(tag)) => format!("{detail}: `{tag}`"),
        (Some(detail), None) => detail.to_owned(),
        (None, Some(tag)) => format!("`{tag}`"),
        (None, None) => return error.kind().into(),
    };
    minijinja::Error::new(error.kind(), detail)
}

/// The tag of the text that an error is in.
fn tag_of(error: &minijinja::Error) -> Option<&str> {
    let text = error.template_source()?;
    let range = error.range()?;
    let before = text.get(..range.start)?;
    let begin = before.rfind("{{").max(before.rfind("{%"))?;
    let after = text.get(range.end..)?;
    let ends = [after.find("}}"), after.find("%}")];
    let end = range.end + ends.into_iter().flatten().min()? + 2;
    text.get(begin..end)
}

/// What the engine says of an error, without the place.
pub(crate) fn detail(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

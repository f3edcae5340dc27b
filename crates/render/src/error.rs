//! What can go wrong with a template: when it is compiled, and when it is rendered.
//!
//! The texts name the place and never quote a variable's value: they are stored with the delivery
//! and shown to operators.

/// Why a template cannot be used. The start fails with it.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {detail}")]
pub struct TemplateError {
    /// The path below the repository, such as `templates/order.filled.yaml`.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    pub detail: String,
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
        /// Template, channel and field.
        place: String,
        line: usize,
        #[source]
        source: minijinja::Error,
    },

    /// The message grew beyond the limit.
    #[error("template `{place}` renders to more than {bytes_max} bytes")]
    TooLarge { place: String, bytes_max: usize },
}

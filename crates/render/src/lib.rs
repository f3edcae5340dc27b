//! Template and variables to a message.
//!
//! Pure: no clock, no files at run time, no database. The templates that ship with Postrider are
//! embedded in the binary and compiled once, by [`Templates::builtin`]; a template that does not
//! compile stops the start and names its file and line.
//!
//! # Promised
//!
//! - **Bounded.** The length of a template, the work it does, the values it makes in between and
//!   the message it writes have limits, so no template can hold a worker for long, take its memory
//!   or send a book. How deep it goes and what its schema may cost are bounded before it is used.
//! - **Escaped by target.** HTML is escaped as HTML, and what Slack reads as markup as that; text is
//!   not; values inside JSON are placed into a parsed tree, so no variable can change its shape.
//! - **Strict.** An undefined variable is an error, never an empty word in somebody's mail.
//! - **Content is not code.** What a caller sends as `content` is taken literally ([`literal`]).
//!
//! - **In one language.** A field is taken from the nearest language that has it, never shown as a
//!   key, and its numbers, dates and plural forms are those of the language it is written in.
//!
//! # Not promised
//!
//! - **A short worst case.** Whoever writes a template against us, and sends it a payload of a
//!   megabyte, gets some seconds of one core and some hundred megabytes, not more (below).
//!
//! # Cost
//!
//! Of one core of a two-core machine, optimised, in processor time, by `examples/cost.rs`:
//!
//! | | |
//! | --- | --- |
//! | `order.filled`, `plain`, in-app | 5 µs, 4 µs |
//! | the mail of `order.filled`, in the brand's layout | 22 µs |
//! | a number, money, a date and time, beyond a plain text | 1 to 1.5 µs |
//! | a mail with a `<style>` of its own, two paragraphs | 50 µs |
//! | a text made of a mail's HTML: two paragraphs, a table of 20 rows | 12 µs, 120 µs |
//! | all built-in templates compiled, 18 in three languages | 17 ms |
//! | worst found, time: lists of the whole payload compared in a loop | 5 s |
//! | worst found, memory: one value of 31 payloads of a megabyte | 120 MB |
//! | worst found, HTML: elements left open | 0.1 s |
//!
//! # Reading order
//!
//! [`body`] (how a template is written), [`template`] (compiled), [`vars`] (what it can see),
//! [`message`] (rendering, and what happens when a channel has no section), [`language`], [`html`];
//! [`lexer`], [`guard`], [`depth`] and [`work`] for the bounds.

mod body;
mod brand;
mod builtin;
mod check;
mod compile;
mod depth;
mod engine;
mod error;
mod file;
mod guard;
mod html;
mod language;
mod lexer;
mod message;
mod schema;
mod section;
mod template;
mod templates;
mod vars;
mod words;
mod work;

pub use body::{Fields, TemplateBody};
pub use brand::Brand;
pub use error::{RenderError, TemplateError, TemplateIssue};
pub use file::Source;
pub use message::{Rendered, literal};
pub use section::section_fields;
pub use template::{DEFAULT_LOCALE, Outline, Template};
pub use templates::{PLAIN, Templates};
pub use vars::{EventVars, Gathered, NotificationVars, UserVars, Vars};

//! Rendering: one template, one channel, one set of variables, one message.
//!
//! # A channel without a section
//!
//! 1. The first of the template's other sections, in the order of [`DONORS`](crate::section::DONORS), lends its words. A
//!    channel that carries one short text takes a mail's subject rather than its body.
//! 2. A subject that is needed and missing is the template's description, else its name.
//! 3. A mail that has only HTML gets a text part made of it.
//! 4. A template without any usable section is shown as the template [`PLAIN`](crate::PLAIN) would show it.
//! 5. A webhook without a section carries the payload.

#[cfg(test)]
mod bounds_tests;
mod render;
#[cfg(test)]
mod tests;

pub use render::{Rendered, literal};

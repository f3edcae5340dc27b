//! What a text's language decides: plural forms, numbers, money, dates, and the way it runs.
//!
//! A field is shown in the language it is written in, not the one that was asked for: a Russian who
//! gets an English text gets English dates in it.

mod chain;
mod date;
mod filters;
mod number;
mod speaker;
#[cfg(test)]
mod tests;

pub(crate) use chain::{dir, fallbacks};
pub(crate) use filters::install;

use std::sync::Arc;

use chrono_tz::Tz;
use minijinja::value::Object;

use crate::work::Work;

/// How the values of one field are spoken.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    tag: String,
    /// `None` if nobody has said which, so that a time is in UTC.
    zone: Option<Tz>,
    work: Arc<Work>,
}

impl Object for Speech {}

impl Speech {
    pub(crate) fn new(tag: &str, timezone: Option<&str>, work: Arc<Work>) -> Self {
        Self {
            tag: tag.to_owned(),
            // A zone nobody knows is one of a newer registry than ours; UTC says what it is.
            zone: timezone.and_then(|name| name.parse().ok()),
            work,
        }
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// What is left of the work that the message may cost.
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn dir(&self) -> &'static str {
        dir(&self.tag)
    }
}

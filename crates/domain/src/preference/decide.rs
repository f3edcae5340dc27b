//! Whether something may be sent to someone over a channel: one function, one order of precedence.
//!
//! Rows are asked from the widest to the narrowest, and the first that says no decides:
//!
//! 1. `/enabled`: everything is off.
//! 2. `/channels/<channel>/enabled`: the channel is off.
//! 3. `/categories/<category>/enabled`: the category is off.
//! 4. `/categories/<category>/channels`: the category may not use the channel.
//! 5. `/consents/<category>`: the category needs consent, and the user has given none
//!    ([`Consents`]).
//! 6. `/categories/<category>/min_priority`: it is not urgent enough for its category.
//! 7. `/min_severity`: it is not severe enough at all.
//!
//! What nobody spoke of is allowed. A narrower row never gives back what a wider one took: a
//! category that lists `email` is not mailed while email is off.
//!
//! **What critical may pass.** The two thresholds, for nothing ranks above it; never an opt-out
//! (1 to 4) and never what was not agreed to (5). Urgency is the higher of the notification's priority and its event's severity, so
//! what is critical in either word passes both. `bypass_quiet_hours` is about quiet hours alone.
//!
//! **Fallbacks** are judged like any channel when they are planned: one that is off is not
//! fallen back to.

use std::fmt;

use serde_json::json;

use super::{Consents, Preferences};
use crate::{Channel, Priority, Severity, TraceStep};

/// What a notification is about, as far as preferences ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matter<'a> {
    pub category: Option<&'a str>,
    pub priority: Priority,
    /// Of the event; `None` for a direct send.
    pub severity: Option<Severity>,
}

/// May it be sent?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Suppressed(Suppression),
}

/// What decided against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The deciding row, as a JSON pointer into the preferences.
    pub row: String,
    /// Why, in a sentence without anybody's data.
    pub reason: &'static str,
}

impl Suppression {
    fn by(row: impl Into<String>, reason: &'static str) -> Self {
        let row = row.into();
        Self { row, reason }
    }

    /// The decision for the trace, taken in `step` about `channel`.
    pub fn step(&self, step: &'static str, channel: Channel) -> TraceStep {
        TraceStep::new(step, "suppressed", self.reason)
            .with_detail(json!({"channel": channel, "row": self.row}))
    }
}

impl fmt::Display for Suppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.row)
    }
}

impl Matter<'_> {
    /// The higher of its two words.
    pub(super) fn urgency(&self) -> Severity {
        let priority = self.priority.to_severity();
        self.severity
            .map_or(priority, |severity| severity.max(priority))
    }
}

impl Preferences {
    /// Decides whether `matter` may go over `channel`.
    pub fn decide(&self, channel: Channel, matter: &Matter<'_>, consents: &Consents) -> Verdict {
        let suppression = self
            .opt_out(channel, matter.category)
            .or_else(|| consents.refusal(channel, matter.category, self))
            .or_else(|| self.threshold(matter));
        suppression.map_or(Verdict::Allowed, Verdict::Suppressed)
    }

    /// The first row that turns the channel or the category off: what nothing passes.
    fn opt_out(&self, channel: Channel, category: Option<&str>) -> Option<Suppression> {
        if !self.enabled {
            return Some(Suppression::by(
                "/enabled",
                "the user has turned notifications off",
            ));
        }
        let about_channel = self.channels.get(&channel);
        if about_channel.is_some_and(|said| !said.enabled) {
            return Some(Suppression::by(
                format!("/channels/{channel}/enabled"),
                "the user has turned the channel off",
            ));
        }
        let (name, said) = self.categories.get_key_value(category?)?;
        if !said.enabled {
            return Some(Suppression::by(
                row_of(name, "enabled"),
                "the user has turned the category off",
            ));
        }
        if said
            .channels
            .as_ref()
            .is_some_and(|only| !only.contains(&channel))
        {
            return Some(Suppression::by(
                row_of(name, "channels"),
                "the user does not want the category over this channel",
            ));
        }
        None
    }

    /// The first threshold that `matter` does not reach.
    fn threshold(&self, matter: &Matter<'_>) -> Option<Suppression> {
        let urgency = matter.urgency();
        let about_category = matter
            .category
            .and_then(|category| self.categories.get_key_value(category));
        if let Some((name, said)) = about_category
            && said
                .min_priority
                .is_some_and(|min| urgency < min.to_severity())
        {
            return Some(Suppression::by(
                row_of(name, "min_priority"),
                "it is less urgent than the user wants of the category",
            ));
        }
        if self.min_severity.is_some_and(|min| urgency < min) {
            return Some(Suppression::by(
                "/min_severity",
                "it is less severe than the user wants",
            ));
        }
        None
    }
}

pub(super) fn row_of(category: &str, field: &str) -> String {
    let token = crate::submission::json::pointer_token(category);
    format!("/categories/{token}/{field}")
}

/// Says that a category was not agreed to.
pub(super) fn no_consent(category: &str) -> Suppression {
    let token = crate::submission::json::pointer_token(category);
    Suppression::by(
        format!("/consents/{token}"),
        "the category needs consent and the user has given none",
    )
}

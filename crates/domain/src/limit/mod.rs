//! Rate limits: how many messages may go out in any window, and what each of them counts.
//!
//! A [`Limit`] is what the API shows; a [`LimitBook`] holds those of a tenant and finds the ones
//! that a send must keep to. A [`Counter`] remembers the slots that were taken, and [`decide`] takes
//! slots for a whole claim of sends: all limits of one send together, or none.
//!
//! The word is exact: never more than `max` in *any* window of that length, not merely in each
//! calendar hour. `tests` holds it against the plain definition.

mod book;
mod counter;
mod decide;
mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Channel;

pub use book::{LimitBook, SendFacts};
pub use counter::Counter;
pub use decide::{Claim, Room, decide};
pub use parse::LimitSubmission;

/// How long a slot may lie between being taken and being used. It counts for so much longer.
///
/// What people see is when messages go out, a moment after their slots were taken. Two slots that
/// lie a window apart could be used closer together than that.
const USE_WITHIN_MAX: Duration = Duration::from_secs(1);

/// Of a short window the moment is a part only.
const USE_WITHIN_PART: u32 = 10;

/// A rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Nil for one that ships with the binary.
    pub id: Uuid,
    /// Unique in its tenant. One of the name of a default stands in its place.
    pub name: String,
    /// What is counted apart from what.
    pub scope: Scope,
    /// What it speaks of at all.
    pub of: LimitOf,
    pub max: u32,
    pub window: Duration,
    /// `None` goes by the channel.
    pub when_unavailable: Option<WhenUnavailable>,
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a limit speaks of; what is not named may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitOf {
    /// In-app is meant only where it is named.
    pub channel: Option<Channel>,
    pub category: Option<String>,
    /// Compared like template names: in lower case, `_` equal to `.`.
    pub event_type: Option<String>,
    pub provider: Option<String>,
}

/// What is counted apart from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Each user on each channel.
    UserChannel,
    /// Each channel, over all users.
    Channel,
    /// Each user in each category.
    UserCategory,
    /// Each type of event, over all users.
    EventType,
    /// Each provider, over all users.
    Provider,
    /// Each channel, or person, of Slack.
    SlackChannel,
}

impl Scope {
    pub const ALL: [Self; 6] = [
        Self::UserChannel,
        Self::Channel,
        Self::UserCategory,
        Self::EventType,
        Self::Provider,
        Self::SlackChannel,
    ];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserChannel => "user_channel",
            Self::Channel => "channel",
            Self::UserCategory => "user_category",
            Self::EventType => "event_type",
            Self::Provider => "provider",
            Self::SlackChannel => "slack_channel",
        }
    }

    /// Reads a scope in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What becomes of a message when nobody can say whether there is a slot for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenUnavailable {
    /// It goes out: a message too many is better than none.
    Allow,
    /// It waits: each one costs money.
    Defer,
}

impl WhenUnavailable {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Defer];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Defer => "defer",
        }
    }

    /// Reads a choice in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|choice| choice.as_str() == word)
    }

    /// What holds for a channel where nothing was chosen: what is paid by the piece waits.
    pub const fn of(channel: Channel) -> Self {
        match channel {
            Channel::Sms | Channel::Voice => Self::Defer,
            Channel::Email
            | Channel::Push
            | Channel::WebPush
            | Channel::Slack
            | Channel::Webhook
            | Channel::InApp
            | Channel::Pagerduty => Self::Allow,
        }
    }
}

impl Limit {
    /// Whether it ships with the binary.
    pub fn is_default(&self) -> bool {
        self.id.is_nil()
    }

    /// The window as people write it, in its largest whole unit.
    pub fn window_text(&self) -> String {
        let seconds = self.window.as_secs();
        let units = [(86_400, "d"), (3600, "h"), (60, "m")];
        let whole = units
            .into_iter()
            .find(|(unit, _)| seconds.is_multiple_of(*unit));
        let (unit, letter) = whole.unwrap_or((1, "s"));
        format!("{}{letter}", seconds / unit)
    }

    /// How soon a slot must be used; one that was not is forfeited.
    pub fn use_within(&self) -> Duration {
        (self.window / USE_WITHIN_PART).min(USE_WITHIN_MAX)
    }

    /// How long a slot counts: until the window that begins with its use is over.
    pub(crate) fn slot_micros(&self) -> i64 {
        let held = self.window + self.use_within();
        i64::try_from(held.as_micros()).unwrap_or(i64::MAX / 4)
    }

    /// What becomes of a message on `channel` when the slots cannot be counted.
    pub fn when_unavailable(&self, channel: Channel) -> WhenUnavailable {
        self.when_unavailable
            .unwrap_or_else(|| WhenUnavailable::of(channel))
    }
}

//! What a person wants to hear of, over which channels, and when not to be disturbed.
//!
//! [`Preferences`] is the body of `PUT /v1/preferences`, checked ([`parse`]); merging a part into
//! it is [`merge`], and whether something may be sent is [`decide`]: the one place where the
//! precedence of all these wishes is written down. Whether it may be sent now is [`quiet`]. Nobody
//! who has said nothing misses anything.

mod clock;
mod consent;
mod decide;
mod merge;
mod parse;
mod quiet;
#[cfg(test)]
mod quiet_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Serialize;
use serde_json::Value;

use crate::{Channel, Priority, Severity};

pub use clock::WallClock;
pub use consent::{ConsentCategories, ConsentRecord, Consents};
pub use decide::{Matter, Suppression, Verdict};
pub use quiet::{Quiet, QuietWindow};

/// Everything a person said about being notified. The default is to be told everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preferences {
    /// `false` turns everything off.
    pub enabled: bool,
    /// A BCP 47 tag; wins over the one of the user's row.
    pub locale: Option<String>,
    pub timezone: Option<Tz>,
    /// What is less severe than this is not worth telling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    pub channels: BTreeMap<Channel, ChannelPreference>,
    /// By name, as notifications carry it.
    pub categories: BTreeMap<String, CategoryPreference>,
    pub quiet_hours: QuietHours,
}

/// What a person said about one channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChannelPreference {
    pub enabled: bool,
    /// Wins over the address of the user's row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What a person said about one category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryPreference {
    pub enabled: bool,
    /// The only channels it may use; `None` leaves all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_priority: Option<Priority>,
    /// What becomes of it in quiet hours; `None` leaves the usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietMode>,
}

/// When not to disturb: daily, by wall clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuietHours {
    pub enabled: bool,
    /// Quiet from here, this minute included. After `end`, the window spans midnight.
    pub start: WallClock,
    /// Quiet until here, this minute excluded.
    pub end: WallClock,
    /// `None` is the zone of the preferences, else of the user's row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Tz>,
    /// Whether what is critical comes through.
    pub allow_critical: bool,
    /// The channels held back; `None` is those that make a noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
}

/// What becomes of a category's notifications in quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QuietMode {
    /// Sent when the quiet hours end.
    Defer,
    /// Collected, and sent as one when they end.
    Digest,
    /// Not sent.
    Drop,
    /// Sent at once.
    Deliver,
}

impl QuietMode {
    pub const ALL: [Self; 4] = [Self::Defer, Self::Digest, Self::Drop, Self::Deliver];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Digest => "digest",
            Self::Drop => "drop",
            Self::Deliver => "deliver",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

impl Preferences {
    /// The body that reads back as the same preferences.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            enabled: true,
            locale: None,
            timezone: None,
            min_severity: None,
            channels: BTreeMap::new(),
            categories: BTreeMap::new(),
            quiet_hours: QuietHours::default(),
        }
    }
}

impl Default for ChannelPreference {
    fn default() -> Self {
        Self {
            enabled: true,
            address: None,
        }
    }
}

impl Default for CategoryPreference {
    fn default() -> Self {
        Self {
            enabled: true,
            channels: None,
            min_priority: None,
            quiet_hours: None,
        }
    }
}

impl Default for QuietHours {
    /// Off; turned on without further words it is the night.
    fn default() -> Self {
        Self {
            enabled: false,
            start: WallClock::hour(22),
            end: WallClock::hour(8),
            timezone: None,
            allow_critical: true,
            channels: None,
        }
    }
}

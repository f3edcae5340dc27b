//! The body of `/limits`: a rate limit, checked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Limit, LimitOf, Scope, WhenUnavailable};
use crate::submission::fields::{CHANNEL_WORDS, Fields};
use crate::{Channel, FieldError};

/// Slots of a limit at most: what a counter can hold many times over.
const MAX_MAX: u64 = 1_000_000_000;

/// A shorter window is no limit on what people receive; a longer one would outlive the counters.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(31 * 24);

/// A limit that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSubmission {
    pub name: String,
    pub scope: Scope,
    pub of: LimitOf,
    pub max: u32,
    pub window: Duration,
    pub when_unavailable: Option<WhenUnavailable>,
    pub enabled: bool,
}

impl LimitSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        for name in ["scope", "max", "window"] {
            if !fields.has(name) {
                fields.refuse(name, "is required");
            }
        }
        let scopes = Scope::ALL.map(Scope::as_str).join(", ");
        let choices = WhenUnavailable::ALL.map(WhenUnavailable::as_str).join(", ");
        let limit = Self {
            name: fields.required_name("name"),
            scope: fields
                .word("scope", Scope::parse, &scopes)
                .unwrap_or(Scope::UserChannel),
            of: LimitOf {
                channel: fields.word("channel", Channel::parse, CHANNEL_WORDS),
                category: fields.name("category"),
                event_type: fields.name("event_type"),
                provider: fields.name("provider"),
            },
            max: max(&mut fields),
            window: window(&mut fields).unwrap_or(WINDOW_MIN),
            when_unavailable: fields.word("when_unavailable", WhenUnavailable::parse, &choices),
            enabled: fields.flag("enabled").unwrap_or(true),
        };
        // A path names a limit by either.
        if Uuid::parse_str(&limit.name).is_ok() {
            fields.refuse("name", "must not look like an id");
        }
        let elsewhere = limit.of.channel.is_some_and(|of| of != Channel::Slack);
        if limit.scope == Scope::SlackChannel && elsewhere {
            fields.refuse("channel", "must be slack, or missing, in this scope");
        }
        fields.finish(limit)
    }

    /// The limit under its id.
    pub fn into_limit(
        self,
        id: Uuid,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    ) -> Limit {
        Limit {
            id,
            name: self.name,
            scope: self.scope,
            of: self.of,
            max: self.max,
            window: self.window,
            when_unavailable: self.when_unavailable,
            enabled: self.enabled,
            created_at,
            updated_at,
        }
    }
}

fn max(fields: &mut Fields) -> u32 {
    let Some(value) = fields.take("max") else {
        return 1;
    };
    let max = value.as_u64().filter(|max| (1..=MAX_MAX).contains(max));
    max.and_then(|max| u32::try_from(max).ok())
        .unwrap_or_else(|| {
            fields.refuse("max", format!("must be a number from 1 to {MAX_MAX}"));
            1
        })
}

fn window(fields: &mut Fields) -> Option<Duration> {
    let text = fields.text("window")?;
    let window = read_window(&text).filter(|window| (WINDOW_MIN..=WINDOW_MAX).contains(window));
    if window.is_none() {
        fields.refuse(
            "window",
            "must be a time such as 30s, 5m, 1h or 1d, from 1s to 31d",
        );
    }
    window
}

/// Reads a whole number and its unit.
fn read_window(text: &str) -> Option<Duration> {
    let end = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

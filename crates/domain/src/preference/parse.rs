//! Reads a preferences body, or tells everything that is wrong with it.
//!
//! Every field may be missing: what was not said is as by default. Channels are known by all their
//! names, and stored by one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CategoryPreference, ChannelPreference, Preferences, QuietHours, QuietMode, WallClock};
use crate::address;
use crate::submission::fields::{CHANNEL_WORDS, Fields, check_name};
use crate::{Channel, FieldError, Priority, Severity};

/// Categories one person may speak of: many times what a form can show.
const CATEGORIES_MAX: usize = 200;

impl Preferences {
    /// Reads a body that replaces all that was said before.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let (preferences, mut errors) = read(body);
        errors.extend(preferences.contradictions());
        if errors.is_empty() {
            Ok(preferences)
        } else {
            Err(errors)
        }
    }

    /// Reads what was stored. What a later version has added is left out, rather than to lose the
    /// rest: the opt-outs in it hold.
    pub fn of_stored(body: Value) -> Self {
        read(body).0
    }

    /// What no field is wrong about, but all of them together.
    fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.categories.len() > CATEGORIES_MAX {
            let detail = format!("must have at most {CATEGORIES_MAX} categories");
            errors.push(FieldError::new("/categories", detail));
        }
        if self.quiet_hours.start == self.quiet_hours.end {
            let detail = "must differ from `start`; for a whole day turn the channels off";
            errors.push(FieldError::new("/quiet_hours/end", detail));
        }
        errors
    }
}

/// Reads what can be read, and reports the rest.
pub(super) fn read(body: Value) -> (Preferences, Vec<FieldError>) {
    let mut fields = match Fields::of(body) {
        Ok(fields) => fields,
        Err(errors) => return (Preferences::default(), errors),
    };
    let preferences = Preferences {
        enabled: fields.flag("enabled").unwrap_or(true),
        locale: fields.locale("locale"),
        timezone: fields.timezone("timezone"),
        min_severity: fields.word(
            "min_severity",
            Severity::parse,
            "low, medium, high, critical",
        ),
        channels: channels(&mut fields),
        categories: categories(&mut fields),
        quiet_hours: quiet_hours(&mut fields),
    };
    (preferences, fields.into_errors())
}

fn channels(fields: &mut Fields) -> BTreeMap<Channel, ChannelPreference> {
    let mut channels = BTreeMap::new();
    let Some(mut all) = fields.child("channels") else {
        return channels;
    };
    for name in all.rest() {
        let Some(channel) = Channel::parse(&name) else {
            all.take(&name);
            all.refuse_key(&name, format!("is not a channel: {CHANNEL_WORDS}"));
            continue;
        };
        let Some(mut one) = all.child(&name) else {
            continue;
        };
        let said = ChannelPreference {
            enabled: one.flag("enabled").unwrap_or(true),
            address: address(&mut one, channel),
        };
        all.absorb(one);
        if channels.insert(channel, said).is_some() {
            all.refuse_key(&name, "names a channel that another field names too");
        }
    }
    fields.absorb(all);
    channels
}

/// An address that a channel reaches someone at, in one line.
fn address(fields: &mut Fields, channel: Channel) -> Option<String> {
    if !fields.has("address") {
        // An explicit null is as good as nothing.
        fields.take("address");
        return None;
    }
    let Some(key) = channel.address_key() else {
        fields.take("address");
        fields.refuse("address", "is not for this channel: devices are the user's");
        return None;
    };
    let text = fields.name("address")?;
    match address::check(key, &text) {
        Ok(()) => Some(text),
        Err(detail) => {
            fields.refuse("address", detail);
            None
        }
    }
}

fn categories(fields: &mut Fields) -> BTreeMap<String, CategoryPreference> {
    let mut categories = BTreeMap::new();
    let Some(mut all) = fields.child("categories") else {
        return categories;
    };
    for name in all.rest() {
        if let Err(detail) = check_name(&Value::from(name.as_str())) {
            all.take(&name);
            all.refuse_key(&name, format!("is a name that {detail}"));
            continue;
        }
        let Some(mut one) = all.child(&name) else {
            continue;
        };
        let said = CategoryPreference {
            enabled: one.flag("enabled").unwrap_or(true),
            channels: one.channels("channels"),
            min_priority: one.word(
                "min_priority",
                Priority::parse,
                "critical, high, normal, low",
            ),
            quiet_hours: one.word(
                "quiet_hours",
                QuietMode::parse,
                "defer, digest, drop, deliver",
            ),
        };
        all.absorb(one);
        categories.insert(name, said);
    }
    fields.absorb(all);
    categories
}

fn quiet_hours(fields: &mut Fields) -> QuietHours {
    let usual = QuietHours::default();
    let Some(mut said) = fields.child("quiet_hours") else {
        return usual;
    };
    let expected = "a time of day such as 22:00";
    let quiet_hours = QuietHours {
        enabled: said.flag("enabled").unwrap_or(usual.enabled),
        start: said.wall_clock("start", expected).unwrap_or(usual.start),
        end: said.wall_clock("end", expected).unwrap_or(usual.end),
        timezone: said.timezone("timezone"),
        allow_critical: said.flag("allow_critical").unwrap_or(usual.allow_critical),
        channels: said.channels("channels"),
    };
    fields.absorb(said);
    quiet_hours
}

impl Fields {
    fn wall_clock(&mut self, name: &str, expected: &str) -> Option<WallClock> {
        let text = self.text(name)?;
        let clock = WallClock::parse(&text);
        if clock.is_none() {
            self.refuse(name, format!("must be {expected}"));
        }
        clock
    }
}

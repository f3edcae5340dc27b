//! Digests: several events that one user is told of at once.
//!
//! A digest is known by its [`DigestKey`] while it is open: at most one of a key is. It closes at
//! the end of its window or when it has reached its size, and is told by its [`Telling`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Action, Batch, Channel, Rule, RuleId, TenantId, UserId, Variant};

/// What a digest is about. Events of one key are told together.
///
/// The key is compared as a whole, so `a` within `b` is never taken for `b` within `a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestKey {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// `None` for what quiet hours held back.
    pub rule_id: Option<RuleId>,
    /// Which of the rule's actions, from 0.
    pub action: u16,
    /// What the rule's `batch_key` said of the event; for quiet hours the channel.
    pub batch_key: String,
}

/// How a digest is told: its rule's action as it was when the digest opened.
///
/// Kept with the digest, so that what has been gathered is told whatever becomes of the rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Telling {
    /// The rule's name; `None` for what quiet hours held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `None` is in-app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Channel>,
    /// `None` is the one named by the type of the last event, or the plain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub template_vars: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    pub bypass_quiet_hours: bool,
    /// From the moment it is told; then it is not sent any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// The side of the rule's test that the user is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Telling {
    /// How `action` of `rule` tells, to a user on the side `variant` of its test.
    pub fn of(rule: &Rule, action: &Action, variant: Option<&Variant>) -> Self {
        let template = variant.and_then(|variant| variant.template.clone());
        let channels = variant.and_then(|variant| variant.channels.clone());
        Self {
            rule: Some(rule.name.clone()),
            channels: channels.or_else(|| action.channels.clone()),
            fallback: action.fallback.clone(),
            template: template.or_else(|| action.template.clone()),
            template_vars: action.template_vars.clone(),
            category: action.category.clone(),
            locale: action.locale.clone(),
            bypass_quiet_hours: action.bypass_quiet_hours,
            expires_in_seconds: action.expires_in.map(|expires_in| expires_in.as_secs()),
            variant: variant.map(|variant| variant.name.clone()),
        }
    }

    /// When a digest told at `at` is not sent any more.
    pub fn expires_at(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let seconds = i64::try_from(self.expires_in_seconds?).ok()?;
        at.checked_add_signed(TimeDelta::try_seconds(seconds)?)
    }
}

impl Batch {
    /// The end of the window of a digest that opens at `at`.
    pub fn closes_at(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let window = TimeDelta::from_std(self.window).unwrap_or(TimeDelta::MAX);
        at.checked_add_signed(window)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn rule() -> Rule {
        Rule {
            id: RuleId::at(at()),
            version: 1,
            name: "Margin Call".into(),
            description: None,
            enabled: true,
            valid_from: None,
            valid_until: None,
            event_types: Vec::new(),
            domains: Vec::new(),
            conditions: Vec::new(),
            when: None,
            schedule: None,
            actions: Vec::new(),
        }
    }

    #[test]
    fn a_telling_reads_back_as_it_was_kept_and_from_what_an_older_binary_kept() {
        let action = Action {
            channels: Some(vec![Channel::Email, Channel::InApp]),
            fallback: vec![Channel::Sms],
            template: Some("risk.summary".into()),
            template_vars: [("level".to_owned(), json!(3))].into_iter().collect(),
            category: Some("risk".into()),
            locale: Some("ru".into()),
            bypass_quiet_hours: true,
            expires_in: Some(Duration::from_mins(5)),
            ..Action::default()
        };

        let telling = Telling::of(&rule(), &action, None);

        let kept = serde_json::to_value(&telling).unwrap();
        assert_eq!(serde_json::from_value::<Telling>(kept).unwrap(), telling);
        assert_eq!(telling.expires_at(at()), Some(at() + TimeDelta::minutes(5)));
        assert_eq!(
            serde_json::from_value::<Telling>(json!({})).unwrap(),
            Telling::default()
        );
    }

    #[test]
    fn a_variant_says_what_it_says_and_leaves_the_rest_to_the_action() {
        let action = Action {
            channels: Some(vec![Channel::Email]),
            template: Some("risk.summary".into()),
            ..Action::default()
        };
        let variant = Variant {
            name: "short".into(),
            weight: 1,
            template: Some("risk.short".into()),
            channels: None,
        };

        let telling = Telling::of(&rule(), &action, Some(&variant));

        assert_eq!(telling.template.as_deref(), Some("risk.short"));
        assert_eq!(telling.channels, Some(vec![Channel::Email]));
        assert_eq!(telling.variant.as_deref(), Some("short"));
    }

    #[test]
    fn a_window_without_end_does_not_overflow() {
        let batch = |window| Batch {
            window,
            size: None,
            key: None,
        };

        assert_eq!(
            batch(Duration::from_mins(5)).closes_at(at()),
            at() + TimeDelta::minutes(5)
        );
        assert_eq!(
            batch(Duration::MAX).closes_at(at()),
            DateTime::<Utc>::MAX_UTC
        );
    }
}

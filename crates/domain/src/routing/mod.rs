//! Who hears of an event, and how: facts in, plan out.
//!
//! A plan is data, with the reason for each decision beside it. The route worker turns it into
//! rows; a dry run shows it. Neither decides anything itself.
//!
//! # The order of decisions
//!
//! For each action of each rule that matches, and each recipient of it:
//!
//! 1. `variant`: the side of a test that the user is on.
//! 2. `template`: the variant's, the action's, or the one named by the event's type; for several
//!    events that are told as one, else the one of digests.
//! 3. `action`: category, priority and channels.
//! 4. `channel`, for each: consent and preferences, then an address. A fallback channel stands in
//!    for one without an address, never for one that the user does not want, and is itself asked
//!    for consent and preferences.
//! 5. Quiet hours, for each that can be sent now.
//!
//! A direct send goes through 4 and 5 alone. What cannot be sent is planned too, as a delivery that
//! says why, so that nothing goes missing in silence.

mod action;
mod channel;
mod direct;
mod stand_in;
mod templates;
#[cfg(test)]
mod tests;
mod variant;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{
    Channel, NAME_CHARS_MAX, Priority, Quiet, RuleId, Severity, Status, TraceStep, UserId,
};

pub use action::{ActionFacts, Origin, TellingFacts, unruled};
pub use direct::{DirectFacts, route_direct};
pub use stand_in::{StandInFacts, stand_in};
pub use templates::{NamedTemplate, TemplateNames, template_key};

/// The template that tells several events, where nothing names another.
pub const DIGEST_TEMPLATE: &str = "digest";

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// What routing looks at in an event.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    /// The submitter's name for it.
    pub event_id: &'a str,
    /// Empty where the submitter did not say.
    pub producer: &'a str,
    pub created_at: DateTime<Utc>,
    /// The event's `type`.
    pub kind: &'a str,
    pub severity: Option<Severity>,
    pub payload: &'a Value,
}

impl EventFacts<'_> {
    /// The user whom the payload names, when no rule says otherwise.
    ///
    /// A number is taken as its digits: some systems count their users.
    pub fn user_id(&self) -> Option<UserId> {
        let named = self.payload.get("user_id")?;
        let text = match named {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Number(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Object(_) => return None,
        };
        let is_name = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
        is_name.then(|| UserId::from(text))
    }
}

/// One user is told one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedNotification {
    pub user_id: UserId,
    /// The rule that led to it, and which of its actions.
    pub rule: Option<(RuleId, u16)>,
    pub variant: Option<String>,
    /// `None` for a plain message.
    pub template: Option<String>,
    /// `None` where there is no template of that name.
    pub template_version: Option<u32>,
    /// What the rule adds to the template's variables.
    pub vars: Map<String, Value>,
    pub category: Option<String>,
    pub priority: Priority,
    /// `None` where neither the send nor the user names one.
    pub locale: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub bypass_quiet_hours: bool,
    /// What is left to stand in for a channel that fails later.
    pub fallback: Vec<Channel>,
    /// The sum of its deliveries.
    pub status: Status,
    /// In their order; never empty.
    pub deliveries: Vec<PlannedDelivery>,
    /// The decisions about this notification.
    pub steps: Vec<TraceStep>,
}

/// One message over one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedDelivery {
    pub channel: Channel,
    /// `None` where the channel needs none, or where there is none.
    pub address: Option<String>,
    /// `queued`, or `pending` while it is quiet, unless it cannot be sent.
    pub status: Status,
    /// Why it cannot be sent.
    pub error: Option<String>,
    /// What it is held back by, and until when: to be sent then, or gathered to be told then.
    pub quiet: Option<Quiet>,
}

impl PlannedDelivery {
    fn queued(channel: Channel, address: Option<String>) -> Self {
        Self {
            channel,
            address,
            status: Status::Queued,
            error: None,
            quiet: None,
        }
    }

    fn ended(channel: Channel, status: Status, error: String) -> Self {
        Self {
            channel,
            address: None,
            status,
            error: Some(error),
            quiet: None,
        }
    }
}

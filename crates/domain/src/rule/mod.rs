//! Rules: what an operator has said about who hears of which events, and how.
//!
//! A [`Rule`] is what the API and the rules file have in common. A [`RuleBook`] holds all rules of a
//! tenant, compiled, and finds those that speak of an event.

mod book;
mod cel;
mod condition;
mod parse;
mod pattern;
mod schedule;
#[cfg(test)]
mod schedule_tests;
mod span;
mod write;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

use crate::{Channel, Priority, RuleId, UserId};

pub use book::{Audience, Matching, RuleBook, RuleError};
pub use cel::Scene;
pub use parse::RuleSubmission;
pub use schedule::ScheduleError;

/// A rule as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub id: RuleId,
    /// Rises by one with every change.
    pub version: i64,
    pub name: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub valid_from: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
    /// Types it speaks of, compared like template names: in lower case, `_` equal to `.`. Empty
    /// means any.
    pub event_types: Vec<String>,
    /// What an event's type may begin with, up to its first `.`. Empty means any.
    pub domains: Vec<String>,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// CEL over `event`; must be true.
    pub when: Option<String>,
    /// It fires by the clock rather than by events.
    pub schedule: Option<Schedule>,
    /// In order; each leads to notifications of its own.
    pub actions: Vec<Action>,
}

/// `{field, operator, value}` of system B.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// A path such as `severity`, `payload.account.id` or `account.id`.
    pub field: String,
    pub operator: Operator,
    /// For `exists` false, if it must be missing, or else null.
    pub value: Value,
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Contains,
    Exists,
    Matches,
}

/// What a rule does about an event that it speaks of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Action {
    /// `None` is in-app.
    pub channels: Option<Vec<Channel>>,
    /// What stands in, in order, for a channel that cannot deliver.
    pub fallback: Vec<Channel>,
    /// `None` is the one named by the event's type, or the plain one.
    pub template: Option<String>,
    /// Added to the template's variables.
    pub template_vars: Map<String, Value>,
    /// `None` is the template's.
    pub category: Option<String>,
    /// `None` follows the event's severity.
    pub priority: Option<Priority>,
    /// `None` is the recipient's.
    pub locale: Option<String>,
    pub bypass_quiet_hours: bool,
    /// From the event on; then it is not sent any more.
    pub expires_in: Option<Duration>,
    /// Who hears of it; none means the user in the payload.
    pub recipients: Vec<Selector>,
    /// Several events are told as one.
    pub batch: Option<Batch>,
    /// Tried against each other; none means no test.
    pub variants: Vec<Variant>,
}

/// A way to name recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Users(Vec<UserId>),
    /// Everybody who has one of these roles.
    Roles(Vec<String>),
    Groups(Vec<String>),
    /// Members of topics, by name.
    Topics(Vec<String>),
    /// System targets such as `#ops-critical`: a name that starts with `#` is a Slack channel, any
    /// other a user of that id.
    Targets(Vec<String>),
    /// CEL over `event` that answers a user id, or a list of them.
    Dynamic(String),
}

/// When events are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// From the first event to the send.
    pub window: Duration,
    /// So many events are sent at once.
    pub size: Option<u32>,
    /// CEL over `event`; events of one value are told together. `None` takes all.
    pub key: Option<String>,
}

/// One side of a test of templates or channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub name: String,
    /// Its part of the users, relative to the others'.
    pub weight: u32,
    /// `None` is the action's.
    pub template: Option<String>,
    /// `None` is the action's.
    pub channels: Option<Vec<Channel>>,
}

/// When a rule fires by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub every: Every,
    /// Whose clock a cron expression is read on.
    pub timezone: Tz,
}

/// How often a rule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Every {
    /// Five or six fields, as croner reads them.
    Cron(String),
    Interval(Duration),
}

/// A rule shared by all who look at it.
pub type SharedRule = Arc<Rule>;

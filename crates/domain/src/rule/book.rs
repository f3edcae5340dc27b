//! All rules of a tenant, compiled, and found by the type of an event.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{Rule, SharedRule};
use crate::{EventFacts, RuleId, TraceStep, UserId};

/// The rules of one tenant.
#[derive(Debug, Default)]
pub struct RuleBook {}

/// What the rules say to an event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// In the order of their names.
    pub rules: Vec<SharedRule>,
    /// Which rules matched, which did not and why, and which failed.
    pub steps: Vec<TraceStep>,
}

/// Whom an action is for, before anybody is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    pub users: BTreeSet<UserId>,
    pub roles: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    /// By name.
    pub topics: BTreeSet<String>,
}

/// Why an expression of a rule gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct RuleError {
    /// The field of the rule, such as `when` or `actions/0/batch_key`.
    pub place: String,
    pub detail: String,
}

impl RuleBook {
    /// Compiles rules. One that does not compile is left out of every match, with a step that says
    /// so; what `before` has compiled at the same version is taken over.
    pub fn compile(_rules: Vec<Rule>, _before: Option<&Self>) -> Self {
        Self::default()
    }

    /// The rule of this id.
    pub fn rule(&self, _id: RuleId) -> Option<&SharedRule> {
        None
    }

    /// The rules that speak of `event` at `at`, which is what `valid_from` is held against.
    pub fn matching(&self, _event: &EventFacts<'_>, _at: DateTime<Utc>) -> Matching {
        Matching::default()
    }

    /// Whom an action of a rule in this book is for.
    pub fn audience(
        &self,
        _rule: &Rule,
        _action: usize,
        _event: &EventFacts<'_>,
    ) -> Result<Audience, RuleError> {
        Ok(Audience::default())
    }

    /// The key that events are gathered by; empty where the action names none.
    pub fn batch_key(
        &self,
        _rule: &Rule,
        _action: usize,
        _event: &EventFacts<'_>,
    ) -> Result<String, RuleError> {
        Ok(String::new())
    }
}

//! All rules of a tenant, compiled, and found by the type of an event.

mod compiled;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::cel::Scene;
use super::{Rule, SharedRule};
use crate::{NAME_CHARS_MAX, RuleId, TraceStep, UserId, template_key};
use compiled::{Compiled, Expressions, Miss};

/// The step that the trace entries of rules carry.
const STEP: &str = "rules";

/// Rules that did not match and are named in a trace; of the others it gives the number.
const MISSES_NAMED_MAX: usize = 20;

/// Rules that matched and are named in a trace.
const MATCHES_NAMED_MAX: usize = 100;

/// Users that one expression may name.
const DYNAMIC_USERS_MAX: usize = 1000;

/// The rules of one tenant.
#[derive(Debug, Default)]
pub struct RuleBook {
    /// In the order of their names.
    rules: Vec<Arc<Compiled>>,
    by_id: HashMap<RuleId, usize>,
    /// Places in `rules`, in order, of those that can only match some types.
    by_type: HashMap<String, Vec<usize>>,
    /// Of those that can only match some domains.
    by_domain: HashMap<String, Vec<usize>>,
    /// Of those that can match any event.
    of_any: Vec<usize>,
    /// Expressions by their source: many rules say the same.
    expressions: Expressions,
}

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
    /// Selectors that named nobody because they failed, where others named somebody.
    pub failed: Vec<RuleError>,
}

impl Audience {
    fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.roles.is_empty()
            && self.groups.is_empty()
            && self.topics.is_empty()
    }
}

/// Why an expression of a rule gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct RuleError {
    /// The field of the rule, such as `when` or `actions/0/batch_key`.
    pub place: String,
    pub detail: String,
}

impl RuleError {
    fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            detail: detail.into(),
        }
    }
}

impl RuleBook {
    /// Compiles rules. One that does not compile is left out of every match, with a step that says
    /// so; what `before` has compiled at the same version is taken over.
    pub fn compile(rules: Vec<Rule>, before: Option<&Self>) -> Self {
        let known = before.map(|book| &book.expressions);
        let mut expressions = Expressions::default();
        let mut compiled: Vec<_> = rules
            .into_iter()
            .map(|rule| {
                let same = before.and_then(|book| book.find(&rule));
                if let Some(same) = same {
                    expressions.keep(same);
                    return Arc::clone(same);
                }
                Arc::new(Compiled::new(rule, &mut expressions, known))
            })
            .collect();
        compiled.sort_by(|left, right| {
            let key = |one: &Arc<Compiled>| (one.rule.name.clone(), one.rule.id);
            key(left).cmp(&key(right))
        });

        let mut book = Self {
            expressions,
            ..Self::default()
        };
        for (place, compiled) in compiled.iter().enumerate() {
            book.by_id.insert(compiled.rule.id, place);
            book.index(place, compiled);
        }
        book.rules = compiled;
        book
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All rules, in the order of their names.
    pub fn rules(&self) -> impl Iterator<Item = &SharedRule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Rules that never match because they do not compile, with what is wrong.
    pub fn broken(&self) -> impl Iterator<Item = (&SharedRule, &RuleError)> {
        let broken = |compiled: &'_ Arc<Compiled>| compiled.problem.is_some();
        let rules = self.rules.iter().filter(move |compiled| broken(compiled));
        rules.filter_map(|compiled| Some((&compiled.rule, compiled.problem.as_ref()?)))
    }

    /// The rule of this id.
    pub fn rule(&self, id: RuleId) -> Option<&SharedRule> {
        let compiled = self.rules.get(*self.by_id.get(&id)?)?;
        Some(&compiled.rule)
    }

    /// The rules that speak of an event at `at`, which is what `valid_from` is held against.
    pub fn matching(&self, scene: &Scene<'_>, at: DateTime<Utc>) -> Matching {
        let event = &scene.event;
        let candidates = self.candidates(event.kind);
        let mut matching = Matching::default();
        let mut misses = 0;
        let mut unnamed = 0;
        for &place in &candidates {
            let Some(compiled) = self.rules.get(place) else {
                continue;
            };
            let step = match compiled.speaks_of(scene, at) {
                Ok(()) => {
                    matching.rules.push(Arc::clone(&compiled.rule));
                    if matching.rules.len() > MATCHES_NAMED_MAX {
                        unnamed += 1;
                        continue;
                    }
                    compiled.step("matched", "it speaks of this event".to_owned())
                }
                Err(miss) => {
                    misses += 1;
                    if misses > MISSES_NAMED_MAX {
                        unnamed += 1;
                        continue;
                    }
                    match miss {
                        Miss::No(reason) => compiled.step("not_matched", reason),
                        Miss::Failed(error) => compiled.step("failed", error.to_string()),
                    }
                }
            };
            matching.steps.push(step);
        }
        if unnamed > 0 {
            let reason = format!("{unnamed} more rules were looked at");
            let step = TraceStep::new(STEP, "more", reason).with_detail(json!({
                "looked_at": candidates.len(),
                "matched": matching.rules.len(),
            }));
            matching.steps.push(step);
        }
        matching
    }

    /// Whom an action of a rule in this book is for.
    ///
    /// An action without recipients is for the user in the payload. Where one of several selectors
    /// fails, the others are still heard.
    pub fn audience(
        &self,
        rule: &Rule,
        action: usize,
        scene: &Scene<'_>,
    ) -> Result<Audience, RuleError> {
        let Some(compiled) = self.find(rule) else {
            return Err(RuleError::new("", "the rule is not in this book"));
        };
        let mut audience = compiled.audience(action, scene)?;
        if audience.is_empty() && !audience.failed.is_empty() {
            return Err(audience.failed.swap_remove(0));
        }
        Ok(audience)
    }

    /// The key that events are gathered by; empty where the action names none.
    ///
    /// One that is longer than a name may be becomes its digest.
    pub fn batch_key(
        &self,
        rule: &Rule,
        action: usize,
        scene: &Scene<'_>,
    ) -> Result<String, RuleError> {
        let Some(compiled) = self.find(rule) else {
            return Err(RuleError::new("", "the rule is not in this book"));
        };
        compiled.batch_key(action, scene)
    }

    /// A rule as it was compiled, if it has not changed since.
    fn find(&self, rule: &Rule) -> Option<&Arc<Compiled>> {
        let compiled = self.rules.get(*self.by_id.get(&rule.id)?)?;
        (compiled.rule.version == rule.version).then_some(compiled)
    }

    /// Enters a rule where events find it.
    fn index(&mut self, place: usize, compiled: &Compiled) {
        let rule = &compiled.rule;
        // It fires by the clock.
        if rule.schedule.is_some() {
            return;
        }
        let keys = |names: &[String]| names.iter().map(|name| template_key(name)).collect();
        let types: Option<BTreeSet<String>> = if rule.event_types.is_empty() {
            compiled.types_by_when().map(|types| keys(&types))
        } else {
            Some(keys(&rule.event_types))
        };
        if let Some(types) = types {
            for key in types {
                self.by_type.entry(key).or_default().push(place);
            }
        } else if rule.domains.is_empty() {
            self.of_any.push(place);
        } else {
            let domains: BTreeSet<String> = keys(&rule.domains);
            for key in domains {
                self.by_domain.entry(key).or_default().push(place);
            }
        }
    }

    /// The places of the rules that can match an event of this type, in order.
    fn candidates(&self, kind: &str) -> Vec<usize> {
        let key = template_key(kind);
        let of_type = self.by_type.get(&key).map(Vec::as_slice);
        let of_domain = self.by_domain.get(domain_of(&key)).map(Vec::as_slice);
        let mut places = [
            of_type.unwrap_or_default(),
            of_domain.unwrap_or_default(),
            &self.of_any,
        ]
        .concat();
        // Each rule is in one of the three, so none is there twice.
        places.sort_unstable();
        places
    }
}

/// The part of a type's key before its first dot.
fn domain_of(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

//! One rule with its conditions and expressions compiled.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what an expression may answer is open; what is of no use is refused"
)]

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Audience, DYNAMIC_USERS_MAX, NAME_CHARS_MAX, RuleError, STEP, domain_of};
use crate::rule::cel::{self, Expression, Scene};
use crate::rule::condition::Check;
use crate::rule::{Action, Rule, Selector, SharedRule};
use crate::{TraceStep, UserId, template_key};

/// Compiled expressions by their source. One that cannot be compiled is kept with the reason.
#[derive(Debug, Default)]
pub(super) struct Expressions(HashMap<String, Result<Arc<Expression>, String>>);

impl Expressions {
    fn compile(&mut self, source: &str, known: Option<&Self>) -> Result<Arc<Expression>, String> {
        let known = known.and_then(|known| known.0.get(source));
        let entry = self.0.entry(source.to_owned());
        entry
            .or_insert_with(|| match known {
                Some(known) => known.clone(),
                None => cel::compile(source).map(Arc::new),
            })
            .clone()
    }

    /// Takes over those of a rule that is taken over.
    pub(super) fn keep(&mut self, compiled: &Compiled) {
        for (source, expression) in &compiled.expressions {
            let kept = Ok(Arc::clone(expression));
            self.0.entry(source.clone()).or_insert(kept);
        }
    }
}

/// A rule that can be held against events.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) rule: SharedRule,
    checks: Vec<Check>,
    /// All expressions of the rule, by their source.
    expressions: HashMap<String, Arc<Expression>>,
    /// Why it does not compile, and so never matches.
    pub(super) problem: Option<RuleError>,
}

/// Why a rule does not speak of an event.
#[derive(Debug)]
pub(super) enum Miss {
    No(String),
    Failed(RuleError),
}

impl Compiled {
    pub(super) fn new(
        rule: Rule,
        expressions: &mut Expressions,
        known: Option<&Expressions>,
    ) -> Self {
        let mut compiled = Self {
            rule: Arc::new(rule),
            checks: Vec::new(),
            expressions: HashMap::new(),
            problem: None,
        };
        compiled.problem = compiled.compile(expressions, known).err();
        compiled
    }

    fn compile(
        &mut self,
        expressions: &mut Expressions,
        known: Option<&Expressions>,
    ) -> Result<(), RuleError> {
        let rule = Arc::clone(&self.rule);
        for (index, condition) in rule.conditions.iter().enumerate() {
            let check = Check::compile(condition);
            let place = || format!("conditions/{index}/value");
            self.checks
                .push(check.map_err(|detail| RuleError::new(place(), detail))?);
        }
        for (place, source) in sources(&rule) {
            let expression = expressions.compile(source, known);
            let expression = expression.map_err(|detail| RuleError::new(place, detail))?;
            self.expressions.insert(source.to_owned(), expression);
        }
        Ok(())
    }

    /// The types that `when` confines it to.
    pub(super) fn types_by_when(&self) -> Option<Vec<String>> {
        self.expression(self.rule.when.as_ref()?)?.event_types()
    }

    pub(super) fn expression(&self, source: &str) -> Option<&Arc<Expression>> {
        self.expressions.get(source)
    }

    /// Whether it matches; cheap questions come first.
    pub(super) fn speaks_of(&self, scene: &Scene<'_>, at: DateTime<Utc>) -> Result<(), Miss> {
        let (rule, event) = (&self.rule, &scene.event);
        let no = |reason: &str| Err(Miss::No(reason.to_owned()));
        if !rule.enabled {
            return no("it is switched off");
        }
        if rule.valid_from.is_some_and(|from| at < from) {
            return no("it is not valid yet");
        }
        if rule.valid_until.is_some_and(|until| at >= until) {
            return no("it is not valid any more");
        }
        if let Some(problem) = &self.problem {
            return Err(Miss::Failed(problem.clone()));
        }
        if !rule.domains.is_empty() {
            let key = template_key(event.kind);
            let is_ours = |name: &String| template_key(name) == domain_of(&key);
            if !rule.domains.iter().any(is_ours) {
                return no("the type is of another domain");
            }
        }
        for (index, check) in self.checks.iter().enumerate() {
            match check.holds(scene) {
                Ok(true) => {}
                Ok(false) => return Err(Miss::No(self.failing(index))),
                Err(detail) => {
                    let place = format!("conditions/{index}");
                    return Err(Miss::Failed(RuleError::new(place, detail)));
                }
            }
        }
        let Some(when) = &rule.when else {
            return Ok(());
        };
        match self.evaluate("when", when, scene) {
            Ok(::cel::Value::Bool(true)) => Ok(()),
            Ok(::cel::Value::Bool(false)) => no("`when` is false"),
            Ok(_) => Err(Miss::Failed(RuleError::new(
                "when",
                "answers neither true nor false",
            ))),
            Err(error) => Err(Miss::Failed(error)),
        }
    }

    /// Names a condition that does not hold, without the value that it was held against.
    fn failing(&self, index: usize) -> String {
        let Some(condition) = self.rule.conditions.get(index) else {
            return "a condition does not hold".to_owned();
        };
        let (field, operator) = (&condition.field, condition.operator.as_str());
        match &condition.value {
            serde_json::Value::Null => format!("`{field}` {operator} does not hold"),
            value => {
                let value: String = value.to_string().chars().take(NAME_CHARS_MAX).collect();
                format!("`{field}` {operator} {value} does not hold")
            }
        }
    }

    fn evaluate(
        &self,
        place: &str,
        source: &str,
        scene: &Scene<'_>,
    ) -> Result<::cel::Value, RuleError> {
        match self.expression(source) {
            Some(expression) => scene
                .evaluate(expression)
                .map_err(|detail| RuleError::new(place, detail)),
            None => Err(RuleError::new(place, "does not compile")),
        }
    }

    fn action(&self, action: usize) -> Result<&Action, RuleError> {
        let found = self.rule.actions.get(action);
        found.ok_or_else(|| RuleError::new(format!("actions/{action}"), "is not there"))
    }

    pub(super) fn audience(&self, action: usize, scene: &Scene<'_>) -> Result<Audience, RuleError> {
        let mut audience = Audience::default();
        let selectors = &self.action(action)?.recipients;
        if selectors.is_empty() {
            let Some(user) = scene.event.user_id() else {
                let place = format!("actions/{action}/recipients");
                let detail = "names nobody, and the payload has no usable user_id";
                return Err(RuleError::new(place, detail));
            };
            audience.users.insert(user);
        }
        for (index, selector) in selectors.iter().enumerate() {
            match selector {
                Selector::Users(users) => audience.users.extend(users.iter().cloned()),
                Selector::Roles(roles) => audience.roles.extend(roles.iter().cloned()),
                Selector::Groups(groups) => audience.groups.extend(groups.iter().cloned()),
                Selector::Topics(topics) => audience.topics.extend(topics.iter().cloned()),
                Selector::Targets(targets) => {
                    let users = targets.iter().map(|target| UserId::from(target.as_str()));
                    audience.users.extend(users);
                }
                Selector::Dynamic(source) => {
                    let place = format!("actions/{action}/recipients/{index}");
                    let named = self.evaluate(&place, source, scene).and_then(|answer| {
                        users_of(&answer).map_err(|detail| RuleError::new(place, detail))
                    });
                    match named {
                        Ok(users) => audience.users.extend(users),
                        Err(error) => audience.failed.push(error),
                    }
                }
            }
        }
        Ok(audience)
    }

    pub(super) fn batch_key(&self, action: usize, scene: &Scene<'_>) -> Result<String, RuleError> {
        let batch = self.action(action)?.batch.as_ref();
        let Some(source) = batch.and_then(|batch| batch.key.as_ref()) else {
            return Ok(String::new());
        };
        let place = format!("actions/{action}/batch_key");
        let answer = self.evaluate(&place, source, scene)?;
        let key = match answer {
            ::cel::Value::Null => String::new(),
            ::cel::Value::Bool(truth) => truth.to_string(),
            ::cel::Value::Float(number) => number.to_string(),
            other => match text_of(&other) {
                Some(text) => text.replace('\0', "\u{fffd}"),
                None => return Err(RuleError::new(place, "answers no text and no number")),
            },
        };
        if key.chars().count() <= NAME_CHARS_MAX {
            return Ok(key);
        }
        Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_bytes())))
    }

    /// What the trace says of it.
    pub(super) fn step(&self, decision: &'static str, reason: String) -> TraceStep {
        let rule = &self.rule;
        TraceStep::new(STEP, decision, reason).with_detail(json!({
            "rule": rule.name, "rule_id": rule.id, "version": rule.version,
        }))
    }
}

/// Every expression of a rule, with its place.
pub(in crate::rule) fn sources(rule: &Rule) -> Vec<(String, &str)> {
    let mut sources = Vec::new();
    if let Some(when) = &rule.when {
        sources.push(("when".to_owned(), when.as_str()));
    }
    for (index, action) in rule.actions.iter().enumerate() {
        for (selector_index, selector) in action.recipients.iter().enumerate() {
            if let Selector::Dynamic(source) = selector {
                let place = format!("actions/{index}/recipients/{selector_index}");
                sources.push((place, source.as_str()));
            }
        }
        if let Some(key) = action.batch.as_ref().and_then(|batch| batch.key.as_ref()) {
            sources.push((format!("actions/{index}/batch_key"), key.as_str()));
        }
    }
    sources
}

/// Reads whom an expression named: a user id, or a list of them.
fn users_of(answer: &::cel::Value) -> Result<Vec<UserId>, String> {
    let one = |value: &::cel::Value| match text_of(value) {
        Some(text) if is_user(&text) => Ok(UserId::from(text)),
        _ => Err("answers no user id".to_owned()),
    };
    match answer {
        ::cel::Value::List(several) if several.len() > DYNAMIC_USERS_MAX => Err(format!(
            "answers more than {DYNAMIC_USERS_MAX} users; name a topic instead"
        )),
        ::cel::Value::List(several) => several.iter().map(one).collect(),
        other => one(other).map(|user| vec![user]),
    }
}

fn is_user(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && text.chars().count() <= NAME_CHARS_MAX
}

/// A text, or the digits of a whole number.
fn text_of(value: &::cel::Value) -> Option<String> {
    if let ::cel::Value::String(text) = value {
        return Some(text.to_string());
    }
    if let ::cel::Value::Int(number) = value {
        return Some(number.to_string());
    }
    match value {
        ::cel::Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

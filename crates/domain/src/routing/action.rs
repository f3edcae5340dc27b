//! What one user is told: by an action of a rule, by default, or of a digest that has closed.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::channel::Crossing;
use super::variant::choose;
use super::{DIGEST_TEMPLATE, EventFacts, PlannedNotification, STEP, TemplateNames};
use crate::{
    Action, Channel, ConsentCategories, Matter, Priority, Recipient, Rule, RuleId, Severity,
    Status, Telling, TraceStep, UserId, Variant,
};

/// What an action is decided on, whoever it is about.
#[derive(Debug, Clone, Copy)]
pub struct ActionFacts<'a> {
    pub event: EventFacts<'a>,
    pub origin: Origin<'a>,
    pub templates: &'a TemplateNames,
}

/// Why anything is done at all.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// No rule matches, and the payload names a user.
    Default,
    /// An action of a rule, counted from 0.
    Rule(&'a Rule, u16),
}

/// What a telling is decided on, whoever it is told to.
#[derive(Debug, Clone, Copy)]
pub struct TellingFacts<'a> {
    pub telling: &'a Telling,
    /// The rule that tells, and which of its actions.
    pub rule: Option<(RuleId, u16)>,
    /// The type of the event, or of the last of a digest.
    pub kind: &'a str,
    pub priority: Priority,
    pub severity: Option<Severity>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it tells several events.
    pub is_digest: bool,
    pub templates: &'a TemplateNames,
}

/// The decision about an event that no rule speaks of: whom it is for, if anybody.
pub fn unruled(event: &EventFacts<'_>) -> Result<UserId, TraceStep> {
    event.user_id().ok_or_else(|| {
        let reason = "no rule matches and the payload has no usable user_id";
        TraceStep::new(STEP, "no_recipient", reason)
    })
}

impl<'a> ActionFacts<'a> {
    /// What the rule says; `None` where none does.
    pub fn action(&self) -> Option<&'a Action> {
        match self.origin {
            Origin::Default => None,
            Origin::Rule(rule, action) => rule.actions.get(usize::from(action)),
        }
    }

    /// How a user is told, and why so.
    pub fn telling(&self, user_id: &UserId) -> (Telling, Vec<TraceStep>) {
        let mut steps = vec![self.origin_step(user_id)];
        let Origin::Rule(rule, place) = self.origin else {
            return (Telling::default(), steps);
        };
        let Some(action) = self.action() else {
            return (Telling::default(), steps);
        };
        let variant = choose(&action.variants, rule.id, place, user_id);
        steps.extend(variant.map(|it| variant_step(it, action)));
        (Telling::of(rule, action, variant), steps)
    }

    /// Whether a user may be told something that must be agreed to: by the category of the action,
    /// or of any template that it is told by.
    pub fn may_need(&self, consent: &ConsentCategories) -> bool {
        let action = self.action();
        if let Some(category) = action.and_then(|action| action.category.as_deref()) {
            return consent.contains(category);
        }
        let of_action = action.and_then(|action| action.template.as_deref());
        let variants = action.map_or(&[][..], |action| &action.variants[..]);
        let of_variants = variants.iter().filter_map(|it| it.template.as_deref());
        let of_digest = action.and_then(|action| action.batch.as_ref());
        let mut names = of_variants
            .chain([of_action.unwrap_or(self.event.kind)])
            .chain(of_digest.map(|_| DIGEST_TEMPLATE));
        names.any(|name| {
            let known = self.templates.find(name);
            let category = known.and_then(|known| known.category.as_deref());
            category.is_some_and(|category| consent.contains(category))
        })
    }

    /// The action's priority, else what the event's severity says.
    pub fn priority(&self) -> Priority {
        let of_event = || self.event.severity.map(Severity::to_priority);
        let of_action = self.action().and_then(|action| action.priority);
        of_action.or_else(of_event).unwrap_or_default()
    }

    /// Plans what one user is told at `at`. `recipient` is what is known of them.
    pub fn plan(
        &self,
        user_id: &UserId,
        recipient: Option<&Recipient>,
        at: DateTime<Utc>,
    ) -> PlannedNotification {
        let (telling, steps) = self.telling(user_id);
        let facts = TellingFacts {
            telling: &telling,
            rule: match self.origin {
                Origin::Default => None,
                Origin::Rule(rule, action) => Some((rule.id, action)),
            },
            kind: self.event.kind,
            priority: self.priority(),
            severity: self.event.severity,
            expires_at: telling.expires_at(self.event.created_at),
            is_digest: self.action().is_some_and(|action| action.batch.is_some()),
            templates: self.templates,
        };
        facts.plan(user_id, recipient, at, steps)
    }

    fn origin_step(&self, user_id: &UserId) -> TraceStep {
        match self.origin {
            Origin::Default => TraceStep::new(
                STEP,
                "default_recipient",
                "no rule matches, so the user in the payload hears of it in-app",
            )
            .with_detail(json!({"user_id": user_id, "channel": Channel::InApp})),
            Origin::Rule(rule, action) => {
                let reason = format!("the rule `{}` speaks of the event", rule.name);
                TraceStep::new(STEP, "rule", reason).with_detail(json!({
                    "rule_id": rule.id, "rule": rule.name, "version": rule.version,
                    "action": action, "user_id": user_id,
                }))
            }
        }
    }
}

impl TellingFacts<'_> {
    /// Plans what one user is told at `at`; `steps` are the decisions so far.
    pub fn plan(
        &self,
        user_id: &UserId,
        recipient: Option<&Recipient>,
        at: DateTime<Utc>,
        mut steps: Vec<TraceStep>,
    ) -> PlannedNotification {
        let telling = self.telling;
        let named = telling.template.as_deref();
        let template = self.templates.find(named.unwrap_or(self.kind));
        // The plain one would tell the last event only.
        let usual = (self.is_digest && named.is_none()).then_some(DIGEST_TEMPLATE);
        let template = template.or_else(|| self.templates.find(usual?));
        let name = template.map(|known| known.name.as_str()).or(named);
        let version = template.map(|known| known.version);
        steps.push(self.template_step(named, name, version));
        let of_template = template.and_then(|known| known.category.as_deref());
        let category = telling.category.as_deref().or(of_template);
        let channels = telling.channels.as_deref().unwrap_or(&[Channel::InApp]);
        if self.rule.is_some() {
            let reason = "the rule names its channels";
            steps.push(TraceStep::new(STEP, "channels", reason).with_detail(json!({
                "channels": channels, "fallback": telling.fallback, "category": category,
                "priority": self.priority,
            })));
        }

        let crossing = Crossing {
            user_id,
            recipient,
            matter: Matter {
                category,
                priority: self.priority,
                severity: self.severity,
            },
            data: None,
            bypass_quiet_hours: telling.bypass_quiet_hours,
            is_test: false,
            at: Some(at),
        };
        let crossed = crossing.plan(channels, &telling.fallback);
        steps.extend(crossed.steps);
        let language = recipient.and_then(Recipient::language);
        let statuses = crossed.deliveries.iter().map(|delivery| delivery.status);
        PlannedNotification {
            user_id: user_id.clone(),
            rule: self.rule,
            variant: telling.variant.clone(),
            template: name.map(str::to_owned),
            template_version: version,
            vars: telling.template_vars.clone(),
            category: category.map(str::to_owned),
            priority: self.priority,
            locale: telling.locale.as_deref().or(language).map(str::to_owned),
            expires_at: self.expires_at,
            bypass_quiet_hours: telling.bypass_quiet_hours,
            fallback: crossed.fallback,
            status: Status::aggregate(statuses),
            deliveries: crossed.deliveries,
            steps,
        }
    }

    /// Says which template it is told in: the one named, or the one that the type finds.
    fn template_step(
        &self,
        named: Option<&str>,
        name: Option<&str>,
        version: Option<u32>,
    ) -> TraceStep {
        let (decision, reason) = match (named, version) {
            (Some(_), Some(_)) => ("template", "the rule names a template"),
            (Some(_), None) => ("template_missing", "the rule names a template there is not"),
            (None, Some(_)) if self.templates.find(self.kind).is_none() => (
                "template",
                "several events are told in the template of digests",
            ),
            (None, Some(_)) => ("template", "the event type names a template"),
            (None, None) => ("plain", "no template is named by the event type"),
        };
        TraceStep::new(STEP, decision, reason).with_detail(json!({
            "type": self.kind, "template": name, "version": version,
        }))
    }
}

fn variant_step(variant: &Variant, action: &Action) -> TraceStep {
    let sides: Vec<_> = action
        .variants
        .iter()
        .map(|it| json!({"name": it.name, "weight": it.weight}))
        .collect();
    let reason = format!("the user is on side `{}` of the rule's test", variant.name);
    TraceStep::new(STEP, "variant", reason)
        .with_detail(json!({"variant": variant.name, "of": sides}))
}

//! An action of a rule, about one user; or what is done about an event that no rule speaks of.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::channel::Crossing;
use super::variant::choose;
use super::{EventFacts, PlannedNotification, STEP, TemplateNames};
use crate::{
    Action, Channel, Matter, Priority, Recipient, Rule, Severity, Status, TraceStep, UserId,
    Variant,
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

/// The decision about an event that no rule speaks of: whom it is for, if anybody.
pub fn unruled(event: &EventFacts<'_>) -> Result<UserId, TraceStep> {
    event.user_id().ok_or_else(|| {
        let reason = "no rule matches and the payload has no usable user_id";
        TraceStep::new(STEP, "no_recipient", reason)
    })
}

impl<'a> ActionFacts<'a> {
    /// What the rule says; `None` if it has no such action any more.
    pub fn action(&self) -> Option<&'a Action> {
        match self.origin {
            Origin::Default => None,
            Origin::Rule(rule, action) => rule.actions.get(usize::from(action)),
        }
    }

    /// Plans what one user is told at `at`. `recipient` is what is known of them.
    pub fn plan(
        &self,
        user_id: &UserId,
        recipient: Option<&Recipient>,
        at: DateTime<Utc>,
    ) -> PlannedNotification {
        let usual = Action::default();
        let action = self.action().unwrap_or(&usual);
        let mut steps = vec![self.origin_step(user_id)];
        let variant = self.variant(action, user_id);
        steps.extend(variant.map(|it| variant_step(it, action)));

        let named = variant.and_then(|it| it.template.as_deref());
        let named = named.or(action.template.as_deref());
        let (template, version) = self.template(named, &mut steps);
        let of_template = named
            .or(Some(self.event.kind))
            .and_then(|name| self.templates.find(name))
            .and_then(|known| known.category.as_deref());
        let category = action.category.as_deref().or(of_template);
        let severity = self.event.severity;
        let of_severity = || severity.map(Severity::to_priority).unwrap_or_default();
        let priority = action.priority.unwrap_or_else(of_severity);
        let channels = variant
            .and_then(|it| it.channels.as_deref())
            .or(action.channels.as_deref())
            .unwrap_or(&[Channel::InApp]);
        if let Origin::Rule(..) = self.origin {
            steps.push(action_step(channels, &action.fallback, category, priority));
        }

        let crossing = Crossing {
            user_id,
            recipient,
            matter: Matter {
                category,
                priority,
                severity,
            },
            data: None,
            bypass_quiet_hours: action.bypass_quiet_hours,
            is_test: false,
            at: Some(at),
        };
        let crossed = crossing.plan(channels, &action.fallback);
        steps.extend(crossed.steps);
        let language = recipient.and_then(Recipient::language);
        let lifetime = action
            .expires_in
            .and_then(|within| chrono::Duration::from_std(within).ok());
        let statuses = crossed.deliveries.iter().map(|delivery| delivery.status);
        PlannedNotification {
            user_id: user_id.clone(),
            rule: match self.origin {
                Origin::Default => None,
                Origin::Rule(rule, action) => Some((rule.id, action)),
            },
            variant: variant.map(|it| it.name.clone()),
            template,
            template_version: version,
            vars: action.template_vars.clone(),
            category: category.map(str::to_owned),
            priority,
            locale: action.locale.as_deref().or(language).map(str::to_owned),
            expires_at: lifetime
                .and_then(|within| self.event.created_at.checked_add_signed(within)),
            bypass_quiet_hours: action.bypass_quiet_hours,
            fallback: crossed.fallback,
            status: Status::aggregate(statuses),
            deliveries: crossed.deliveries,
            steps,
        }
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

    fn variant<'b>(&self, action: &'b Action, user_id: &UserId) -> Option<&'b Variant> {
        match self.origin {
            Origin::Default => None,
            Origin::Rule(rule, place) => choose(&action.variants, rule.id, place, user_id),
        }
    }

    /// The template it is told in and its version, by what is named or by the event's type.
    fn template(
        &self,
        named: Option<&str>,
        steps: &mut Vec<TraceStep>,
    ) -> (Option<String>, Option<u32>) {
        let found = self.templates.find(named.unwrap_or(self.event.kind));
        let (decision, reason) = match (named, found) {
            (Some(_), Some(_)) => ("template", "the rule names a template"),
            (Some(_), None) => ("template_missing", "the rule names a template there is not"),
            (None, Some(_)) => ("template", "the event type names a template"),
            (None, None) => ("plain", "no template is named by the event type"),
        };
        let name = found.map(|known| known.name.as_str()).or(named);
        let version = found.map(|known| known.version);
        steps.push(TraceStep::new(STEP, decision, reason).with_detail(json!({
            "type": self.event.kind, "template": name, "version": version,
        })));
        (name.map(str::to_owned), version)
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

fn action_step(
    channels: &[Channel],
    fallback: &[Channel],
    category: Option<&str>,
    priority: Priority,
) -> TraceStep {
    TraceStep::new(STEP, "channels", "the rule names its channels").with_detail(json!({
        "channels": channels, "fallback": fallback, "category": category, "priority": priority,
    }))
}

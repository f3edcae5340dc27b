//! Rehearsal: what an event would lead to, by the functions that decide in earnest.
//!
//! Rules, people, preferences and templates are read as they are now; nothing is written and
//! nothing is sent. What cannot be known beforehand is left out: how many others the rate limits
//! will have let pass by then, and what providers will say.

use chrono::{DateTime, Utc};
use domain::{
    ActionFacts, Channel, EventId, EventSubmission, PlannedDelivery, PlannedNotification, Priority,
    QuietMode, Status, TenantId, TraceStep, UserId,
};
use store::events::Event;
use store::{Connection, StoreError};

use crate::catalog::Shelf;
use crate::compiled::PinError;
use crate::route::{self, Heard, Source, load};

/// Decisions that one rehearsal tells. Those of a large audience are alike.
const STEPS_MAX: usize = 1000;

/// What an event would lead to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rehearsal {
    /// Every decision, in order.
    pub trace: Vec<TraceStep>,
    /// Of the first page of each audience.
    pub notifications: Vec<Rehearsed>,
    /// Whether an audience is larger than what is shown.
    pub has_more: bool,
}

/// What one user would be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    pub user_id: UserId,
    /// The rule's name; `None` where none speaks of the event.
    pub rule: Option<String>,
    pub variant: Option<String>,
    pub template: Option<String>,
    pub template_version: Option<u32>,
    pub category: Option<String>,
    pub priority: Priority,
    pub locale: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it would be told together with others, when the digest closes.
    pub is_gathered: bool,
    pub deliveries: Vec<RehearsedDelivery>,
}

/// What would become of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsedDelivery {
    pub channel: Channel,
    pub status: Status,
    /// When it would be sent; `None` if it would not.
    pub due_at: Option<DateTime<Utc>>,
    /// Why it would not be sent.
    pub error: Option<String>,
}

/// Decides about `event` as it would be decided at `at`, by the rules and templates of `shelf`.
pub async fn rehearse(
    connection: &mut Connection,
    shelf: &Shelf,
    tenant_id: &TenantId,
    event: EventSubmission,
    at: DateTime<Utc>,
) -> Result<Rehearsal, StoreError> {
    let id = EventId::supposed_at(at);
    let event = Event {
        id,
        tenant_id: tenant_id.clone(),
        created_at: at,
        event_id: event.event_id.unwrap_or_else(|| id.to_string()),
        producer: event.producer.unwrap_or_default(),
        kind: event.kind,
        severity: event.severity,
        payload: event.payload,
    };
    let source = load::load_one(connection, shelf, event, at).await?;
    let Source::Event {
        event,
        heard,
        steps,
    } = source
    else {
        return Ok(Rehearsal::default());
    };
    let names = shelf.template_names(tenant_id);
    let mut rehearsal = Rehearsal {
        trace: steps,
        ..Rehearsal::default()
    };
    for heard in &heard {
        rehearsal.trace.extend(heard.steps.iter().cloned());
        rehearsal.has_more |= heard.after.is_some();
        let facts = ActionFacts {
            event: route::facts(&event),
            origin: heard.origin(),
            templates: &names,
        };
        rehearsal.add(heard, &facts, at);
    }
    rehearsal.has_more |= rehearsal.trace.len() > STEPS_MAX;
    rehearsal.trace.truncate(STEPS_MAX);
    Ok(rehearsal)
}

impl Rehearsal {
    /// Plans what everybody is told who was looked up; a digest as of the moment it closes.
    fn add(&mut self, heard: &Heard, facts: &ActionFacts<'_>, at: DateTime<Utc>) {
        let batch = facts.action().and_then(|action| action.batch.as_ref());
        let due = batch.map_or(at, |batch| batch.closes_at(at));
        for (user_id, recipient) in &heard.recipients {
            self.trace.extend(route::digest_step(facts, at));
            let planned = facts.plan(user_id, recipient.as_deref(), due);
            self.trace.extend(planned.steps.iter().cloned());
            // A digest of a rule that comes at night is not gathered once more by itself.
            let deliveries = planned.deliveries.iter();
            self.trace.extend(deliveries.filter_map(route::quiet_step));
            let rule = heard.rule.as_ref().map(|rule| rule.name.clone());
            self.notifications
                .push(rehearsed(planned, rule, batch.is_some(), due));
        }
    }
}

fn rehearsed(
    planned: PlannedNotification,
    rule: Option<String>,
    is_gathered: bool,
    due: DateTime<Utc>,
) -> Rehearsed {
    let missing = match (&planned.template, planned.template_version) {
        (Some(name), None) => Some(PinError::Unknown { name: name.clone() }.to_string()),
        _ => None,
    };
    let deliveries = planned.deliveries.into_iter();
    Rehearsed {
        user_id: planned.user_id,
        rule,
        variant: planned.variant,
        template: planned.template,
        template_version: planned.template_version,
        category: planned.category,
        priority: planned.priority,
        locale: planned.locale,
        expires_at: planned.expires_at,
        is_gathered,
        deliveries: deliveries
            .map(|delivery| match &missing {
                Some(error) if is_rendered(&delivery) => unrendered(delivery.channel, error),
                _ => delivered(delivery, is_gathered, due),
            })
            .collect(),
    }
}

/// Whether its template is asked for: what is gathered for the end of quiet hours is told in
/// another.
fn is_rendered(delivery: &PlannedDelivery) -> bool {
    let mode = delivery.quiet.as_ref().map(|quiet| quiet.mode);
    mode != Some(QuietMode::Digest) && matches!(delivery.status, Status::Queued | Status::Pending)
}

/// What becomes of a delivery whose template is not there when its turn comes.
fn unrendered(channel: Channel, error: &str) -> RehearsedDelivery {
    RehearsedDelivery {
        channel,
        status: Status::Failed,
        due_at: None,
        error: Some(error.to_owned()),
    }
}

fn delivered(
    delivery: PlannedDelivery,
    is_gathered: bool,
    due: DateTime<Utc>,
) -> RehearsedDelivery {
    let is_told_later = |mode| matches!(mode, QuietMode::Defer | QuietMode::Digest);
    let held_back = delivery.quiet.filter(|quiet| is_told_later(quiet.mode));
    let due_at = match (delivery.status, held_back) {
        (_, Some(quiet)) => Some(quiet.until),
        (Status::Queued | Status::Pending, None) => Some(due),
        _ => None,
    };
    let status = match delivery.status {
        Status::Queued if is_gathered => Status::Pending,
        status => status,
    };
    RehearsedDelivery {
        channel: delivery.channel,
        status,
        due_at,
        error: delivery.error,
    }
}

//! `route`: turns one event, one direct send or one digest into notifications and deliveries.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | intake, with the event or the direct send; a settlement that closes a digest; itself |
//! | Queue | `route` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | rows are written with the job's ending; a run that is fenced off writes none |
//!
//! The decisions are `domain`'s: [`RuleBook`](domain::RuleBook) says which rules speak of an event,
//! [`ActionFacts::plan`] what a user is told, [`route_direct`](domain::route_direct) what becomes of
//! a direct send, [`tell`](mod@tell) how a digest is told. [`load`](mod@load) looks up whom they are
//! about, for a whole claim at once, and [`rows`] turns plans into rows.
//!
//! An audience of thousands is worked off in pages: each page plans its users and enqueues the next
//! with its own ending, so that a process that dies leaves nobody out and tells nobody twice.

mod gather;
pub(crate) mod load;
pub(crate) mod rows;
pub(crate) mod tell;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    ActionFacts, DigestId, DirectFacts, EventFacts, EventId, NotificationId, Origin, Recipient,
    RuleId, Severity, Status, TraceStep, UserId,
};
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use store::events::Event;
use store::notifications::Notification;
use store::{Connection, Effect, StoreError};

use crate::catalog::Shelf;
use crate::context::Context;
use crate::delivery::urgency;
use crate::queues;

pub(crate) use gather::digest_step;
pub(crate) use load::{Heard, Loaded, Source};

/// Payload of a `route` job: what came in, one way or another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Route {
    /// One rule alone: the next page of an action's audience, or what a schedule fired.
    Rule {
        event_id: EventId,
        rule_id: RuleId,
        /// `None` takes all its actions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<u16>,
        /// The last user of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<UserId>,
    },
    Event {
        /// `events.id`, not the submitter's name for it.
        event_id: EventId,
    },
    Notification {
        /// A direct send that waits as `pending`.
        notification_id: NotificationId,
    },
    Digest {
        /// A digest that has closed.
        digest_id: DigestId,
    },
}

impl Job for Route {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "route";
}

/// Loads what a claim is about: see [`load`](mod@load).
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[Route],
) -> Result<Vec<Option<Arc<Loaded>>>, StoreError> {
    let shelf = cx.catalog.current(connection).await?;
    load::load(connection, &shelf, jobs, cx.clock.now()).await
}

pub(crate) async fn run(
    job: Route,
    loaded: Option<&Loaded>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let now = cx.clock.now();
    let Some(Loaded { shelf, source }) = loaded else {
        tracing::warn!(?job, "nothing to route, the row is gone");
        return Ok(Outcome::cancelled());
    };
    Ok(match source {
        Source::Event {
            event,
            heard,
            steps,
        } => route_event(event, heard, steps, shelf, now),
        // Routed or cancelled before: nothing is left to decide.
        Source::Notification(sent, _) if is_routed(sent) => Outcome::completed(),
        Source::Notification(sent, recipient) => {
            route_direct(sent, recipient.as_deref(), shelf, now)
        }
        Source::Digest(to_tell, recipient) => {
            let names = shelf.template_names(&to_tell.digest.key.tenant_id);
            tell::tell(to_tell, recipient.as_deref(), &names, now)
        }
    })
}

/// What waits for the end of quiet hours is `pending` too, but has its deliveries.
fn is_routed(sent: &Notification) -> bool {
    sent.status != Status::Pending || sent.delivery_count > 0
}

pub(crate) fn facts(event: &Event) -> EventFacts<'_> {
    EventFacts {
        event_id: &event.event_id,
        producer: &event.producer,
        created_at: event.created_at,
        kind: &event.kind,
        severity: event.severity,
        payload: &event.payload,
    }
}

/// Plans what everybody is told who was looked up for this page.
fn route_event(
    event: &Event,
    heard: &[Heard],
    steps: &[TraceStep],
    shelf: &Shelf,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let names = shelf.template_names(&event.tenant_id);
    let mut outcome = Outcome::completed();
    let mut about_event = steps.to_vec();
    let mut planned = Vec::new();
    for heard in heard {
        about_event.extend(heard.steps.iter().cloned());
        let facts = ActionFacts {
            event: facts(event),
            origin: heard.origin(),
            templates: &names,
        };
        let batch = facts.action().and_then(|action| action.batch.as_ref());
        match (heard.batch_key.as_deref(), batch) {
            (Some(key), Some(batch)) => {
                for (user_id, _) in &heard.recipients {
                    let join = gather::join(event, &facts, batch, user_id, key, now);
                    outcome = outcome.with(Effect::DigestJoined(Box::new(join)));
                }
            }
            _ => {
                for (user_id, recipient) in &heard.recipients {
                    planned.push(facts.plan(user_id, recipient.as_deref(), now));
                }
            }
        }
        outcome.jobs.extend(heard.next_page(event, now));
    }
    // The decisions about the event stand with its notification where it has one alone.
    let is_sole = planned.len() == 1 && outcome.jobs.is_empty();
    if !is_sole {
        if !about_event.is_empty() {
            outcome = outcome.with(rows::traced(event.id.as_uuid(), now, about_event));
        }
        about_event = Vec::new();
    }
    let subject = rows::Subject {
        tenant_id: &event.tenant_id,
        event_id: Some(event.id),
        kind: &event.kind,
        digest_id: None,
    };
    for mut planned in planned {
        planned.steps.splice(0..0, about_event.drain(..));
        let id = NotificationId::at(now);
        outcome = rows::with_notification(outcome, id, subject, planned, now);
    }
    outcome
}

fn route_direct(
    sent: &Notification,
    recipient: Option<&Recipient>,
    shelf: &Shelf,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let facts = DirectFacts {
        user_id: &sent.user_id,
        channels: sent.channels.as_deref(),
        template: sent.template.as_deref(),
        priority: sent.priority,
        category: sent.category.as_deref(),
        data: sent.data.as_ref(),
        is_test: sent.is_test,
        locale: sent.locale.as_deref(),
        send_at: sent.send_at,
        expires_at: sent.expires_at,
        bypass_quiet_hours: sent.bypass_quiet_hours,
    };
    let names = shelf.template_names(&sent.tenant_id);
    let planned = domain::route_direct(facts, &names, recipient, now);
    let outcome = Outcome::completed().with(Effect::NotificationRouted {
        id: sent.id,
        status: planned.status,
        delivery_count: rows::count(&planned.deliveries),
        category: planned.category.clone(),
        locale: planned.locale.clone(),
        template_version: planned.template_version,
    });
    let place = rows::Place {
        notification_id: sent.id,
        tenant_id: &sent.tenant_id,
        send_at: sent.send_at,
    };
    rows::with_deliveries(outcome, place, planned, now)
}

impl Heard {
    pub(crate) fn origin(&self) -> Origin<'_> {
        match &self.rule {
            None => Origin::Default,
            Some(rule) => Origin::Rule(rule, self.action),
        }
    }

    /// The job that goes on where this page ends.
    fn next_page(&self, event: &Event, now: DateTime<Utc>) -> Option<NewJob> {
        let after = self.after.clone()?;
        let rule = self.rule.as_ref()?;
        let page = Route::Rule {
            event_id: event.id,
            rule_id: rule.id,
            action: Some(self.action),
            after: Some(after),
        };
        let severity = event.severity.map(Severity::to_priority);
        let job = NewJob::new(JobId::at(now), queues::ROUTE, &page);
        Some(
            job.priority(urgency(severity.unwrap_or_default()))
                .lane(queue::lane_of(&[event.tenant_id.as_str(), &event.kind])),
        )
    }
}

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
//! about, for a whole claim at once, [`plan`](mod@plan) asks what each is told, and [`rows`] turns
//! plans into rows. What can reach a feed [`at_once`](crate::at_once) does so in the same settlement.
//!
//! An audience of thousands is worked off in pages: each page plans its users and enqueues the next
//! with its own ending, so that a process that dies leaves nobody out and tells nobody twice.

mod gather;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod tell;

use chrono::{DateTime, Utc};
use domain::{
    ActionFacts, Batch, DigestId, EventFacts, EventId, NotificationId, Origin, RuleId, Severity,
    TraceStep, UserId,
};
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use store::events::Event;
use store::notifications::Notification;
use store::{Connection, Effect, StoreError};

use crate::at_once::{Pace, of_event, of_send};
use crate::catalog::Shelf;
use crate::context::Context;
use crate::delivery::urgency;
use crate::queues;

pub(crate) use gather::{digest_step, quiet_step};
pub(crate) use load::{Heard, Loaded, Source};
pub(crate) use plan::Planned;

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
) -> Result<Vec<Option<Loaded>>, StoreError> {
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
    let Some(Loaded {
        shelf,
        source,
        planned,
    }) = loaded
    else {
        tracing::warn!(?job, "nothing to route, the row is gone");
        return Ok(Outcome::cancelled());
    };
    Ok(match source {
        Source::Event {
            event,
            heard,
            steps,
        } => {
            let mut pace = Pace::new(cx);
            let outcome = about_event(event, heard, steps, shelf, now);
            route_event(event, planned, outcome, &mut pace, now).await
        }
        Source::Notification(sent, _) => match &planned[..] {
            [planned] => route_direct(sent, planned, &mut Pace::new(cx), now).await,
            _ => Outcome::completed(),
        },
        Source::Digest(to_tell, recipient) => {
            let names = shelf.template_names(&to_tell.digest.key.tenant_id);
            tell::tell(to_tell, recipient.as_deref(), &names, now)
        }
    })
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

/// What became of the event itself: the digests that it joins, the pages that follow, and why.
fn about_event(
    event: &Event,
    heard: &[Heard],
    steps: &[TraceStep],
    shelf: &Shelf,
    now: DateTime<Utc>,
) -> (Outcome<Effect>, Vec<TraceStep>) {
    let names = shelf.template_names(&event.tenant_id);
    let mut outcome = Outcome::completed();
    let mut steps = steps.to_vec();
    for heard in heard {
        steps.extend(heard.steps.iter().cloned());
        let facts = ActionFacts {
            event: facts(event),
            origin: heard.origin(),
            templates: &names,
        };
        if let Some((key, batch)) = heard.batch(&facts) {
            for (user_id, _) in &heard.recipients {
                let join = gather::join(event, &facts, batch, user_id, key, now);
                outcome = outcome.with(Effect::DigestJoined(Box::new(join)));
            }
        }
        outcome.jobs.extend(heard.next_page(event, now));
    }
    (outcome, steps)
}

/// Adds what everybody is told who was looked up for this page.
async fn route_event(
    event: &Event,
    planned: &[Planned],
    (mut outcome, mut about_event): (Outcome<Effect>, Vec<TraceStep>),
    pace: &mut Pace<'_>,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
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
    for planned in planned {
        let id = NotificationId::at(now);
        let brief = || of_event(event, planned, id, now);
        let beside = rows::Beside {
            about_event: std::mem::take(&mut about_event),
            arrived: pace.arrive(planned, brief).await,
        };
        let planned = &planned.notification;
        outcome = rows::with_notification(outcome, id, subject, planned, beside, now);
    }
    outcome
}

/// Adds what the user of a direct send is told.
async fn route_direct(
    sent: &Notification,
    planned: &Planned,
    pace: &mut Pace<'_>,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let beside = rows::Beside {
        arrived: pace.arrive(planned, || of_send(sent, planned)).await,
        ..rows::Beside::default()
    };
    let planned = &planned.notification;
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
    rows::with_deliveries(outcome, place, planned, beside, now)
}

impl Heard {
    pub(crate) fn origin(&self) -> Origin<'_> {
        match &self.rule {
            None => Origin::Default,
            Some(rule) => Origin::Rule(rule, self.action),
        }
    }

    /// What gathers the event with others, and by which key, if its action does.
    pub(crate) fn batch<'a>(&'a self, facts: &ActionFacts<'a>) -> Option<(&'a str, &'a Batch)> {
        let key = self.batch_key.as_deref()?;
        Some((key, facts.action()?.batch.as_ref()?))
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

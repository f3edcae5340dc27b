//! `route`: turns one event, one direct send, or one digest into notifications and deliveries.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | intake, with the event or the direct send; the settlement that closes a digest |
//! | Queue | `route` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | rows are written with the job's ending; a run that is fenced off writes none |
//!
//! The decision is [`domain::route_event`] and [`domain::route_direct`]; this file turns the plan
//! into rows. A delivery that can be sent gets a `render` job, due at the notification's `send_at`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    DigestId, DirectFacts, EventFacts, EventId, NotificationId, PlannedDelivery,
    PlannedNotification, Recipient, Status, TenantId, TraceStep, UserId,
};
use queue::{Failure, Job, LeaseInfo, Outcome};
use serde::{Deserialize, Serialize};
use store::digests::{ToTell, list_to_tell};
use store::effect::{NewDelivery, NewNotification};
use store::events::{Event, list_events_by_id};
use store::notifications::{Notification, list_notifications_by_id};
use store::recipients::list_recipients;
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::delivery::DeliveryFacts;
use crate::loading::lined_up;
use crate::render::Render;
use crate::{queues, route_digest};

/// Payload of a `route` job: what came in, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Route {
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

/// The row that the payload names, and what is known of whom it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    /// `None` if nothing is known of the user but the id, or if there is no user.
    pub(crate) recipient: Option<Recipient>,
}

/// The row itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Event(Event),
    Notification(Box<Notification>),
    Digest(Box<ToTell>),
}

/// Loads the events and direct sends of a claim, and their users with their preferences: one
/// statement for each.
pub(crate) async fn prepare(
    connection: &mut Connection,
    _cx: &Context,
    jobs: &[Route],
) -> Result<Vec<Option<Arc<Loaded>>>, StoreError> {
    let mut event_ids = Vec::new();
    let mut notification_ids = Vec::new();
    let mut digest_ids = Vec::new();
    for job in jobs {
        match *job {
            Route::Event { event_id } => event_ids.push(event_id),
            Route::Notification { notification_id } => notification_ids.push(notification_id),
            Route::Digest { digest_id } => digest_ids.push(digest_id),
        }
    }
    let mut sources = Vec::with_capacity(jobs.len());
    if !event_ids.is_empty() {
        let events = list_events_by_id(connection, &event_ids).await?;
        sources.extend(events.into_iter().map(Source::Event));
    }
    if !notification_ids.is_empty() {
        let sends = list_notifications_by_id(connection, &notification_ids).await?;
        sources.extend(
            sends
                .into_iter()
                .map(|sent| Source::Notification(Box::new(sent))),
        );
    }
    let digests = list_to_tell(connection, &digest_ids).await?;
    sources.extend(digests.into_iter().map(|it| Source::Digest(Box::new(it))));
    let users: Vec<_> = sources.iter().map(Source::user).collect();
    let wanted: HashSet<_> = users
        .iter()
        .flatten()
        .map(|(tenant, user)| (*tenant, user))
        .collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    let recipients = list_recipients(connection, &wanted).await?;
    let known: HashMap<_, _> = recipients
        .into_iter()
        .map(|known| {
            (
                (known.tenant_id, known.recipient.user_id.clone()),
                known.recipient,
            )
        })
        .collect();
    let recipients: Vec<_> = users
        .into_iter()
        .map(|user| {
            let (tenant, user) = user?;
            known.get(&(tenant.clone(), user)).cloned()
        })
        .collect();
    let rows = sources
        .into_iter()
        .zip(recipients)
        .map(|(source, recipient)| Loaded { source, recipient })
        .collect();
    Ok(lined_up(jobs, rows, Loaded::job))
}

impl Source {
    /// Whom it is for, if it says so.
    fn user(&self) -> Option<(&TenantId, UserId)> {
        match self {
            Self::Event(event) => Some((&event.tenant_id, facts(event).user_id()?)),
            Self::Notification(sent) => Some((&sent.tenant_id, sent.user_id.clone())),
            Self::Digest(it) => Some((&it.digest.key.tenant_id, it.digest.key.user_id.clone())),
        }
    }
}

impl Loaded {
    /// The job that asks for it.
    fn job(&self) -> Route {
        match &self.source {
            Source::Event(event) => Route::Event { event_id: event.id },
            Source::Notification(sent) => Route::Notification {
                notification_id: sent.id,
            },
            Source::Digest(it) => Route::Digest {
                digest_id: it.digest.id,
            },
        }
    }
}

pub(crate) async fn run(
    job: Route,
    loaded: Option<&Loaded>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let now = cx.clock.now();
    let Some(Loaded { source, recipient }) = loaded else {
        tracing::warn!(?job, "nothing to route, the row is gone");
        return Ok(Outcome::cancelled());
    };
    let recipient = recipient.as_ref();
    Ok(match source {
        Source::Event(event) => route_event(event, recipient, cx, now),
        // Routed or cancelled before: nothing is left to decide.
        Source::Notification(sent) if sent.status != Status::Pending => Outcome::completed(),
        Source::Notification(sent) => route_direct(sent, recipient, cx, now),
        Source::Digest(to_tell) => {
            let shelf = cx.catalog.latest();
            route_digest::tell(to_tell, recipient, shelf.template_names(), now)
        }
    })
}

fn facts(event: &Event) -> EventFacts<'_> {
    EventFacts {
        event_id: &event.event_id,
        producer: &event.producer,
        created_at: event.created_at,
        kind: &event.kind,
        severity: event.severity,
        payload: &event.payload,
    }
}

fn route_event(
    event: &Event,
    recipient: Option<&Recipient>,
    cx: &Context,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let plan = domain::route_event(
        facts(event),
        cx.catalog.latest().template_names(),
        recipient,
    );
    if plan.notifications.is_empty() {
        return Outcome::completed().with(traced(event.id.as_uuid(), now, plan.steps));
    }
    let mut outcome = Outcome::completed();
    for planned in plan.notifications {
        let id = NotificationId::at(now);
        outcome = outcome.with(Effect::NotificationPlanned(Box::new(NewNotification {
            id,
            tenant_id: event.tenant_id.clone(),
            user_id: planned.user_id.clone(),
            event_id: Some(event.id),
            created_at: now,
            send_at: None,
            expires_at: None,
            kind: event.kind.clone(),
            category: planned.category.clone(),
            priority: planned.priority,
            status: planned.status,
            template: planned.template.clone(),
            locale: planned.locale.clone(),
            subject: None,
            content: None,
            channels: None,
            data: None,
            delivery_count: count(&planned.deliveries),
            is_test: false,
            bypass_quiet_hours: false,
        })));
        outcome = with_deliveries(outcome, id, &event.tenant_id, planned, None, now);
    }
    outcome
}

fn route_direct(
    sent: &Notification,
    recipient: Option<&Recipient>,
    cx: &Context,
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
        expires_at: sent.expires_at,
    };
    let planned = domain::route_direct(facts, cx.catalog.latest().template_names(), recipient, now);
    let outcome = Outcome::completed().with(Effect::NotificationRouted {
        id: sent.id,
        status: planned.status,
        delivery_count: count(&planned.deliveries),
        category: planned.category.clone(),
        locale: planned.locale.clone(),
    });
    with_deliveries(
        outcome,
        sent.id,
        &sent.tenant_id,
        planned,
        sent.send_at,
        now,
    )
}

/// Adds a notification's deliveries, the `render` jobs of those that can be sent, and its trace.
pub(crate) fn with_deliveries(
    mut outcome: Outcome<Effect>,
    notification_id: NotificationId,
    tenant_id: &TenantId,
    planned: PlannedNotification,
    send_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let delivery_count = count(&planned.deliveries);
    for (position, delivery) in (0..).zip(planned.deliveries) {
        let id = domain::DeliveryId::at(now);
        let job = (delivery.status == Status::Queued).then(|| {
            let facts = DeliveryFacts {
                id,
                notification_id,
                tenant_id,
                user_id: &planned.user_id,
                channel: delivery.channel,
                address: delivery.address.as_deref(),
                status: delivery.status,
                priority: planned.priority,
                expires_at: None,
                is_sole: delivery_count == 1,
            };
            let due = send_at.filter(|&send_at| send_at > now);
            facts
                .job(queues::RENDER, &Render { delivery_id: id }, now)
                .run_at(due)
        });
        outcome = outcome.with(Effect::DeliveryPlanned(Box::new(NewDelivery {
            id,
            notification_id,
            tenant_id: tenant_id.clone(),
            user_id: planned.user_id.clone(),
            channel: delivery.channel,
            status: delivery.status,
            position,
            address: delivery.address,
            error: delivery.error,
            job_id: job.as_ref().map(|job| job.job_id.as_uuid()),
            created_at: now,
        })));
        if let Some(job) = job {
            outcome = outcome.then(job);
        }
    }
    outcome.with(traced(notification_id.as_uuid(), now, planned.steps))
}

pub(crate) fn traced(subject_id: uuid::Uuid, at: DateTime<Utc>, steps: Vec<TraceStep>) -> Effect {
    Effect::Traced {
        subject_id,
        at,
        steps,
    }
}

/// Deliveries of one notification are bounded by its channels and the user's devices.
pub(crate) fn count(deliveries: &[PlannedDelivery]) -> u16 {
    deliveries.len().try_into().unwrap_or(u16::MAX)
}

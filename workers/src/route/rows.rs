//! From plans to rows: a notification, its deliveries, the jobs of those that can be sent, a trace.

use chrono::{DateTime, Utc};
use domain::{
    DeliveryId, DigestId, EventId, NotificationId, PlannedDelivery, PlannedNotification, Priority,
    QuietMode, Status, TenantId, TraceStep, UserId,
};
use queue::{NewJob, Outcome};
use serde_json::Value;
use store::Effect;
use store::effect::{Decided, DigestJoin, InboxArrival, NewDelivery, NewNotification};

use super::gather;
use crate::at_once::Arrived;
use crate::delivery::DeliveryFacts;
use crate::queues;
use crate::quiet_hours;
use crate::render::Render;

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// Where deliveries belong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) notification_id: NotificationId,
    pub(crate) tenant_id: &'a TenantId,
    pub(crate) send_at: Option<DateTime<Utc>>,
}

/// What a planned notification tells: an event, or the events of a digest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) tenant_id: &'a TenantId,
    /// Of a digest the last one; `None` if that is gone.
    pub(crate) event_id: Option<EventId>,
    /// The event's type.
    pub(crate) kind: &'a str,
    pub(crate) digest_id: Option<DigestId>,
}

/// What stands beside a plan.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// The decisions about its event, to be told first.
    pub(crate) about_event: Vec<TraceStep>,
    /// The delivery that reaches its feed by the settlement that plans it.
    pub(crate) arrived: Option<Arrived>,
}

/// Adds the notification `id`, with all that belongs to it.
pub(crate) fn with_notification(
    outcome: Outcome<Effect>,
    id: NotificationId,
    subject: Subject<'_>,
    planned: &PlannedNotification,
    beside: Beside,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let vars = (!planned.vars.is_empty()).then(|| Value::Object(planned.vars.clone()));
    let outcome = outcome.with(Effect::NotificationPlanned(Box::new(NewNotification {
        id,
        tenant_id: subject.tenant_id.clone(),
        user_id: planned.user_id.clone(),
        event_id: subject.event_id,
        created_at: now,
        send_at: None,
        expires_at: planned.expires_at,
        kind: subject.kind.to_owned(),
        category: planned.category.clone(),
        priority: planned.priority,
        status: planned.status,
        template: planned.template.clone(),
        locale: planned.locale.clone(),
        subject: None,
        content: None,
        channels: None,
        data: vars,
        delivery_count: count(&planned.deliveries),
        is_test: false,
        bypass_quiet_hours: planned.bypass_quiet_hours,
        decided: Decided {
            rule: planned.rule,
            variant: planned.variant.clone(),
            fallback: planned.fallback.clone(),
            template_version: planned.template_version,
            digest_id: subject.digest_id,
        },
    })));
    let place = Place {
        notification_id: id,
        tenant_id: subject.tenant_id,
        send_at: None,
    };
    with_deliveries(outcome, place, planned, beside, now)
}

/// What is the same for all deliveries of a notification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) user_id: &'a UserId,
    pub(crate) priority: Priority,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// A planned delivery as rows: its own, and what makes it go on.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) delivery: NewDelivery,
    /// `None` where nothing is left to do, or a digest does it.
    pub(crate) job: Option<NewJob>,
    pub(crate) join: Option<DigestJoin>,
}

impl Told<'_> {
    pub(crate) fn rows(
        &self,
        id: DeliveryId,
        position: u16,
        planned: &PlannedDelivery,
        now: DateTime<Utc>,
    ) -> Rows {
        let facts = DeliveryFacts {
            id,
            notification_id: self.place.notification_id,
            tenant_id: self.place.tenant_id,
            user_id: self.user_id,
            channel: planned.channel,
            address: planned.address.as_deref(),
            status: planned.status,
            priority: self.priority,
            expires_at: self.expires_at,
            is_sole: false,
        };
        let deferred = planned
            .quiet
            .as_ref()
            .filter(|quiet| quiet.mode == QuietMode::Defer);
        let job = match (planned.status, deferred) {
            // The plan has told of it.
            (Status::Pending, Some(quiet)) => {
                Some(quiet_hours::defer(&facts, quiet, STEP, now).job)
            }
            (Status::Queued, _) => {
                let due = self.place.send_at.filter(|&send_at| send_at > now);
                let render = Render { delivery_id: id };
                Some(facts.job(queues::RENDER, &render, now).run_at(due))
            }
            _ => None,
        };
        let mut delivery = self.delivery(id, position, planned, now);
        delivery.job_id = job.as_ref().map(|job| job.job_id.as_uuid());
        Rows {
            delivery,
            job,
            join: gather::join_quietly(id, self, planned, now),
        }
    }

    /// A delivery that no job works on.
    fn delivery(
        &self,
        id: DeliveryId,
        position: u16,
        planned: &PlannedDelivery,
        now: DateTime<Utc>,
    ) -> NewDelivery {
        NewDelivery {
            id,
            notification_id: self.place.notification_id,
            tenant_id: self.place.tenant_id.clone(),
            user_id: self.user_id.clone(),
            channel: planned.channel,
            status: planned.status,
            position,
            address: planned.address.clone(),
            error: planned.error.clone(),
            job_id: None,
            created_at: now,
        }
    }

    /// What `render` and `deliver` would answer.
    fn arrival(
        &self,
        id: DeliveryId,
        arrived: Arrived,
        is_sole: bool,
        now: DateTime<Utc>,
    ) -> [Effect; 2] {
        let rendered = Effect::DeliveryRendered {
            id,
            message: Box::new(arrived.message),
            template: arrived.template,
            locale: Some(arrived.locale),
            job_id: None,
        };
        let arrival = InboxArrival {
            delivery_id: id,
            notification_id: self.place.notification_id,
            tenant_id: self.place.tenant_id.clone(),
            user_id: self.user_id.clone(),
            attempt: 1,
            started_at: now,
            at: now,
            is_sole,
        };
        [rendered, Effect::InboxArrived(arrival)]
    }
}

/// Adds a notification's deliveries, the jobs of those that can be sent, and its trace.
pub(crate) fn with_deliveries(
    mut outcome: Outcome<Effect>,
    place: Place<'_>,
    planned: &PlannedNotification,
    beside: Beside,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let told = Told {
        place,
        user_id: &planned.user_id,
        priority: planned.priority,
        expires_at: planned.expires_at,
    };
    let mut arrived = beside.arrived;
    for (position, delivery) in (0..).zip(&planned.deliveries) {
        let id = DeliveryId::at(now);
        if let Some(arrived) = arrived.take_if(|it| it.position == usize::from(position)) {
            let row = told.delivery(id, position, delivery, now);
            let is_sole = planned.deliveries.len() == 1;
            outcome = outcome.with(Effect::DeliveryPlanned(Box::new(row)));
            outcome
                .effects
                .extend(told.arrival(id, arrived, is_sole, now));
            continue;
        }
        let rows = told.rows(id, position, delivery, now);
        if let Some(join) = rows.join {
            outcome = outcome.with(Effect::DigestJoined(Box::new(join)));
        }
        outcome = outcome.with(Effect::DeliveryPlanned(Box::new(rows.delivery)));
        outcome.jobs.extend(rows.job);
    }
    let mut steps = beside.about_event;
    steps.extend(planned.steps.iter().cloned());
    outcome.with(traced(place.notification_id.as_uuid(), now, steps))
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

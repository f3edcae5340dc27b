//! What a burial means to us when no handler said so: the delivery has failed.
//!
//! The engine buries a job whose payload does not parse, whose process keeps dying, whose effects
//! the database refuses, or whose attempts are used up by unexpected errors. Nothing is loaded then
//! but the payload, so these effects need only its ids. Without them the delivery would be `queued`
//! for ever, with nobody working on it. A digest needs nothing: it waits with all it holds.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, DigestId, ReplayState, Status, TraceStep};
use queue::Job;
use serde_json::Value;
use store::Effect;
use store::effect::DeliveryMove;

use crate::batch_flush::BatchFlush;
use crate::deliver::Deliver;
use crate::quiet_hours::QuietHours;
use crate::render::Render;
use crate::replay::Replay;
use crate::retry::Retry;
use crate::route::Route;

/// The row changes that go with the burial of a job of `kind`. None for a payload that names no
/// row.
pub(crate) fn on_bury(kind: &str, payload: &Value, error: &str, at: DateTime<Utc>) -> Vec<Effect> {
    let effect = match kind {
        Route::KIND => parse(payload).map(|job| {
            let step = TraceStep::new(Route::KIND, "buried", error.to_owned());
            unrouted(job, Status::Failed, step, at)
        }),
        Render::KIND => parse(payload).map(|job: Render| undelivered(job.delivery_id, error, at)),
        Deliver::KIND => parse(payload).map(|job: Deliver| undelivered(job.delivery_id, error, at)),
        Retry::KIND => parse(payload).map(|job: Retry| undelivered(job.delivery_id, error, at)),
        QuietHours::KIND => {
            parse(payload).map(|job: QuietHours| undelivered(job.delivery_id, error, at))
        }
        BatchFlush::KIND => parse(payload).map(|job: BatchFlush| {
            let step = TraceStep::new(BatchFlush::KIND, "buried", error.to_owned());
            untold(job.digest_id, step, at)
        }),
        Replay::KIND => parse(payload).map(|job: Replay| {
            vec![Effect::ReplayEnded {
                replay_id: job.replay_id,
                state: ReplayState::Failed,
                at,
            }]
        }),
        _ => None,
    };
    effect.unwrap_or_default()
}

fn parse<J: Job>(payload: &Value) -> Option<J> {
    J::deserialize(payload).ok()
}

fn undelivered(id: DeliveryId, error: &str, at: DateTime<Utc>) -> Vec<Effect> {
    vec![Effect::DeliveryMoved(DeliveryMove {
        id,
        notification_id: None,
        status: Status::Failed,
        provider: None,
        error: Some(error.to_owned()),
        job_id: None,
        at,
        // Unknown here, so the siblings are read.
        is_sole: false,
    })]
}

/// A digest stays as it is, with all it holds, for an operator to have it told: open, so that a later
/// join closes it, or closed. Its trace says what happened.
pub(crate) fn untold(id: DigestId, step: TraceStep, at: DateTime<Utc>) -> Vec<Effect> {
    vec![Effect::Traced {
        subject_id: id.as_uuid(),
        at,
        steps: vec![step],
    }]
}

/// A direct send that is not routed ends as `status`; an event has none, so its trace alone says
/// that it led to nothing.
pub(crate) fn unrouted(
    job: Route,
    status: Status,
    step: TraceStep,
    at: DateTime<Utc>,
) -> Vec<Effect> {
    match job {
        Route::Event { event_id } | Route::Rule { event_id, .. } => {
            vec![Effect::Traced {
                subject_id: event_id.as_uuid(),
                at,
                steps: vec![step],
            }]
        }
        Route::Digest { digest_id } => untold(digest_id, step, at),
        Route::Notification { notification_id } => vec![
            Effect::NotificationRouted {
                id: notification_id,
                status,
                delivery_count: 0,
                category: None,
                locale: None,
                template_version: None,
            },
            Effect::Traced {
                subject_id: notification_id.as_uuid(),
                at,
                steps: vec![step],
            },
        ],
    }
}

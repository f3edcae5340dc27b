//! Tells a digest: a `route` job turns what was gathered into one notification.
//!
//! The job is enqueued by the settlement that closed the digest, and by no other, so there is one.
//! What the user wants is asked now and not when the events came in. The last event is the
//! notification's: its payload is what a template finds at top level, beside `items`, `count`,
//! `first` and `last`.
//!
//! What quiet hours held back are deliveries. They end here as `suppressed`, for they are told by
//! another; those that were taken back or have expired meanwhile are not told.

use chrono::{DateTime, Utc};
use domain::{
    NotificationId, QuietMode, Recipient, Status, TellingFacts, TemplateNames, TraceStep,
};
use queue::{JobId, NewJob, Outcome};
use serde_json::json;
use store::Effect;
use store::digests::{DigestStatus, Held, ToTell};
use store::effect::DeliveryMove;
use store::settlement::DigestTurn;

use super::Route;
use super::rows::{Beside, Subject, traced, with_notification};
use crate::batch_flush::lane;
use crate::delivery::urgency;
use crate::queues;

const STEP: &str = "digest";

/// The type of a digest whose last event is gone.
const KIND: &str = "digest";

/// The job that tells a digest that was closed.
pub(crate) fn job(closed: &DigestTurn, now: DateTime<Utc>) -> NewJob {
    let tell = Route::Digest {
        digest_id: closed.digest_id,
    };
    NewJob::new(JobId::at(now), queues::ROUTE, &tell)
        .priority(urgency(closed.priority))
        .lane(lane(closed))
}

/// Plans the one notification of a closed digest.
pub(crate) fn tell(
    to_tell: &ToTell,
    recipient: Option<&Recipient>,
    templates: &TemplateNames,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let digest = &to_tell.digest;
    match digest.status {
        DigestStatus::Closed => {}
        DigestStatus::Told | DigestStatus::Cancelled => return Outcome::completed(),
        DigestStatus::Open => {
            tracing::warn!(digest.id = %digest.id, "a digest is open and was to be told");
            return Outcome::completed();
        }
    }
    let (expired, held): (Vec<&Held>, Vec<&Held>) = to_tell
        .held
        .iter()
        .partition(|held| held.expires_at.is_some_and(|expires_at| expires_at <= now));
    let mut outcome = Outcome::completed();
    for held in &expired {
        outcome = end(
            outcome,
            held,
            Status::Expired,
            "its expires_at has passed",
            now,
        );
    }
    if to_tell.count <= expired.len() as i64 {
        let reason = "nothing of it is left to be told";
        let step = TraceStep::new(STEP, "empty", reason);
        let ended = Effect::DigestTold {
            id: digest.id,
            notification_id: None,
        };
        return outcome
            .with(ended)
            .with(traced(digest.id.as_uuid(), now, vec![step]));
    }

    let telling = &digest.telling;
    let facts = TellingFacts {
        telling,
        rule: digest.key.rule_id.map(|id| (id, digest.key.action)),
        kind: to_tell.kind.as_deref().unwrap_or(KIND),
        priority: digest.priority,
        severity: digest.severity,
        expires_at: telling.expires_at(now),
        is_digest: true,
        templates,
    };
    let mut planned = facts.plan(&digest.key.user_id, recipient, now, vec![step(to_tell)]);
    if digest.key.rule_id.is_none() {
        // What was gathered for the end of one night is not gathered for the end of the next.
        let quiet = planned
            .deliveries
            .iter_mut()
            .filter_map(|it| it.quiet.as_mut());
        for quiet in quiet.filter(|quiet| quiet.mode == QuietMode::Digest) {
            quiet.mode = QuietMode::Defer;
        }
    }
    let id = NotificationId::at(now);
    for held in &held {
        outcome = end(outcome, held, Status::Suppressed, "told in a digest", now);
    }
    outcome = outcome
        .with(Effect::DigestTold {
            id: digest.id,
            notification_id: Some(id),
        })
        .with(traced(digest.id.as_uuid(), now, vec![told(id)]));
    let subject = Subject {
        tenant_id: &digest.key.tenant_id,
        event_id: to_tell.last_event,
        kind: facts.kind,
        digest_id: Some(digest.id),
    };
    with_notification(outcome, id, subject, &planned, Beside::default(), now)
}

/// Ends a delivery that was held back, and says so to its own notification.
fn end(
    outcome: Outcome<Effect>,
    held: &Held,
    status: Status,
    reason: &'static str,
    at: DateTime<Utc>,
) -> Outcome<Effect> {
    let detail = json!({"delivery_id": held.delivery_id, "digest_id": held.digest_id});
    let step = TraceStep::new(STEP, status.as_str(), reason).with_detail(detail);
    outcome
        .with(Effect::DeliveryMoved(DeliveryMove {
            id: held.delivery_id,
            notification_id: Some(held.notification_id),
            status,
            provider: None,
            error: Some(reason.to_owned()),
            job_id: None,
            at,
            is_sole: held.is_sole,
        }))
        .with(traced(held.notification_id.as_uuid(), at, vec![step]))
}

/// Where the notification comes from. The key stays out of it: it may be a person's data.
fn step(to_tell: &ToTell) -> TraceStep {
    let digest = &to_tell.digest;
    let is_full = digest.size_max.is_some_and(|size| digest.count >= size);
    let (decision, reason) = if is_full {
        ("full", "as many as its size were gathered")
    } else {
        ("window_ended", "its window has ended")
    };
    TraceStep::new(STEP, decision, reason).with_detail(json!({
        "digest_id": digest.id,
        "rule_id": digest.key.rule_id,
        "rule": digest.telling.rule,
        "action": digest.key.action,
        "count": to_tell.count,
        "opened_at": digest.opened_at,
        "closed_at": digest.closed_at,
    }))
}

fn told(id: NotificationId) -> TraceStep {
    TraceStep::new(STEP, "told", "a notification tells it")
        .with_detail(json!({"notification_id": id}))
}

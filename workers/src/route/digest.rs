//! Tells a digest: a `route` job turns what was gathered into one notification.
//!
//! The job is enqueued by the settlement that closed the digest, and by no other, so there is one.
//! What the user wants is asked now and not when the events came in. The last event is the
//! notification's: its payload is what a template finds at top level, beside `items`, `count`,
//! `first` and `last`.

use chrono::{DateTime, Utc};
use domain::{NotificationId, Recipient, TellingFacts, TemplateNames, TraceStep};
use queue::{JobId, NewJob, Outcome};
use serde_json::{Value, json};
use store::Effect;
use store::digests::{DigestStatus, ToTell};
use store::effect::{Decided, NewNotification};
use store::settlement::DigestTurn;

use super::Route;
use super::rows::{Place, count, traced, with_deliveries};
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
    let telling = &digest.telling;
    let kind = to_tell.kind.as_deref().unwrap_or(KIND);
    let facts = TellingFacts {
        telling,
        rule: digest.key.rule_id.map(|id| (id, digest.key.action)),
        kind,
        priority: digest.priority,
        severity: digest.severity,
        expires_at: telling.expires_at(now),
        templates,
    };
    let steps = vec![step(to_tell)];
    let planned = facts.plan(&digest.key.user_id, recipient, now, steps);
    let id = NotificationId::at(now);
    let vars = Value::Object(telling.template_vars.clone());
    let outcome = Outcome::completed()
        .with(Effect::NotificationPlanned(Box::new(NewNotification {
            id,
            tenant_id: digest.key.tenant_id.clone(),
            user_id: digest.key.user_id.clone(),
            event_id: to_tell.last_event,
            created_at: now,
            send_at: None,
            expires_at: planned.expires_at,
            kind: kind.to_owned(),
            category: planned.category.clone(),
            priority: planned.priority,
            status: planned.status,
            template: planned.template.clone(),
            locale: planned.locale.clone(),
            subject: None,
            content: None,
            channels: telling.channels.clone(),
            data: Some(vars).filter(|_| !telling.template_vars.is_empty()),
            delivery_count: count(&planned.deliveries),
            is_test: false,
            bypass_quiet_hours: telling.bypass_quiet_hours,
            decided: Decided {
                rule: planned.rule,
                variant: planned.variant.clone(),
                fallback: planned.fallback.clone(),
                template_version: planned.template_version,
                digest_id: Some(digest.id),
            },
        })))
        .with(Effect::DigestTold {
            id: digest.id,
            notification_id: id,
        })
        .with(traced(
            digest.id.as_uuid(),
            now,
            vec![told(id, planned.deliveries.len())],
        ));
    let place = Place {
        notification_id: id,
        tenant_id: &digest.key.tenant_id,
        send_at: None,
    };
    with_deliveries(outcome, place, planned, now)
}

/// Where the notification comes from. The key stays out of it: it may be a person's data.
fn step(to_tell: &ToTell) -> TraceStep {
    let digest = &to_tell.digest;
    let is_full = digest.size_max.is_some_and(|size| digest.count >= size);
    let (decision, reason) = if is_full {
        ("full", "as many events as its size were gathered")
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

fn told(id: NotificationId, deliveries: usize) -> TraceStep {
    TraceStep::new(STEP, "told", "a notification tells it")
        .with_detail(json!({"notification_id": id, "deliveries": deliveries}))
}

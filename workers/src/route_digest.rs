//! Tells a digest: a `route` job turns what was gathered into one notification.
//!
//! The job is enqueued by the settlement that closed the digest, and by no other, so there is one.
//! What the user wants is asked now and not when the events came in. The last event is the
//! notification's: its payload is what a template finds at top level, beside `items`, `count`,
//! `first` and `last`.

use chrono::{DateTime, Utc};
use domain::{DirectFacts, NotificationId, Recipient, TemplateNames, TraceStep};
use queue::{JobId, NewJob, Outcome};
use serde_json::{Value, json};
use store::Effect;
use store::digests::{DigestStatus, ToTell};
use store::effect::NewNotification;
use store::settlement::DigestTurn;

use crate::batch_flush::lane;
use crate::delivery::urgency;
use crate::queues;
use crate::route::{Route, count, traced, with_deliveries};

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
    let named = telling.template.as_deref();
    let facts = DirectFacts {
        user_id: &digest.key.user_id,
        channels: telling.channels.as_deref(),
        template: named.or_else(|| templates.of_type(kind)),
        priority: digest.priority,
        category: telling.category.as_deref(),
        data: None,
        is_test: false,
        locale: telling.locale.as_deref(),
        expires_at: telling.expires_at(now),
    };
    let mut planned = domain::route_direct(facts, templates, recipient, now);
    planned.steps.insert(0, step(to_tell));
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
            expires_at: facts.expires_at,
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
    with_deliveries(outcome, id, &digest.key.tenant_id, planned, None, now)
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

//! Tells a digest: a `route` job turns what was gathered into one notification.
//!
//! The job is enqueued by the settlement that closed the digest, and by no other, so there is one.
//! What the user wants is asked now and not when the events came in. The last event is the
//! notification's: its payload is what a template finds at top level, beside `items`, `count`,
//! `first` and `last`.
//!
//! What quiet hours held back are deliveries. Of each it is asked again what its user wants, for the
//! digest may have been closed by a change of that. Those that it tells end here as `suppressed`, for
//! they are told by another; those that were taken back, have expired or are not wanted any more are
//! not told.

use chrono::{DateTime, Utc};
use domain::{
    Channel, NotificationId, QuietMode, Recipient, Status, Telling, TellingFacts, TemplateNames,
    TraceStep,
};
use queue::{JobId, NewJob, Outcome};
use serde_json::json;
use store::Effect;
use store::digests::{Digest, DigestStatus, Held, ToTell};
use store::effect::DeliveryMove;
use store::settlement::DigestTurn;

use super::Route;
use super::gather::join_again;
use super::rows::{Beside, Subject, traced, with_notification};
use crate::batch_flush::lane;
use crate::delivery::{DeliveryFacts, urgency};
use crate::queues;
use crate::wishes::{self, Wish};

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
        .lane(lane(&closed.tenant_id, &closed.user_id))
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
    let (sorted, mut outcome) = sort(to_tell, recipient, now);
    let is_quiet = digest.key.rule_id.is_none();
    let count = if is_quiet {
        i64::try_from(sorted.told.len()).unwrap_or(i64::MAX)
    } else {
        to_tell.count
    };
    if count == 0 {
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

    let last = sorted.told.last();
    let (kind, last_event) = match last {
        Some(held) => (Some(held.kind.as_str()), held.event_id),
        None => (to_tell.kind.as_deref(), to_tell.last_event),
    };
    let telling = &digest.telling;
    let facts = TellingFacts {
        telling,
        rule: digest.key.rule_id.map(|id| (id, digest.key.action)),
        kind: kind.unwrap_or(KIND),
        priority: digest.priority,
        severity: digest.severity,
        expires_at: telling.expires_at(now),
        is_digest: true,
        templates,
    };
    let plan = |facts: &TellingFacts<'_>| {
        let steps = vec![step(to_tell, count)];
        facts.plan(&digest.key.user_id, recipient, now, steps)
    };
    let mut planned = plan(&facts);
    if sorted.is_awaited && planned.deliveries.iter().any(|it| it.quiet.is_some()) {
        // Each was asked about by itself; together they have no category that could say so.
        let telling = &Telling {
            bypass_quiet_hours: true,
            ..telling.clone()
        };
        planned = plan(&TellingFacts { telling, ..facts });
    }
    let id = NotificationId::at(now);
    for held in &sorted.told {
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
        event_id: last_event,
        kind: facts.kind,
        digest_id: Some(digest.id),
    };
    with_notification(outcome, id, subject, &planned, Beside::default(), now)
}

/// What becomes of the deliveries that quiet hours held back for a digest.
struct Sorted<'a> {
    /// Those that it tells, by id.
    told: Vec<&'a Held>,
    /// Whether any of them is to be told now, whatever the hour.
    is_awaited: bool,
}

/// Asks of each delivery what its user wants by now. What is not wanted ends; what is to wait by
/// itself does; what is still to be told with others joins the next digest. All of these leave this
/// one, so that it is told without them.
///
/// A digest that is full and has nobody else to wait for is told as it is, and then waits as one:
/// what joined another would fill that.
fn sort<'a>(
    to_tell: &'a ToTell,
    recipient: Option<&Recipient>,
    now: DateTime<Utc>,
) -> (Sorted<'a>, Outcome<Effect>) {
    let digest = &to_tell.digest;
    let mut outcome = Outcome::completed();
    let mut told = Vec::new();
    let mut waiting = Vec::new();
    let Some(channel) = Channel::parse(&digest.key.batch_key) else {
        let told = to_tell.held.iter().collect();
        let sorted = Sorted {
            told,
            is_awaited: false,
        };
        return (sorted, outcome);
    };
    for held in &to_tell.held {
        let delivery = facts(digest, held, channel);
        if delivery.has_expired(now) {
            let reason = "its expires_at has passed";
            outcome = end(outcome, held, Status::Expired, reason, now);
            continue;
        }
        let left = match wishes::of_held(&held.about, channel, recipient, STEP, now) {
            Wish::Now => {
                told.push(held);
                continue;
            }
            Wish::Later(quiet) if quiet.mode == QuietMode::Digest => {
                waiting.push((held, quiet));
                continue;
            }
            Wish::Later(quiet) => wishes::deferred(&delivery, &quiet, STEP, now),
            Wish::Never(error, step) => wishes::suppressed(&delivery, error, step, now),
        };
        outcome = outcome.with(digest.left_by(held.delivery_id));
        outcome.effects.extend(left.effects);
        outcome.jobs.extend(left.jobs);
    }
    let is_awaited = !told.is_empty();
    if is_full(digest) && !is_awaited {
        told.extend(waiting.into_iter().map(|(held, _)| held));
        return (Sorted { told, is_awaited }, outcome);
    }
    for (held, quiet) in waiting {
        let join = join_again(digest, held, &quiet, now);
        outcome = outcome
            .with(digest.left_by(held.delivery_id))
            .with(Effect::DigestJoined(Box::new(join)));
    }
    (Sorted { told, is_awaited }, outcome)
}

fn facts<'a>(digest: &'a Digest, held: &'a Held, channel: Channel) -> DeliveryFacts<'a> {
    DeliveryFacts {
        id: held.delivery_id,
        notification_id: held.notification_id,
        tenant_id: &digest.key.tenant_id,
        user_id: &digest.key.user_id,
        channel,
        address: held.address.as_deref(),
        status: Status::Pending,
        priority: held.about.priority,
        expires_at: held.expires_at,
        is_sole: held.is_sole,
    }
}

fn is_full(digest: &Digest) -> bool {
    digest.size_max.is_some_and(|size| digest.count >= size)
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
fn step(to_tell: &ToTell, count: i64) -> TraceStep {
    let digest = &to_tell.digest;
    let is_early = digest.closed_at.is_some_and(|at| at < digest.closes_at);
    let (decision, reason) = if is_full(digest) {
        ("full", "as many as its size were gathered")
    } else if digest.key.rule_id.is_none() && is_early {
        ("released", "the user wants to hear of it by now")
    } else {
        ("window_ended", "its window has ended")
    };
    TraceStep::new(STEP, decision, reason).with_detail(json!({
        "digest_id": digest.id,
        "rule_id": digest.key.rule_id,
        "rule": digest.telling.rule,
        "action": digest.key.action,
        "count": count,
        "opened_at": digest.opened_at,
        "closed_at": digest.closed_at,
    }))
}

fn told(id: NotificationId) -> TraceStep {
    TraceStep::new(STEP, "told", "a notification tells it")
        .with_detail(json!({"notification_id": id}))
}

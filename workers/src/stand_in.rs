//! Stand-in: a delivery has failed for good, and the first of its notification's fallback that can
//! be used takes over, in the settlement that records the failure.
//!
//! So a notification is never shown as failed while something still stands in for it, and a process
//! that dies leaves both or neither. Two deliveries that fail at the same moment may choose the same
//! channel: it has one id ([`DeliveryId::of_stand_in`]), so one row comes of it, and the job of the
//! other finds that the row is not its own.
//!
//! Nothing stands in for a text message or a call that may have gone out.

use chrono::{DateTime, Utc};
use domain::{
    DeliveryId, PlannedDelivery, Quiet, QuietMode, StandInFacts, Status, TraceStep, stand_in,
};
use queue::Outcome;
use store::Effect;
use store::prepare::ToDeliver;

use crate::deliver;
use crate::delivery::{DeliveryFacts, OUTCOME_UNKNOWN};
use crate::route::rows::{Place, Told, traced};

/// The end of a delivery that will not be tried again, with what stands in for it.
///
/// The arguments are those of [`DeliveryFacts::failed`].
pub(crate) fn give_up(
    row: &ToDeliver,
    step: &'static str,
    reason: &str,
    error: &str,
    provider: Option<&str>,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let delivery = deliver::facts(row);
    let Some((planned, steps)) = plan(row, reason, now) else {
        return delivery.failed(step, reason, error, provider, now);
    };
    // Its notification is what all of them come to, the new ones too.
    let delivery = DeliveryFacts {
        is_sole: delivery.is_sole && planned.is_empty(),
        ..delivery
    };
    let mut outcome = delivery.failed(step, reason, error, provider, now);
    let told = Told {
        place: Place {
            notification_id: row.notification_id,
            tenant_id: &row.tenant_id,
            send_at: None,
        },
        user_id: &row.user_id,
        priority: row.priority,
        expires_at: row.expires_at,
    };
    let count = row.understudy.as_ref().map_or(1, |it| it.delivery_count);
    for (nth, planned) in (0..).zip(planned) {
        let id = DeliveryId::of_stand_in(row.notification_id, planned.channel, nth);
        let rows = told.rows(id, count.saturating_add(nth), &planned, now);
        outcome = outcome.with(Effect::DeliveryAdded(Box::new(rows.delivery)));
        outcome.jobs.extend(rows.job);
    }
    outcome.with(traced(row.notification_id.as_uuid(), now, steps))
}

/// Asks what stands in; `None` where nothing may.
fn plan(
    row: &ToDeliver,
    reason: &str,
    now: DateTime<Utc>,
) -> Option<(Vec<PlannedDelivery>, Vec<TraceStep>)> {
    let understudy = row.understudy.as_deref()?;
    if reason == OUTCOME_UNKNOWN {
        return None;
    }
    let facts = StandInFacts {
        user_id: &row.user_id,
        failed: row.channel,
        fallback: &understudy.fallback,
        used: &understudy.used,
        category: row.category.as_deref(),
        priority: row.priority,
        severity: understudy.severity,
        data: understudy.data.as_ref(),
        bypass_quiet_hours: understudy.bypass_quiet_hours,
    };
    let (mut planned, steps) = stand_in(&facts, understudy.recipient.as_ref(), now);
    planned.retain(|it| matches!(it.status, Status::Queued | Status::Pending));
    // A stand-in is late as it is: it does not join what is told together.
    for quiet in planned.iter_mut().filter_map(|it| it.quiet.as_mut()) {
        defer(quiet);
    }
    Some((planned, steps))
}

fn defer(quiet: &mut Quiet) {
    if quiet.mode == QuietMode::Digest {
        quiet.mode = QuietMode::Defer;
    }
}

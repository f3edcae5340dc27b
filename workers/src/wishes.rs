//! Wishes: a delivery that has waited is held against what its user wants by now.
//!
//! Routing asks first. Whoever comes to a delivery more than a minute after it came in, or at its
//! `send_at`, asks again: a retry at three in the morning wakes nobody up, and what was turned off
//! during an outage is not sent after it.
//!
//! What is to be told in a digest is then deferred by itself: the digest of its quiet hours is
//! joined when it is routed, or not at all.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{ConsentCategories, Matter, QuietMode, Status, Verdict};
use queue::Outcome;
use store::Effect;
use store::effect::DeliveryMove;
use store::prepare::{AskAgain, Wishes};

use crate::delivery::DeliveryFacts;
use crate::quiet_hours;

/// How long what routing has decided holds: what goes its way at once is not asked about again.
const HEEDED: TimeDelta = TimeDelta::minutes(1);

/// What came in until then has waited.
pub(crate) fn ask_again(now: DateTime<Utc>, asked: &ConsentCategories) -> AskAgain<'_> {
    AskAgain {
        waited_since: now - HEEDED,
        asked,
    }
}

/// What becomes of a delivery that its user does not want by now, or not now; `None` lets it go on.
pub(crate) fn held(
    delivery: &DeliveryFacts<'_>,
    category: Option<&str>,
    wishes: Option<&Wishes>,
    step: &'static str,
    now: DateTime<Utc>,
) -> Option<Outcome<Effect>> {
    let wishes = wishes?;
    let channel = delivery.channel;
    let matter = Matter {
        category,
        priority: delivery.priority,
        severity: wishes.severity,
    };
    if let Verdict::Suppressed(suppression) =
        wishes
            .preferences
            .decide(channel, &matter, &wishes.consents)
    {
        let error = suppression.to_string();
        let moved = suppressed(delivery, error, now);
        let traced = delivery.decided(now, suppression.step(step, channel));
        return Some(Outcome::completed().with(moved).with(traced));
    }
    let quiet = wishes.preferences.quiet(
        channel,
        &matter,
        wishes.bypass_quiet_hours,
        wishes.timezone.as_deref(),
        now,
    )?;
    if quiet.mode == QuietMode::Drop {
        let error = format!("not wanted in quiet hours: {}", quiet.row);
        let moved = suppressed(delivery, error, now);
        let traced = delivery.decided(now, quiet.step(step, channel));
        return Some(Outcome::completed().with(moved).with(traced));
    }
    let quiet = domain::Quiet {
        mode: QuietMode::Defer,
        ..quiet
    };
    let deferred = quiet_hours::defer(delivery, &quiet, step, now);
    let moved = DeliveryMove {
        job_id: Some(deferred.job.job_id.as_uuid()),
        ..delivery.moved(deferred.status, now)
    };
    Some(
        Outcome::completed()
            .with(Effect::DeliveryMoved(moved))
            .with(delivery.decided(now, deferred.step))
            .then(deferred.job),
    )
}

fn suppressed(delivery: &DeliveryFacts<'_>, error: String, now: DateTime<Utc>) -> Effect {
    Effect::DeliveryMoved(DeliveryMove {
        error: Some(error),
        ..delivery.moved(Status::Suppressed, now)
    })
}

//! Wishes: a delivery that has waited is held against what its user wants by now.
//!
//! Routing asks first. Whoever comes to a delivery more than a minute after it came in, or at its
//! `send_at`, asks again: a retry at three in the morning wakes nobody up, and what was turned off
//! during an outage is not sent after it.
//!
//! What is to be told in a digest is then deferred by itself: the digest of its quiet hours is
//! joined when it is routed, or not at all. What it holds is asked about in the digest
//! ([`of_held`]).

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Channel, ConsentCategories, Consents, Matter, Preferences, Quiet, QuietMode, Recipient, Status,
    TraceStep, Verdict,
};
use queue::Outcome;
use store::Effect;
use store::digests::About;
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

/// What a user wants by now of something that has waited.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wish {
    /// To hear of it.
    Now,
    /// Not to hear of it before that is over.
    Later(Quiet),
    /// Not to hear of it; with the error and the step that say so.
    Never(String, TraceStep),
}

impl Wish {
    fn ask(
        preferences: &Preferences,
        consents: &Consents,
        zone: Option<&str>,
        asked: &Asked<'_>,
        now: DateTime<Utc>,
    ) -> Self {
        let Asked { channel, step, .. } = *asked;
        let verdict = preferences.decide(channel, &asked.matter, consents);
        if let Verdict::Suppressed(suppression) = verdict {
            return Self::Never(suppression.to_string(), suppression.step(step, channel));
        }
        let quiet = preferences.quiet(channel, &asked.matter, asked.bypass, zone, now);
        match quiet {
            None => Self::Now,
            Some(quiet) if quiet.mode == QuietMode::Drop => {
                let error = format!("not wanted in quiet hours: {}", quiet.row);
                Self::Never(error, quiet.step(step, channel))
            }
            Some(quiet) => Self::Later(quiet),
        }
    }
}

/// What is asked about, and in which step.
struct Asked<'a> {
    channel: Channel,
    matter: Matter<'a>,
    bypass: bool,
    step: &'static str,
}

/// What is wanted by now of what a digest holds. Who has said nothing wants it.
pub(crate) fn of_held(
    about: &About,
    channel: Channel,
    recipient: Option<&Recipient>,
    step: &'static str,
    now: DateTime<Utc>,
) -> Wish {
    let asked = Asked {
        channel,
        matter: Matter {
            category: about.category.as_deref(),
            priority: about.priority,
            severity: about.severity,
        },
        bypass: about.bypass_quiet_hours,
        step,
    };
    recipient.map_or(Wish::Now, |known| {
        let zone = known.timezone.as_deref();
        Wish::ask(&known.preferences, &known.consents, zone, &asked, now)
    })
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
    let asked = Asked {
        channel: delivery.channel,
        matter: Matter {
            category,
            priority: delivery.priority,
            severity: wishes.severity,
        },
        bypass: wishes.bypass_quiet_hours,
        step,
    };
    let zone = wishes.timezone.as_deref();
    match Wish::ask(&wishes.preferences, &wishes.consents, zone, &asked, now) {
        Wish::Now => None,
        Wish::Never(error, step) => Some(suppressed(delivery, error, step, now)),
        Wish::Later(quiet) => Some(deferred(delivery, &quiet, step, now)),
    }
}

/// Holds a delivery back by itself until `quiet` is over, as `step` decided.
pub(crate) fn deferred(
    delivery: &DeliveryFacts<'_>,
    quiet: &Quiet,
    step: &'static str,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let quiet = Quiet {
        mode: QuietMode::Defer,
        ..quiet.clone()
    };
    let deferred = quiet_hours::defer(delivery, &quiet, step, now);
    let moved = DeliveryMove {
        job_id: Some(deferred.job.job_id.as_uuid()),
        ..delivery.moved(deferred.status, now)
    };
    Outcome::completed()
        .with(Effect::DeliveryMoved(moved))
        .with(delivery.decided(now, deferred.step))
        .then(deferred.job)
}

/// Ends a delivery that is not wanted any more.
pub(crate) fn suppressed(
    delivery: &DeliveryFacts<'_>,
    error: String,
    step: TraceStep,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let moved = DeliveryMove {
        error: Some(error),
        ..delivery.moved(Status::Suppressed, now)
    };
    Outcome::completed()
        .with(Effect::DeliveryMoved(moved))
        .with(delivery.decided(now, step))
}

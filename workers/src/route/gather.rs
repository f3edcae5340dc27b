//! Events and notifications that are not told by themselves: they join a digest.

use chrono::{DateTime, Utc};
use domain::{
    ActionFacts, Batch, DIGEST_TEMPLATE, DeliveryId, DigestId, DigestKey, Origin, PlannedDelivery,
    Quiet, QuietMode, Telling, TraceStep, UserId,
};
use serde_json::json;
use store::digests::{Digest, Held};
use store::effect::DigestJoin;
use store::events::Event;
use store::settlement::joined;

use super::rows::Told;

/// What one message tells of a night at most: its deliveries are ended in one settlement. The next
/// one tells the rest.
const QUIET_SIZE_MAX: u32 = 1000;

/// An event joins the digest of its key. What the key is may be a person's data, and stays out of
/// the trace.
pub(super) fn join(
    event: &Event,
    facts: &ActionFacts<'_>,
    batch: &Batch,
    user_id: &UserId,
    key: &str,
    now: DateTime<Utc>,
) -> DigestJoin {
    let (telling, _) = facts.telling(user_id);
    let (rule_id, place) = match facts.origin {
        Origin::Rule(rule, place) => (Some(rule.id), place),
        Origin::Default => (None, 0),
    };
    DigestJoin {
        key: DigestKey {
            tenant_id: event.tenant_id.clone(),
            user_id: user_id.clone(),
            rule_id,
            action: place,
            batch_key: key.to_owned(),
        },
        source_id: event.id.as_uuid(),
        subject_id: event.id.as_uuid(),
        digest_id: DigestId::at(now),
        closes_at: batch.closes_at(now),
        size_max: batch.size,
        priority: facts.priority(),
        severity: event.severity,
        telling,
        at: now,
    }
}

/// What the settlement will say of an event that is told with others, as far as it is known before.
pub(crate) fn digest_step(facts: &ActionFacts<'_>, now: DateTime<Utc>) -> Option<TraceStep> {
    let Origin::Rule(rule, action) = facts.origin else {
        return None;
    };
    let batch = facts.action()?.batch.as_ref()?;
    Some(joined(json!({
        "digest_id": null, "rule_id": rule.id, "action": action, "closes_at": batch.closes_at(now),
    })))
}

/// The same of a delivery that joins what is told when quiet hours end.
pub(crate) fn quiet_step(delivery: &PlannedDelivery) -> Option<TraceStep> {
    let gathers = |quiet: &&Quiet| quiet.mode == QuietMode::Digest;
    let quiet = delivery.quiet.as_ref().filter(gathers)?;
    Some(joined(json!({
        "digest_id": null, "rule_id": null, "action": 0, "closes_at": quiet.until,
    })))
}

/// A delivery joins what its user is told over its channel when their quiet hours end. It waits as
/// `pending` until then, so that whoever sent it can take it back.
pub(super) fn join_quietly(
    delivery_id: DeliveryId,
    told: &Told<'_>,
    delivery: &PlannedDelivery,
    now: DateTime<Utc>,
) -> Option<DigestJoin> {
    let gathers = |quiet: &&Quiet| quiet.mode == QuietMode::Digest;
    let quiet = delivery.quiet.as_ref().filter(gathers)?;
    Some(DigestJoin {
        key: DigestKey {
            tenant_id: told.place.tenant_id.clone(),
            user_id: told.user_id.clone(),
            rule_id: None,
            action: 0,
            batch_key: delivery.channel.as_str().to_owned(),
        },
        source_id: delivery_id.as_uuid(),
        subject_id: told.place.notification_id.as_uuid(),
        digest_id: DigestId::at(now),
        closes_at: quiet.until,
        size_max: Some(QUIET_SIZE_MAX),
        priority: told.priority,
        severity: None,
        telling: Telling {
            channels: Some(vec![delivery.channel]),
            template: Some(DIGEST_TEMPLATE.to_owned()),
            ..Telling::default()
        },
        at: now,
    })
}

/// A delivery that its digest has not told joins the next one of the same quiet hours.
pub(super) fn join_again(
    digest: &Digest,
    held: &Held,
    quiet: &Quiet,
    now: DateTime<Utc>,
) -> DigestJoin {
    DigestJoin {
        key: digest.key.clone(),
        source_id: held.delivery_id.as_uuid(),
        subject_id: held.notification_id.as_uuid(),
        digest_id: DigestId::at(now),
        closes_at: quiet.until,
        size_max: Some(QUIET_SIZE_MAX),
        priority: held.about.priority,
        severity: None,
        telling: digest.telling.clone(),
        at: now,
    }
}

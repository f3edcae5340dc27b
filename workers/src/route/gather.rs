//! Events and notifications that are not told by themselves: they join a digest.

use chrono::{DateTime, Utc};
use domain::{
    Action, ActionFacts, DeliveryId, DigestId, DigestKey, Origin, PlannedDelivery, Priority, Quiet,
    QuietMode, Telling, TraceStep, UserId,
};
use serde_json::json;
use store::effect::DigestJoin;
use store::events::Event;

use super::rows::Place;

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// The template that tells what quiet hours gathered.
const QUIET_TEMPLATE: &str = "digest";

/// What one message tells of a night at most: its deliveries are ended in one settlement. The next
/// one tells the rest.
const QUIET_SIZE_MAX: u32 = 1000;

/// An event joins the digest of its key. What the key is may be a person's data, and stays out of
/// the trace.
pub(super) fn join(
    event: &Event,
    facts: &ActionFacts<'_>,
    action: &Action,
    user_id: &UserId,
    key: &str,
    now: DateTime<Utc>,
) -> (DigestJoin, TraceStep) {
    let (telling, _) = facts.telling(user_id);
    let (rule_id, place) = match facts.origin {
        Origin::Rule(rule, place) => (Some(rule.id), place),
        Origin::Default => (None, 0),
    };
    let batch = action.batch.as_ref();
    let closes_at = batch.map_or(now, |batch| batch.closes_at(now));
    let size_max = batch.and_then(|batch| batch.size);
    let reason = "the action tells several events as one";
    let step = TraceStep::new(STEP, "digest", reason).with_detail(json!({
        "rule_id": rule_id, "rule": telling.rule, "action": place, "user_id": user_id,
        "closes_at_latest": closes_at, "size": size_max,
    }));
    let join = DigestJoin {
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
        closes_at,
        size_max,
        priority: facts.priority(),
        severity: event.severity,
        telling,
        at: now,
    };
    (join, step)
}

/// A delivery joins what its user is told over its channel when their quiet hours end. It waits as
/// `pending` until then, so that whoever sent it can take it back.
pub(super) fn join_quietly(
    delivery_id: DeliveryId,
    place: Place<'_>,
    user_id: &UserId,
    priority: Priority,
    delivery: &PlannedDelivery,
    now: DateTime<Utc>,
) -> Option<DigestJoin> {
    let gathers = |quiet: &&Quiet| quiet.mode == QuietMode::Digest;
    let quiet = delivery.quiet.as_ref().filter(gathers)?;
    Some(DigestJoin {
        key: DigestKey {
            tenant_id: place.tenant_id.clone(),
            user_id: user_id.clone(),
            rule_id: None,
            action: 0,
            batch_key: delivery.channel.as_str().to_owned(),
        },
        source_id: delivery_id.as_uuid(),
        subject_id: place.notification_id.as_uuid(),
        digest_id: DigestId::at(now),
        closes_at: quiet.until,
        size_max: Some(QUIET_SIZE_MAX),
        priority,
        severity: None,
        telling: Telling {
            channels: Some(vec![delivery.channel]),
            template: Some(QUIET_TEMPLATE.to_owned()),
            ..Telling::default()
        },
        at: now,
    })
}

//! What stands in for a channel that has failed for good.

use std::sync::Arc;

use domain::{Addresses, Channel, Consents, DeliveryId, Preferences, QuietMode, Recipient, Status};
use queue::{Job, Outcome};
use serde_json::json;
use store::Effect;
use store::effect::NewDelivery;
use store::prepare::{ToDeliver, Understudy};

use super::{buried_as, now, statuses, to_send};
use crate::stand_in::give_up;
use crate::{QuietHours, Render};

/// A mail that in-app, then push, may stand in for, to a user who has said `preferences`.
fn mail(preferences: serde_json::Value) -> ToDeliver {
    let recipient = Recipient {
        preferences: Preferences::parse(preferences).unwrap(),
        ..known()
    };
    ToDeliver {
        understudy: Some(Arc::new(Understudy {
            fallback: vec![Channel::Push, Channel::InApp],
            used: vec![Channel::Email],
            delivery_count: 1,
            severity: None,
            bypass_quiet_hours: false,
            data: None,
            recipient: Some(recipient),
        })),
        ..to_send(Channel::Email)
    }
}

fn known() -> Recipient {
    Recipient {
        user_id: "ada".into(),
        addresses: Addresses {
            push: vec![json!({"token": "a", "platform": "ios"})],
            ..Addresses::default()
        },
        locale: None,
        timezone: None,
        preferences: Preferences::default(),
        consents: Consents::default(),
    }
}

fn given_up(row: &ToDeliver, reason: &str) -> Outcome<Effect> {
    give_up(
        row,
        "deliver",
        reason,
        "550 no such user",
        Some("smtp"),
        now(),
    )
}

fn added(outcome: &Outcome<Effect>) -> Vec<&NewDelivery> {
    let added = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::DeliveryAdded(row) => Some(&**row),
        _ => None,
    });
    added.collect()
}

#[test]
fn the_first_fallback_with_an_address_takes_over_in_the_settlement_of_the_failure() {
    let row = mail(json!({}));

    let outcome = given_up(&row, "permanent");

    assert_eq!(buried_as(&outcome), Some("permanent"));
    assert_eq!(statuses(&outcome), [Status::Failed]);
    let [stand_in] = added(&outcome)[..] else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!((stand_in.channel, stand_in.position), (Channel::Push, 1));
    assert_eq!(
        stand_in.id,
        DeliveryId::of_stand_in(row.notification_id, Channel::Push, 0)
    );
    let [job] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs);
    };
    assert_eq!(job.kind, Render::KIND);
    assert_eq!(stand_in.job_id, Some(job.job_id.as_uuid()));
    // Its notification is what both come to.
    assert!(
        outcome
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::DeliveryMoved(moved) if !moved.is_sole))
    );
}

#[test]
fn what_stands_in_never_crosses_an_opt_out() {
    let outcome = given_up(
        &mail(json!({"channels": {"push": {"enabled": false}}})),
        "permanent",
    );
    let channels: Vec<_> = added(&outcome).iter().map(|row| row.channel).collect();
    assert_eq!(channels, [Channel::InApp]);

    let outcome = given_up(&mail(json!({"enabled": false})), "permanent");
    assert!(added(&outcome).is_empty() && outcome.jobs.is_empty());
    assert!(outcome.effects.iter().any(|effect| matches!(
        effect,
        Effect::Traced { steps, .. } if steps.iter().any(|it| it.decision == "fallback_exhausted")
    )));
}

#[test]
fn nothing_stands_in_for_what_may_have_gone_out() {
    let outcome = given_up(&mail(json!({})), "outcome_unknown");
    assert!(added(&outcome).is_empty() && outcome.jobs.is_empty());
}

#[test]
fn a_stand_in_waits_for_the_end_of_quiet_hours_and_is_not_gathered() {
    let quiet = json!({
        "quiet_hours": {"enabled": true, "start": "00:00", "end": "23:59"},
        "categories": {"risk": {"quiet_hours": "digest"}},
    });
    let row = ToDeliver {
        category: Some("risk".into()),
        ..mail(quiet)
    };
    assert_eq!(QuietMode::parse("digest"), Some(QuietMode::Digest));

    let outcome = given_up(&row, "permanent");

    let [stand_in] = added(&outcome)[..] else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(stand_in.status, Status::Pending);
    assert_eq!(outcome.jobs[0].kind, QuietHours::KIND);
    assert!(outcome.jobs[0].run_at.is_some_and(|due| due > now()));
}

#[test]
fn without_a_fallback_a_failure_is_one_alone() {
    let outcome = given_up(&to_send(Channel::Email), "permanent");
    assert_eq!(statuses(&outcome), [Status::Failed]);
    assert!(added(&outcome).is_empty() && outcome.jobs.is_empty());
}

//! What a send is told by the limits, and what follows.

use std::sync::Arc;
use std::time::Duration;

use ::channels::{Channels, Scripted};
use chrono::TimeDelta;
use domain::{Channel, Limit, LimitOf, Scope, Status};
use queue::{Ending, LeaseInfo, Outcome};
use store::Effect;
use store::prepare::ToDeliver;
use uuid::Uuid;

use super::{buried_as, context, lease, now, statuses, to_send, uncertain_lease};
use crate::Deliver;
use crate::throttle::{Admitted, Pass, run};

async fn deliver(row: ToDeliver, pass: Pass, lease: LeaseInfo) -> (Outcome<Effect>, Arc<Scripted>) {
    let provider = Arc::new(Scripted::accepting());
    let channels = Channels::new().with(row.channel, Arc::clone(&provider) as _);
    let job = Deliver {
        delivery_id: row.id,
    };
    let row = Arc::new(row);
    let outcome = run(
        job,
        Some(&Admitted { row, pass }),
        &context(channels),
        lease,
    )
    .await;
    (outcome.unwrap(), provider)
}

fn full_for(minutes: i64) -> Pass {
    let limit = Limit {
        id: Uuid::nil(),
        name: "sms_per_user".into(),
        scope: Scope::UserChannel,
        of: LimitOf::default(),
        max: 10,
        window: Duration::from_hours(1),
        when_unavailable: None,
        enabled: true,
        created_at: now(),
        updated_at: now(),
    };
    Pass::Full {
        limit: Arc::new(limit),
        until: now() + TimeDelta::minutes(minutes),
    }
}

fn until(outcome: &Outcome<Effect>) -> TimeDelta {
    match outcome.ending {
        Ending::Snooze { until } => until - now(),
        _ => panic!("{outcome:?}"),
    }
}

fn is_traced(outcome: &Outcome<Effect>) -> bool {
    let mut effects = outcome.effects.iter();
    effects.any(|effect| {
        matches!(effect, Effect::Traced { steps, .. } if steps[0].decision == "rate_limited")
    })
}

#[tokio::test]
async fn over_a_limit_nothing_is_sent_and_the_delivery_stays_as_it_is() {
    let (outcome, provider) = deliver(to_send(Channel::Sms), full_for(7), lease()).await;

    assert_eq!(until(&outcome), TimeDelta::minutes(7));
    assert!(statuses(&outcome).is_empty());
    assert!(is_traced(&outcome));
    assert!(provider.given().is_empty());
}

#[tokio::test]
async fn a_job_that_waits_over_and_over_does_not_fill_its_trace() {
    let worn = LeaseInfo {
        attempt: 11,
        ..lease()
    };
    let (outcome, _) = deliver(to_send(Channel::Email), full_for(7), worn).await;

    assert_eq!(until(&outcome), TimeDelta::minutes(7));
    assert!(!is_traced(&outcome));
}

#[tokio::test]
async fn nobody_waits_for_longer_than_an_hour_without_asking_again() {
    let month = full_for(31 * 24 * 60);
    let (outcome, _) = deliver(to_send(Channel::Email), month, lease()).await;

    assert_eq!(until(&outcome), TimeDelta::hours(1));
}

#[tokio::test]
async fn a_slot_that_has_grown_old_is_not_used() {
    let slot = |millis| Pass::Slot {
        until: now() + TimeDelta::milliseconds(millis),
    };
    let (outcome, provider) = deliver(to_send(Channel::Email), slot(0), lease()).await;
    assert_eq!(statuses(&outcome), [Status::Sent]);
    assert_eq!(provider.given().len(), 1);

    let (outcome, provider) = deliver(to_send(Channel::Email), slot(-1), lease()).await;
    assert_eq!(until(&outcome), TimeDelta::zero());
    assert!(provider.given().is_empty());
}

#[tokio::test]
async fn a_text_message_is_sent_after_any_number_of_waits() {
    let worn = LeaseInfo {
        attempt: 5000,
        ..lease()
    };
    let (outcome, provider) = deliver(to_send(Channel::Sms), Pass::Free, worn).await;

    assert_eq!(statuses(&outcome), [Status::Sent]);
    assert_eq!(provider.given().len(), 1);
}

#[tokio::test]
async fn what_may_have_gone_out_is_told_so_without_waiting_for_a_slot() {
    let (outcome, provider) = deliver(to_send(Channel::Sms), full_for(7), uncertain_lease()).await;

    assert_eq!(buried_as(&outcome), Some("outcome_unknown"));
    assert!(provider.given().is_empty());
}

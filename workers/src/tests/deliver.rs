//! What each answer of a provider leads to.

use std::sync::Arc;
use std::time::Duration;

use ::channels::{Channels, Scripted, SendError};
use chrono::TimeDelta;
use domain::{AttemptStatus, Channel, RetryPolicy, Status};
use queue::{Ending, LeaseInfo, Outcome};
use store::Effect;
use store::effect::NewAttempt;
use store::prepare::ToDeliver;

use super::{buried_as, context, lease, now, statuses, to_send, uncertain_lease};
use crate::Deliver;
use crate::deliver::run;

/// Delivers `row` through `provider`, as its channel's only one.
async fn deliver(row: &ToDeliver, provider: &Arc<Scripted>, lease: LeaseInfo) -> Outcome<Effect> {
    let channels = Channels::new().with(row.channel, Arc::<Scripted>::clone(provider) as _);
    let job = Deliver {
        delivery_id: row.id,
    };
    run(job, Some(row), &context(channels), lease)
        .await
        .unwrap()
}

async fn deliver_failing(row: &ToDeliver, error: SendError) -> Outcome<Effect> {
    deliver(row, &Arc::new(Scripted::failing(1, error)), lease()).await
}

fn transient() -> SendError {
    SendError::Transient {
        detail: "connection refused".into(),
    }
}

fn attempt(outcome: &Outcome<Effect>) -> &NewAttempt {
    let attempts: Vec<_> = outcome
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Attempted(attempt) => Some(attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts.len(), 1, "{:?}", outcome.effects);
    attempts[0]
}

#[tokio::test]
async fn an_accepted_message_is_sent_and_recorded() {
    let provider = Arc::new(Scripted::accepting());
    let row = ToDeliver {
        attempts: 2,
        ..to_send(Channel::Email)
    };

    let outcome = deliver(&row, &provider, lease()).await;

    assert_eq!(outcome.ending, Ending::Complete);
    assert_eq!(statuses(&outcome), [Status::Sent]);
    assert!(outcome.jobs.is_empty());
    let attempt = attempt(&outcome);
    assert_eq!((attempt.number, attempt.status), (3, AttemptStatus::Sent));
    assert_eq!(attempt.provider_message_id.as_deref(), Some("scripted-1"));
    assert_eq!(provider.given()[0].delivery_id, row.id);
}

#[tokio::test]
async fn in_app_arrives_in_the_feed_without_a_provider() {
    let row = ToDeliver {
        message: None,
        address: None,
        ..to_send(Channel::InApp)
    };
    let job = Deliver {
        delivery_id: row.id,
    };

    let outcome = run(job, Some(&row), &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(outcome.ending, Ending::Complete);
    let [Effect::InboxArrived(arrival)] = &outcome.effects[..] else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(
        (arrival.delivery_id, arrival.attempt, arrival.is_sole),
        (row.id, 1, true)
    );
}

#[tokio::test]
async fn a_transient_error_plans_a_retry_within_the_backoff() {
    let row = to_send(Channel::Email);

    let outcome = deliver_failing(&row, transient()).await;

    assert_eq!(outcome.ending, Ending::Complete);
    assert_eq!(statuses(&outcome), [Status::Retrying]);
    assert_eq!(attempt(&outcome).status, AttemptStatus::Failed);
    let [next] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    assert_eq!(
        (next.queue.as_str(), next.kind.as_str()),
        ("retry", "retry")
    );
    assert_eq!(next.priority, queue::Priority::High);
    let due = next.run_at.unwrap();
    assert!(
        due > now() && due <= now() + RetryPolicy::of(Channel::Email).base,
        "{due}"
    );
    let moved = outcome.effects.iter().find_map(|effect| match effect {
        Effect::DeliveryMoved(moved) => Some(moved),
        _ => None,
    });
    assert_eq!(moved.unwrap().job_id, Some(next.job_id.as_uuid()));
}

#[tokio::test]
async fn a_throttled_send_waits_as_long_as_the_provider_says_but_not_for_ever() {
    for (asked, waited) in [(90, 90), (1_000_000, 24 * 60 * 60)] {
        let retry_after = Some(Duration::from_secs(asked));
        let throttled = SendError::Throttled {
            retry_after,
            detail: "429".into(),
        };

        let outcome = deliver_failing(&to_send(Channel::Email), throttled).await;

        assert_eq!(
            outcome.jobs[0].run_at,
            Some(now() + TimeDelta::seconds(waited))
        );
    }
}

#[tokio::test]
async fn the_last_attempt_fails_the_delivery_and_buries_the_job() {
    let attempts = RetryPolicy::of(Channel::Email).attempts_max - 1;
    let row = ToDeliver {
        attempts,
        ..to_send(Channel::Email)
    };

    let outcome = deliver_failing(&row, transient()).await;

    assert_eq!(buried_as(&outcome), Some("attempts_exhausted"));
    assert_eq!(statuses(&outcome), [Status::Failed]);
    assert_eq!(attempt(&outcome).number, attempts + 1);
    assert!(outcome.jobs.is_empty());
}

#[tokio::test]
async fn a_rejected_message_and_a_dead_address_are_not_tried_again() {
    let detail = String::from("no such user");
    for error in [
        SendError::Rejected {
            detail: detail.clone(),
        },
        SendError::AddressDead {
            detail: detail.clone(),
        },
    ] {
        let outcome = deliver_failing(&to_send(Channel::Email), error).await;

        assert_eq!(buried_as(&outcome), Some("permanent"));
        assert_eq!(statuses(&outcome), [Status::Failed]);
        assert_eq!(attempt(&outcome).status, AttemptStatus::Rejected);
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_held_for_a_text_message_and_repeated_for_a_mail() {
    let unknown = SendError::Unknown {
        detail: "timeout".into(),
    };

    let sms = deliver_failing(&to_send(Channel::Sms), unknown.clone()).await;
    let mail = deliver_failing(&to_send(Channel::Email), unknown).await;

    assert_eq!(buried_as(&sms), Some("outcome_unknown"));
    assert_eq!(statuses(&sms), [Status::Failed]);
    assert_eq!(mail.ending, Ending::Complete);
    assert_eq!(statuses(&mail), [Status::Retrying]);
    assert_eq!(attempt(&mail).status, AttemptStatus::Unknown);
}

#[tokio::test]
async fn a_text_message_is_not_repeated_after_a_crash_and_a_mail_is() {
    for (channel, sends, reason) in [
        (Channel::Sms, 0, Some("outcome_unknown")),
        (Channel::Voice, 0, Some("outcome_unknown")),
        (Channel::Email, 1, None),
    ] {
        let provider = Arc::new(Scripted::accepting());

        let outcome = deliver(&to_send(channel), &provider, uncertain_lease()).await;

        assert_eq!(provider.given().len(), sends, "{channel}");
        assert_eq!(buried_as(&outcome), reason, "{channel}");
    }
}

#[tokio::test]
async fn without_a_provider_the_delivery_fails_and_can_be_replayed() {
    let row = to_send(Channel::Slack);
    let job = Deliver {
        delivery_id: row.id,
    };

    let outcome = run(job, Some(&row), &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(buried_as(&outcome), Some("no_provider"));
    assert_eq!(statuses(&outcome), [Status::Failed]);
}

#[tokio::test]
async fn a_test_send_goes_to_the_outbox_whoever_carries_its_channel() {
    let provider = Arc::new(Scripted::accepting());
    let row = ToDeliver {
        is_test: true,
        ..to_send(Channel::Sms)
    };

    let outcome = deliver(&row, &provider, lease()).await;

    assert_eq!(attempt(&outcome).provider, "outbox");
    assert!(provider.given().is_empty());
}

#[tokio::test]
async fn a_delivery_without_a_message_fails_instead_of_sending_nothing() {
    let provider = Arc::new(Scripted::accepting());
    let row = ToDeliver {
        message: None,
        ..to_send(Channel::Email)
    };

    let outcome = deliver(&row, &provider, lease()).await;

    assert_eq!(buried_as(&outcome), Some("permanent"));
    assert!(provider.given().is_empty());
}

#[tokio::test]
async fn what_has_expired_is_not_sent() {
    // In-app too, and whatever became of an earlier run.
    for channel in Channel::ALL {
        for lease in [lease(), uncertain_lease()] {
            let provider = Arc::new(Scripted::accepting());
            let row = ToDeliver {
                expires_at: Some(now()),
                ..to_send(channel)
            };

            let outcome = deliver(&row, &provider, lease).await;

            assert_eq!(outcome.ending, Ending::Complete, "{channel}");
            assert_eq!(statuses(&outcome), [Status::Expired], "{channel}");
            assert!(provider.given().is_empty(), "{channel}");
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_over_is_left_alone() {
    for status in [
        Status::Sent,
        Status::Delivered,
        Status::Failed,
        Status::Cancelled,
    ] {
        let provider = Arc::new(Scripted::accepting());
        let row = ToDeliver {
            status,
            ..to_send(Channel::Email)
        };

        let outcome = deliver(&row, &provider, lease()).await;

        assert_eq!(outcome.ending, Ending::Complete);
        assert!(
            outcome.effects.is_empty() && provider.given().is_empty(),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_job_whose_row_is_gone_is_cancelled() {
    let job = Deliver {
        delivery_id: to_send(Channel::Email).id,
    };

    let outcome = run(job, None, &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(outcome.ending, Ending::Cancel);
}

#[tokio::test]
async fn no_address_or_content_is_written_into_effects() {
    let rejected = SendError::Rejected {
        detail: "550 policy".into(),
    };

    let outcome = deliver_failing(&to_send(Channel::Email), rejected).await;

    let written = format!("{outcome:?}");
    assert!(
        !written.contains("ada@example.com") && !written.contains("Hi"),
        "{written}"
    );
}

#[tokio::test]
async fn a_message_nobody_had_a_place_for_comes_again_at_no_cost() {
    let row = to_send(Channel::Webhook);
    let busy = SendError::Busy {
        after: Duration::from_secs(1),
        detail: "taken",
    };

    let outcome = deliver_failing(&row, busy).await;

    let Ending::Snooze { until } = outcome.ending else {
        panic!("{:?}", outcome.ending);
    };
    assert!(until >= now() + TimeDelta::seconds(1) && until < now() + TimeDelta::seconds(2));
    assert!(outcome.effects.is_empty() && outcome.jobs.is_empty());
}

//! What happens when a wait is over.

use ::channels::Channels;
use domain::{Channel, Status};
use queue::Ending;
use store::Effect;
use store::prepare::ToDeliver;

use super::{context, lease, now, statuses, to_send};
use crate::Retry;
use crate::retry::run;

#[tokio::test]
async fn the_delivery_goes_back_to_the_queue_of_its_channel() {
    let row = ToDeliver {
        status: Status::Retrying,
        ..to_send(Channel::Email)
    };
    let job = Retry {
        delivery_id: row.id,
    };

    let outcome = run(job, Some(&row), &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(outcome.ending, Ending::Complete);
    let [next] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    assert_eq!(
        (next.queue.as_str(), next.kind.as_str()),
        ("email", "deliver")
    );
    assert_eq!(next.run_at, None);
    let [Effect::DeliveryMoved(moved)] = &outcome.effects[..] else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(
        (moved.status, moved.job_id),
        (Status::Retrying, Some(next.job_id.as_uuid()))
    );
}

#[tokio::test]
async fn what_expired_while_it_waited_is_not_tried_again() {
    let row = ToDeliver {
        expires_at: Some(now()),
        ..to_send(Channel::Email)
    };
    let job = Retry {
        delivery_id: row.id,
    };

    let outcome = run(job, Some(&row), &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(statuses(&outcome), [Status::Expired]);
    assert!(outcome.jobs.is_empty());
}

#[tokio::test]
async fn what_was_cancelled_while_it_waited_is_not_tried_again() {
    let row = ToDeliver {
        status: Status::Cancelled,
        ..to_send(Channel::Email)
    };
    let job = Retry {
        delivery_id: row.id,
    };

    let outcome = run(job, Some(&row), &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(outcome.ending, Ending::Complete);
    assert!(outcome.effects.is_empty() && outcome.jobs.is_empty());
}

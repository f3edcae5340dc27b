//! What settlements write, and what they leave alone.

use domain::{AttemptStatus, Channel, DeliveryId, Status};
use store::deliveries::list_attempts;
use store::effect::{DeliveryMove, Effect, NewAttempt, NewDelivery};
use store::notifications::find_notification;
use store::traces::list_trace;
use uuid::Uuid;

use crate::kit::{Kit, rendered};

#[tokio::test]
async fn an_in_app_notification_goes_all_the_way_to_its_feed() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::InApp]).await;

    kit.settle(&[rendered(deliveries[0], "Hello"), kit.traced(id, "rendered")])
        .await;
    let applied = kit.settle(&[kit.arrival(id, deliveries[0], "ada")]).await;

    assert_eq!(applied.arrivals, [("default".into(), "ada".into())]);
    assert_eq!(kit.status(id).await, Status::Delivered);
    let delivery = &kit.deliveries(id).await[0];
    assert_eq!(
        (delivery.status, delivery.seq, delivery.attempts),
        (Status::Delivered, Some(1), 1)
    );
    assert_eq!(delivery.message.as_ref().unwrap().body, "Hello");
    let mut connection = kit.store.acquire().await.unwrap();
    let attempts = list_attempts(&mut connection, &deliveries).await.unwrap();
    assert_eq!(attempts[0].status, AttemptStatus::Delivered);
    assert_eq!(attempts[0].provider, "in_app");
    let trace = list_trace(&mut connection, id).await.unwrap();
    assert_eq!(trace[0].step.decision, "rendered");
}

#[tokio::test]
async fn a_whole_life_may_be_settled_at_once() {
    let kit = Kit::create().await;
    let mut notification = kit.notification("ada");
    notification.delivery_count = 1;
    let id = notification.id;
    let delivery = kit.delivery(id, "ada", Channel::InApp, 0);
    let delivery_id = delivery.id;

    kit.settle(&[
        Effect::NotificationPlanned(Box::new(notification)),
        Effect::DeliveryPlanned(Box::new(delivery)),
        rendered(delivery_id, "Hello"),
        kit.arrival(id, delivery_id, "ada"),
    ])
    .await;

    assert_eq!(kit.status(id).await, Status::Delivered);
    assert_eq!(kit.seqs("ada").await, [1]);
}

#[tokio::test]
async fn feeds_are_numbered_without_gaps_in_the_order_of_the_effects() {
    let kit = Kit::create().await;
    let mut effects = Vec::new();
    let mut of_ada = Vec::new();
    for user in ["ada", "bob", "ada", "ada", "bob"] {
        let (id, deliveries) = kit.planned(user, &[Channel::InApp]).await;
        effects.push(kit.arrival(id, deliveries[0], user));
        if user == "ada" {
            of_ada.push(id);
        }
    }

    let applied = kit.settle(&effects).await;
    let later = kit.arrived("ada", "one more").await;

    assert_eq!(applied.arrivals.len(), 2);
    assert_eq!(kit.seqs("ada").await, [1, 2, 3, 4]);
    assert_eq!(kit.seqs("bob").await, [1, 2]);
    for (id, seq) in of_ada.into_iter().chain([later]).zip(1..) {
        assert_eq!(kit.deliveries(id).await[0].seq, Some(seq));
    }
}

/// Eight settlements at once over the same three users, each in another order.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_settlements_share_feeds_without_gaps_or_deadlocks() {
    let kit = std::sync::Arc::new(Kit::create().await);
    let users = ["ada", "bob", "eve"];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let mut effects = Vec::new();
        for i in 0..30 {
            let user = users[(i * (n + 1)) % 3];
            let (id, deliveries) = kit.planned(user, &[Channel::InApp]).await;
            effects.push(kit.arrival(id, deliveries[0], user));
        }
        let kit = std::sync::Arc::clone(&kit);
        tasks.spawn(async move { kit.try_settle(&effects).await });
    }

    while let Some(settled) = tasks.join_next().await {
        settled.unwrap().unwrap();
    }

    let mut total = 0;
    for user in users {
        let seqs = kit.seqs(user).await;
        assert!(
            seqs.iter().copied().eq(1..=seqs.len() as i64),
            "{user}: {seqs:?}"
        );
        total += seqs.len();
    }
    assert_eq!(total, 8 * 30);
}

#[tokio::test]
async fn a_cancelled_delivery_does_not_arrive_and_takes_no_number() {
    let kit = Kit::create().await;
    let (cancelled, deliveries) = kit.planned("ada", &[Channel::InApp]).await;
    kit.settle(&[kit.moved(deliveries[0], Status::Cancelled)])
        .await;

    let applied = kit
        .settle(&[kit.arrival(cancelled, deliveries[0], "ada")])
        .await;
    kit.arrived("ada", "the next one").await;

    assert!(applied.arrivals.is_empty());
    assert_eq!(kit.status(cancelled).await, Status::Cancelled);
    assert_eq!(kit.deliveries(cancelled).await[0].attempts, 0);
    assert_eq!(kit.seqs("ada").await, [1]);
}

#[tokio::test]
async fn a_message_comes_too_late_for_a_cancelled_delivery() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::InApp]).await;
    kit.settle(&[kit.moved(deliveries[0], Status::Cancelled)])
        .await;

    kit.settle(&[rendered(deliveries[0], "Too late")]).await;

    assert_eq!(kit.deliveries(id).await[0].message, None);
}

#[tokio::test]
async fn a_late_answer_does_not_undo_a_delivery() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email]).await;
    kit.settle(&[kit.moved(deliveries[0], Status::Delivered)])
        .await;

    kit.settle(&[kit.moved(deliveries[0], Status::Sent)]).await;

    assert_eq!(kit.deliveries(id).await[0].status, Status::Delivered);
    assert_eq!(kit.status(id).await, Status::Delivered);
}

#[tokio::test]
async fn an_attempt_and_the_move_that_follows_are_one_change() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email]).await;
    let job_id = Uuid::now_v7();

    kit.settle(&[
        Effect::Attempted(NewAttempt {
            delivery_id: deliveries[0],
            number: 1,
            provider: "smtp".into(),
            status: AttemptStatus::Failed,
            error: Some("451 greylisted".into()),
            provider_message_id: None,
            response: None,
            started_at: kit.now,
            finished_at: kit.now,
        }),
        Effect::DeliveryMoved(DeliveryMove {
            id: deliveries[0],
            notification_id: Some(id),
            status: Status::Retrying,
            provider: None,
            error: Some("451 greylisted".into()),
            job_id: Some(job_id),
            at: kit.now,
            is_sole: true,
        }),
    ])
    .await;

    let delivery = &kit.deliveries(id).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Status::Retrying, 1));
    assert_eq!(delivery.provider.as_deref(), Some("smtp"));
    assert_eq!(delivery.error.as_deref(), Some("451 greylisted"));
    assert_eq!(delivery.job_id, Some(job_id));
    assert_eq!(kit.status(id).await, Status::Retrying);
}

#[tokio::test]
async fn an_attempt_alone_leaves_status_error_and_job_as_they_were() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email]).await;
    let job_id = Uuid::now_v7();
    let first = DeliveryMove {
        id: deliveries[0],
        notification_id: Some(id),
        status: Status::Retrying,
        provider: Some("smtp".into()),
        error: Some("451 greylisted".into()),
        job_id: Some(job_id),
        at: kit.now,
        is_sole: true,
    };
    kit.settle(&[Effect::DeliveryMoved(first)]).await;

    kit.settle(&[Effect::Attempted(NewAttempt {
        delivery_id: deliveries[0],
        number: 2,
        provider: "ses".into(),
        status: AttemptStatus::Unknown,
        error: None,
        provider_message_id: None,
        response: None,
        started_at: kit.now,
        finished_at: kit.now,
    })])
    .await;

    let delivery = &kit.deliveries(id).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Status::Retrying, 2));
    assert_eq!(delivery.provider.as_deref(), Some("ses"));
    assert_eq!(delivery.error.as_deref(), Some("451 greylisted"));
    assert_eq!(delivery.job_id, Some(job_id));
}

#[tokio::test]
async fn a_direct_send_is_routed_once() {
    let kit = Kit::create().await;
    let mut notification = kit.notification("ada");
    notification.status = Status::Pending;
    let id = notification.id;
    kit.settle(&[Effect::NotificationPlanned(Box::new(notification))])
        .await;
    let routed = |status| Effect::NotificationRouted {
        template_version: None,
        id,
        status,
        delivery_count: 1,
        category: None,
        locale: None,
    };

    kit.settle(&[routed(Status::Queued)]).await;
    kit.settle(&[routed(Status::Failed)]).await;

    assert_eq!(kit.status(id).await, Status::Queued);
}

#[tokio::test]
async fn a_stand_in_keeps_its_notification_open_and_comes_once_of_two_that_fail() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email, Channel::Sms]).await;
    let stand_in = NewDelivery {
        id: DeliveryId::of_stand_in(id, Channel::InApp, 0),
        ..kit.delivery(id, "ada", Channel::InApp, 2)
    };
    let failed = |place: usize| {
        let Effect::DeliveryMoved(moved) = kit.moved(deliveries[place], Status::Failed) else {
            panic!("a move");
        };
        Effect::DeliveryMoved(DeliveryMove {
            notification_id: Some(id),
            is_sole: false,
            ..moved
        })
    };
    let added = || Effect::DeliveryAdded(Box::new(stand_in.clone()));

    kit.settle(&[failed(0), added(), failed(1), added()]).await;
    kit.settle(&[failed(1), added()]).await;

    assert_eq!(kit.status(id).await, Status::Queued);
    let rows = kit.deliveries(id).await;
    let rows: Vec<_> = rows.iter().map(|row| (row.channel, row.status)).collect();
    assert_eq!(
        rows,
        [
            (Channel::Email, Status::Failed),
            (Channel::Sms, Status::Failed),
            (Channel::InApp, Status::Queued),
        ]
    );
    let mut connection = kit.store.acquire().await.unwrap();
    let found = find_notification(&mut connection, &"default".into(), id).await;
    assert_eq!(found.unwrap().unwrap().delivery_count, 3);
}

#[tokio::test]
async fn an_effect_on_a_delivery_that_is_gone_is_an_error() {
    let kit = Kit::create().await;

    let settled = kit
        .try_settle(&[kit.moved(DeliveryId::at(kit.now), Status::Failed)])
        .await;

    assert!(
        matches!(settled, Err(sqlx::Error::RowNotFound)),
        "{settled:?}"
    );
}

/// The settler bisects on this: it must see the driver's error, and that trying again is useless.
#[tokio::test]
async fn a_row_that_postgres_refuses_shows_as_the_drivers_own_error() {
    let kit = Kit::create().await;
    let (_, deliveries) = kit.planned("ada", &[Channel::InApp]).await;

    let error = kit
        .try_settle(&[rendered(deliveries[0], "bro\0ken")])
        .await
        .unwrap_err();

    let code = error
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "22P05");
    assert!(!store::is_transient(&error));
}

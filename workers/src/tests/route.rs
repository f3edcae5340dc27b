//! From a plan to rows and jobs.

use std::sync::Arc;

use ::channels::Channels;
use chrono::TimeDelta;
use domain::{
    Addresses, Channel, Consents, EventId, NotificationId, Preferences, Priority, Recipient,
    Status, unruled,
};
use queue::{Ending, Outcome};
use serde_json::json;
use store::Effect;
use store::effect::NewDelivery;
use store::events::Event;
use store::notifications::Notification;

use super::{context, lease, now};
use crate::Route;
use crate::route::{self, Heard, Loaded, Source, run};

fn event() -> Event {
    Event {
        id: EventId::at(now()),
        tenant_id: "default".into(),
        created_at: now(),
        event_id: "order-1".into(),
        producer: String::new(),
        kind: "ORDER_FILLED".into(),
        severity: None,
        payload: json!({"user_id": "ada"}),
    }
}

fn sent() -> Notification {
    Notification {
        decided: store::effect::Decided::default(),
        id: NotificationId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        created_at: now(),
        updated_at: now(),
        send_at: None,
        expires_at: None,
        event_id: None,
        delivery_count: 0,
        is_test: false,
        bypass_quiet_hours: false,
        kind: "notification".into(),
        category: None,
        priority: Priority::Critical,
        status: Status::Pending,
        template: None,
        locale: None,
        subject: None,
        content: Some("Hi".into()),
        channels: Some(vec![Channel::Email, Channel::Sms, Channel::InApp]),
        data: None,
    }
}

/// Routes `sent` to a user of whom only a mail address is known.
async fn routed_direct(sent: Notification) -> Outcome<Effect> {
    routed_to(sent, Preferences::default()).await
}

/// The same to a user who has said `preferences`.
async fn routed_to(sent: Notification, preferences: Preferences) -> Outcome<Effect> {
    let email = Some("ada@example.com".into());
    let recipient = Recipient {
        user_id: sent.user_id.clone(),
        addresses: Addresses {
            email,
            ..Addresses::default()
        },
        locale: Some("de".into()),
        timezone: None,
        preferences,
        consents: Consents::default(),
    };
    routed(Source::Notification(
        Box::new(sent),
        Some(Arc::new(recipient)),
    ))
    .await
}

async fn routed_event(event: Event) -> Outcome<Effect> {
    routed(heard(event, None)).await
}

/// An event that no rule speaks of, as it is loaded.
fn heard(event: Event, recipient: Option<Recipient>) -> Source {
    let (heard, steps) = match unruled(&route::facts(&event)) {
        Ok(user_id) => {
            let heard = Heard {
                recipients: vec![(user_id, recipient.map(Arc::new))],
                ..Heard::default()
            };
            (vec![heard], Vec::new())
        }
        Err(step) => (Vec::new(), vec![step]),
    };
    Source::Event {
        event: Arc::new(event),
        heard,
        steps,
    }
}

fn said(preferences: serde_json::Value) -> Preferences {
    Preferences::parse(preferences).unwrap()
}

async fn routed(source: Source) -> Outcome<Effect> {
    let job = match &source {
        Source::Event { event, .. } => Route::Event { event_id: event.id },
        Source::Digest(it, _) => Route::Digest {
            digest_id: it.digest.id,
        },
        Source::Notification(sent, _) => Route::Notification {
            notification_id: sent.id,
        },
    };
    let cx = context(Channels::new());
    let loaded = Loaded::new(cx.catalog.latest(), source, now());
    run(job, Some(&loaded), &cx, lease()).await.unwrap()
}

fn deliveries(outcome: &Outcome<Effect>) -> Vec<&NewDelivery> {
    let planned = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::DeliveryPlanned(delivery) => Some(&**delivery),
        _ => None,
    });
    planned.collect()
}

#[tokio::test]
async fn an_event_becomes_a_notification_a_delivery_a_trace_and_a_render_job() {
    let event = event();

    let outcome = routed_event(event.clone()).await;

    assert_eq!(outcome.ending, Ending::Complete);
    let [
        Effect::NotificationPlanned(notification),
        Effect::DeliveryPlanned(delivery),
        trace,
    ] = &outcome.effects[..]
    else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(notification.event_id, Some(event.id));
    assert_eq!(notification.template.as_deref(), Some("order.filled"));
    assert_eq!(notification.category.as_deref(), Some("trading"));
    assert_eq!(
        (notification.status, notification.delivery_count),
        (Status::Queued, 1)
    );
    assert_eq!(delivery.notification_id, notification.id);
    let subject = notification.id.as_uuid();
    assert!(matches!(trace, Effect::Traced { subject_id, .. } if *subject_id == subject));
    let [job] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    assert_eq!(
        (job.queue.as_str(), job.kind.as_str(), job.run_at),
        ("render", "render", None)
    );
    assert_eq!(delivery.job_id, Some(job.job_id.as_uuid()));
}

#[tokio::test]
async fn an_event_that_names_nobody_leaves_a_trace_and_nothing_else() {
    let event = Event {
        payload: json!({}),
        ..event()
    };
    let id = event.id.as_uuid();

    let outcome = routed_event(event).await;

    assert_eq!(outcome.ending, Ending::Complete);
    assert!(outcome.jobs.is_empty());
    let [Effect::Traced { subject_id, .. }] = &outcome.effects[..] else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(*subject_id, id);
}

#[tokio::test]
async fn only_deliveries_that_can_be_sent_get_a_job() {
    let outcome = routed_direct(sent()).await;

    let planned: Vec<_> = deliveries(&outcome)
        .into_iter()
        .map(|it| (it.position, it.channel, it.status, it.job_id.is_some()))
        .collect();
    assert_eq!(
        planned,
        [
            (0, Channel::Email, Status::Queued, true),
            (1, Channel::Sms, Status::Failed, false),
            (2, Channel::InApp, Status::Queued, true),
        ]
    );
    assert_eq!(outcome.jobs.len(), 2);
    assert!(
        outcome
            .jobs
            .iter()
            .all(|job| job.priority == queue::Priority::Critical)
    );
    assert!(outcome.effects.iter().any(|effect| matches!(
        effect,
        Effect::NotificationRouted {
            template_version: _,
            status: Status::Queued,
            delivery_count: 3,
            ..
        }
    )));
}

#[tokio::test]
async fn a_send_for_later_waits_as_a_job_that_is_due_then() {
    let send_at = Some(now() + TimeDelta::hours(2));
    let channels = Some(vec![Channel::InApp]);

    let later = routed_direct(Notification {
        send_at,
        channels: channels.clone(),
        ..sent()
    })
    .await;
    let past = Some(now() - TimeDelta::hours(2));
    let at_once = routed_direct(Notification {
        send_at: past,
        channels,
        ..sent()
    })
    .await;

    assert_eq!(later.jobs[0].run_at, send_at);
    assert_eq!(at_once.jobs[0].run_at, None);
}

#[tokio::test]
async fn what_was_routed_or_cancelled_before_is_not_routed_again() {
    for status in [Status::Queued, Status::Cancelled] {
        let outcome = routed_direct(Notification { status, ..sent() }).await;

        assert_eq!(outcome.ending, Ending::Complete);
        assert!(
            outcome.effects.is_empty() && outcome.jobs.is_empty(),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_job_whose_row_is_gone_is_cancelled() {
    let job = Route::Event {
        event_id: event().id,
    };

    let outcome = run(job, None, &context(Channels::new()), lease())
        .await
        .unwrap();

    assert_eq!(outcome.ending, Ending::Cancel);
}

#[tokio::test]
async fn a_channel_that_the_user_turned_off_is_suppressed_without_a_job() {
    let preferences = said(json!({"channels": {"email": {"enabled": false}}}));

    let outcome = routed_to(sent(), preferences).await;

    let planned: Vec<_> = deliveries(&outcome)
        .into_iter()
        .map(|it| (it.channel, it.status, it.job_id.is_some()))
        .collect();
    assert_eq!(
        planned,
        [
            (Channel::Email, Status::Suppressed, false),
            (Channel::Sms, Status::Failed, false),
            (Channel::InApp, Status::Queued, true),
        ]
    );
    let error = deliveries(&outcome)[0].error.clone().unwrap();
    assert!(error.ends_with("/channels/email/enabled"), "{error}");
    let steps = outcome.effects.iter().find_map(|effect| match effect {
        Effect::Traced { steps, .. } => Some(steps),
        _ => None,
    });
    let suppressed = |step: &&domain::TraceStep| step.decision == "suppressed";
    let step = steps.unwrap().iter().find(suppressed).unwrap();
    assert_eq!(step.detail["row"], "/channels/email/enabled");
}

#[tokio::test]
async fn a_send_of_which_nothing_is_left_is_suppressed_as_a_whole() {
    let outcome = routed_to(sent(), said(json!({"enabled": false}))).await;

    assert!(outcome.jobs.is_empty());
    assert_eq!(deliveries(&outcome).len(), 3);
    assert!(outcome.effects.iter().any(|effect| matches!(
        effect,
        Effect::NotificationRouted {
            template_version: _,
            status: Status::Suppressed,
            delivery_count: 3,
            ..
        }
    )));
}

#[tokio::test]
async fn an_event_heeds_the_preferences_and_the_language_of_its_user() {
    let routed_for = async |preferences| {
        let recipient = Recipient {
            user_id: "ada".into(),
            addresses: Addresses::default(),
            locale: Some("fr".into()),
            timezone: None,
            preferences: said(preferences),
            consents: Consents::default(),
        };
        let outcome = routed(heard(event(), Some(recipient))).await;
        let planned = outcome.effects.iter().find_map(|effect| match effect {
            Effect::NotificationPlanned(planned) => Some(planned),
            _ => None,
        });
        let planned = planned.unwrap();
        (planned.status, planned.locale.clone(), outcome.jobs.len())
    };

    let off = json!({"categories": {"trading": {"enabled": false}}, "locale": "de"});
    let german = Some("de".to_owned());
    assert_eq!(routed_for(off).await, (Status::Suppressed, german, 0));
    let french = Some("fr".to_owned());
    assert_eq!(routed_for(json!({})).await, (Status::Queued, french, 1));
}

#[tokio::test]
async fn a_send_without_a_language_is_told_in_the_users() {
    let outcome = routed_direct(sent()).await;

    assert!(outcome.effects.iter().any(|effect| matches!(
        effect,
        Effect::NotificationRouted { locale: Some(locale), .. } if locale == "de"
    )));
}

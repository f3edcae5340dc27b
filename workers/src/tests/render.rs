//! What is stored for a delivery, and what happens when it cannot be made.

use ::channels::Channels;
use domain::{Channel, EventId, Message, Status};
use queue::{Ending, Outcome};
use serde_json::json;
use store::Effect;
use store::prepare::{RenderEvent, ToRender};

use super::{buried_as, context, lease, now, statuses, to_render};
use crate::render::{Loaded, run};
use crate::{PinnedTemplates, Render};

async fn rendered(row: &ToRender) -> Outcome<Effect> {
    let job = Render {
        delivery_id: row.id,
    };
    let cx = context(Channels::new());
    let shelf = cx.catalog.latest();
    let pinned = PinnedTemplates::shipped(shelf.templates());
    let loaded = Loaded::of(row.clone(), &shelf, &pinned);
    run(job, Some(&loaded), &cx, lease()).await.unwrap()
}

fn message(outcome: &Outcome<Effect>) -> &Message {
    match &outcome.effects[..] {
        [Effect::DeliveryRendered { message, .. }] => message,
        effects => panic!("{effects:?}"),
    }
}

fn filled_order() -> RenderEvent {
    RenderEvent {
        id: EventId::at(now()),
        kind: "ORDER_FILLED".into(),
        event_id: "order-1".into(),
        created_at: now(),
        payload: json!({"user_id": "ada", "symbol": "AAPL", "quantity": 3}),
    }
}

#[tokio::test]
async fn an_event_is_rendered_from_its_payload_and_goes_to_its_channels_queue() {
    let row = ToRender {
        template: Some("order.filled".into()),
        data: None,
        event: Some(filled_order()),
        ..to_render(Channel::InApp)
    };

    let outcome = rendered(&row).await;

    assert_eq!(outcome.ending, Ending::Complete);
    assert_eq!(message(&outcome).body, "Your order for 3 AAPL was filled.");
    let [next] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    assert_eq!(
        (next.queue.as_str(), next.kind.as_str()),
        ("in_app", "deliver")
    );
    let [
        Effect::DeliveryRendered {
            template, job_id, ..
        },
    ] = &outcome.effects[..]
    else {
        panic!("{:?}", outcome.effects);
    };
    assert_eq!(template.as_deref(), Some("order.filled"));
    assert_eq!(*job_id, Some(next.job_id.as_uuid()));
}

#[tokio::test]
async fn an_event_without_a_template_is_shown_plainly() {
    let row = ToRender {
        kind: "cache.warm".into(),
        event: Some(RenderEvent {
            payload: json!({"hits": 9}),
            ..filled_order()
        }),
        ..to_render(Channel::InApp)
    };

    let outcome = rendered(&row).await;

    let message = message(&outcome);
    assert_eq!(
        (message.subject.as_deref(), message.body.as_str()),
        (Some("Cache warm"), "Hits: 9")
    );
}

#[tokio::test]
async fn content_is_stored_as_it_came() {
    let row = ToRender {
        subject: Some("Hello".into()),
        content: Some("{{ 7 * 7 }}".into()),
        ..to_render(Channel::Email)
    };

    let outcome = rendered(&row).await;

    let message = message(&outcome);
    assert_eq!(
        (message.subject.as_deref(), message.body.as_str()),
        (Some("Hello"), "{{ 7 * 7 }}")
    );
}

#[tokio::test]
async fn the_subject_of_a_send_wins_over_its_templates() {
    let row = ToRender {
        template: Some("payment.failed".into()),
        subject: Some("Look here".into()),
        ..to_render(Channel::Email)
    };

    let outcome = rendered(&row).await;

    assert_eq!(message(&outcome).subject.as_deref(), Some("Look here"));
}

#[tokio::test]
async fn a_template_that_does_not_exist_fails_the_delivery() {
    let row = ToRender {
        template: Some("no.such".into()),
        ..to_render(Channel::Email)
    };

    let outcome = rendered(&row).await;

    assert_eq!(buried_as(&outcome), Some("permanent"));
    assert_eq!(statuses(&outcome), [Status::Failed]);
    assert!(outcome.jobs.is_empty());
}

#[tokio::test]
async fn what_has_expired_or_was_cancelled_is_not_rendered() {
    let expired = ToRender {
        expires_at: Some(now()),
        ..to_render(Channel::Email)
    };
    assert_eq!(statuses(&rendered(&expired).await), [Status::Expired]);

    let cancelled = ToRender {
        status: Status::Cancelled,
        ..to_render(Channel::Email)
    };
    let outcome = rendered(&cancelled).await;
    assert!(outcome.effects.is_empty() && outcome.jobs.is_empty());
}

/// Of what waited for its `send_at` the user's present wishes are loaded; routing asked long ago.
#[tokio::test]
async fn what_was_turned_off_while_a_send_waited_is_suppressed() {
    let off = json!({"channels": {"email": {"enabled": false}}});
    let wishes = Some(store::prepare::Wishes {
        consents: domain::Consents::default(),
        preferences: domain::Preferences::parse(off).unwrap(),
        timezone: None,
        severity: None,
        bypass_quiet_hours: false,
    });
    let waited = ToRender {
        content: Some("Hi".into()),
        wishes,
        ..to_render(Channel::Email)
    };

    let outcome = rendered(&waited).await;

    assert_eq!(statuses(&outcome), [Status::Suppressed]);
    assert!(outcome.jobs.is_empty());
    let steps = outcome.effects.iter().find_map(|effect| match effect {
        Effect::Traced { steps, .. } => Some(steps),
        _ => None,
    });
    assert_eq!(steps.unwrap()[0].detail["row"], "/channels/email/enabled");
}

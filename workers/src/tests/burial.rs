//! A job that died without an answer leaves no delivery waiting for ever.

use domain::{DeliveryId, EventId, NotificationId, Status};
use queue::Job;
use serde_json::{Value, json};
use store::Effect;

use super::now;
use crate::burial::on_bury;
use crate::{Deliver, Render, Retry, Route};

fn payload<J: Job>(job: &J) -> Value {
    serde_json::to_value(job).unwrap()
}

#[test]
fn the_delivery_of_a_buried_job_has_failed() {
    let delivery_id = DeliveryId::at(now());
    for (kind, payload) in [
        (Render::KIND, payload(&Render { delivery_id })),
        (Deliver::KIND, payload(&Deliver { delivery_id })),
        (Retry::KIND, payload(&Retry { delivery_id })),
    ] {
        let effects = on_bury(kind, &payload, "crashed", now());

        let [Effect::DeliveryMoved(moved)] = &effects[..] else {
            panic!("{kind}: {effects:?}")
        };
        assert_eq!((moved.id, moved.status), (delivery_id, Status::Failed));
        assert_eq!(moved.error.as_deref(), Some("crashed"));
        assert!(moved.notification_id.is_none() && !moved.is_sole);
    }
}

#[test]
fn a_direct_send_that_could_not_be_routed_has_failed_and_an_event_says_why() {
    let notification_id = NotificationId::at(now());
    let sent = payload(&Route::Notification { notification_id });
    let effects = on_bury(Route::KIND, &sent, "crashed", now());
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::NotificationRouted { id, status: Status::Failed, .. } if *id == notification_id
    )));

    let event = payload(&Route::Event {
        event_id: EventId::at(now()),
    });
    let effects = on_bury(Route::KIND, &event, "crashed", now());
    assert!(
        matches!(effects[..], [Effect::Traced { .. }]),
        "{effects:?}"
    );
}

#[test]
fn an_unreadable_payload_moves_nothing() {
    assert_eq!(
        on_bury(Deliver::KIND, &json!({"delivery": 7}), "bad_payload", now()),
        []
    );
    assert_eq!(on_bury("unheard_of", &json!({}), "crash_loop", now()), []);
}

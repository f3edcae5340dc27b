//! Forgetting a person while others still work for them.

use domain::{Channel, NotificationId, Status, TenantId, UserId};
use serde_json::json;
use store::erase::{ErasedPage, blank, find_page, forget};
use store::events::{NewEvent, insert_events, list_events_by_id};
use store::inbox::head;
use store::notifications::find_notification;

use crate::kit::{Kit, rendered};

/// Erases the whole history of `user`, which fits on a page.
async fn erase(kit: &Kit, user: &str) -> ErasedPage {
    let (tenant, user) = (TenantId::default(), UserId::from(user));
    let until = NotificationId::at(kit.now + chrono::TimeDelta::seconds(1));
    let mut tx = kit.store.begin().await.unwrap();
    let page = find_page(&mut tx, &tenant, &user, None, until)
        .await
        .unwrap();
    blank(&mut tx, &page, kit.now).await.unwrap();
    forget(&mut tx, &tenant, &user).await.unwrap();
    tx.commit().await.unwrap();
    page
}

/// A worker loaded the delivery before the erasure and settles after it.
#[tokio::test]
async fn what_was_on_its_way_is_not_written_after_an_erasure() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::InApp]).await;

    let page = erase(&kit, "ada").await;
    kit.settle(&[rendered(deliveries[0], "Hi Ada")]).await;
    kit.settle(&[kit.arrival(id, deliveries[0], "ada")]).await;

    assert_eq!(page.deliveries[0].id, deliveries[0]);
    let stored = kit.deliveries(id).await;
    assert_eq!(
        (stored[0].status, &stored[0].message),
        (Status::Cancelled, &None)
    );
    assert_eq!(kit.status(id).await, Status::Cancelled);
    assert_eq!(kit.seqs("ada").await, [0; 0]);
}

#[tokio::test]
async fn a_delivery_that_was_made_stays_made_without_its_content() {
    let kit = Kit::create().await;
    let id = kit.arrived("ada", "Hi Ada").await;
    let other = kit.arrived("bob", "Hi Bob").await;

    erase(&kit, "ada").await;

    let stored = kit.deliveries(id).await;
    assert_eq!(
        (stored[0].status, &stored[0].message),
        (Status::Delivered, &None)
    );
    assert_eq!(stored[0].seq, Some(1));
    assert!(kit.deliveries(other).await[0].message.is_some());
    assert_eq!(kit.seqs("bob").await, [1]);
    let mut reader = kit.store.acquire().await.unwrap();
    let (tenant, ada) = (TenantId::default(), UserId::from("ada"));
    assert_eq!(head(&mut reader, &tenant, &ada).await.unwrap().seq, 0);
    let kept = find_notification(&mut reader, &tenant, id).await.unwrap();
    assert_eq!(kept.unwrap().user_id, ada);
}

#[tokio::test]
async fn a_trace_keeps_its_decisions_and_loses_what_it_quotes() {
    let kit = Kit::create().await;
    let (id, _) = kit.planned("ada", &[Channel::InApp]).await;
    kit.settle(&[kit.traced(id, "default_recipient")]).await;

    erase(&kit, "ada").await;

    let mut reader = kit.store.acquire().await.unwrap();
    let trace = store::traces::list_trace(&mut reader, id).await.unwrap();
    let steps: Vec<_> = trace
        .iter()
        .map(|entry| (&*entry.step.decision, &*entry.step.reason))
        .collect();
    assert!(
        steps.contains(&("default_recipient", "erased")),
        "{steps:?}"
    );
    assert!(
        steps.contains(&("cancelled", "the user was erased")),
        "{steps:?}"
    );
}

/// An event that reached someone by a role is not about them, and others look at it.
#[tokio::test]
async fn an_event_loses_its_payload_if_it_names_the_person() {
    let kit = Kit::create().await;
    let mut connection = kit.store.acquire().await.unwrap();
    let payloads = [
        json!({"user_id": "42", "city": "Oslo"}),
        json!({"user_id": 42, "city": "Oslo"}),
        json!({"account": {"owners": ["7", "42"]}}),
        json!({"note": "42 is not a name here", "nothing": null}),
        json!({"user_id": "421"}),
    ];
    let mut ids = Vec::new();
    for payload in payloads {
        let id = domain::EventId::at(kit.now);
        let event = NewEvent {
            id,
            tenant_id: TenantId::default(),
            created_at: kit.now,
            occurred_at: None,
            event_id: id.to_string(),
            producer: String::new(),
            kind: "note".into(),
            severity: None,
            dedupe_key: None,
            payload,
        };
        insert_events(&mut connection, &[event]).await.unwrap();
        let mut notification = kit.notification("42");
        notification.event_id = Some(id);
        kit.settle(&[store::Effect::NotificationPlanned(Box::new(notification))])
            .await;
        ids.push(id);
    }

    erase(&kit, "42").await;
    // Nor is everybody's null the name of one who has no number.
    let mut nobody = kit.notification("ada");
    nobody.event_id = Some(ids[3]);
    kit.settle(&[store::Effect::NotificationPlanned(Box::new(nobody))])
        .await;
    erase(&kit, "ada").await;

    let events = list_events_by_id(&mut connection, &ids).await.unwrap();
    let is_blank = |id: &domain::EventId| {
        let event = events.iter().find(|event| event.id == *id).unwrap();
        event.payload == json!({})
    };
    let blank: Vec<_> = ids.iter().map(is_blank).collect();
    assert_eq!(blank, [true, true, true, false, false]);
}

/// Both take the same locks, in one order.
#[tokio::test]
async fn settlements_and_an_erasure_at_once_end_well() {
    let kit = Kit::create().await;
    for _ in 0..20 {
        let mut planned = Vec::new();
        for _ in 0..8 {
            let channels = [Channel::InApp, Channel::Email];
            planned.push(kit.planned("ada", &channels).await);
        }
        let effects: Vec<_> = planned
            .iter()
            .rev()
            .flat_map(|(id, deliveries)| {
                [
                    kit.arrival(*id, deliveries[0], "ada"),
                    kit.moved(deliveries[1], Status::Sent),
                ]
            })
            .collect();

        tokio::join!(kit.settle(&effects), erase(&kit, "ada"));

        for (id, _) in planned {
            assert!(kit.status(id).await != Status::Queued);
        }
    }
}

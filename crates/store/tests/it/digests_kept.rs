//! For how long digests are kept, what of theirs is needed, and how a person's are forgotten.

use chrono::{Months, TimeDelta};
use domain::{Channel, DigestId, EventId, NotificationId, TenantId, UserId};
use serde_json::json;
use store::digests::prune;
use store::effect::{DigestJoin, Effect};
use store::erase::{blank, find_page, forget_digests};
use store::events::list_events_by_id;
use store::retention::{Month, months_behind};

use crate::digests::{joined, key};
use crate::kit::Kit;

impl Kit {
    /// A digest of these events of `ada`, still open.
    async fn gathered(&self, batch_key: &str, events: &[EventId]) -> DigestId {
        let key = key("ada", batch_key);
        // The traces of old months are gone.
        let subject_id = EventId::at(self.now).as_uuid();
        let join = |id: &EventId| {
            joined(DigestJoin {
                subject_id,
                ..self.join(&key, id.as_uuid(), None)
            })
        };
        let effects: Vec<_> = events.iter().map(join).collect();
        self.settle(&effects).await.opened[0].digest_id
    }

    /// Closes a digest and tells it.
    async fn tell(&self, id: DigestId, last: EventId) -> NotificationId {
        let close = self.digest(id).await.close(self.now);
        self.settle(&[close]).await;
        let mut notification = self.notification("ada");
        notification.decided.digest_id = Some(id);
        notification.event_id = Some(last);
        let notification_id = notification.id;
        self.settle(&[
            Effect::NotificationPlanned(Box::new(notification)),
            Effect::DigestTold {
                id,
                notification_id: Some(notification_id),
            },
        ])
        .await;
        notification_id
    }
}

/// Each event of a digest is about the person, though only the last is its notification's.
#[tokio::test]
async fn forgetting_a_person_takes_their_digests_and_every_payload_in_them() {
    let kit = Kit::create().await;
    let payload = json!({"user_id": "ada", "salary": 7});
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(kit.event(payload.clone()).await);
    }
    let others = kit.event(json!({"user_id": "eve", "salary": 8})).await;
    let told = kit.gathered("told", &events[..2]).await;
    kit.tell(told, events[1]).await;
    kit.gathered("open", &[events[2], events[3], others]).await;
    let of_eve = key("eve", "open");
    kit.settle(&[joined(kit.join(&of_eve, others.as_uuid(), None))])
        .await;

    let (tenant, ada) = (TenantId::default(), UserId::from("ada"));
    let mut tx = kit.store.begin().await.unwrap();
    let until = NotificationId::at(kit.now + TimeDelta::seconds(1));
    let mut page = find_page(&mut tx, &tenant, &ada, None, until)
        .await
        .unwrap();
    let gone = forget_digests(&mut tx, &tenant, &ada, &mut page)
        .await
        .unwrap();
    blank(&mut tx, &page, kit.now).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(gone.len(), 2);
    let left = kit.digests().await;
    assert_eq!(left.len(), 1, "another user's");
    assert_eq!(left[0].1, [others.as_uuid()]);
    let mut db = kit.store.acquire().await.unwrap();
    for event in list_events_by_id(&mut db, &events).await.unwrap() {
        assert_eq!(event.payload, json!({}));
    }
    let theirs = list_events_by_id(&mut db, &[others]).await.unwrap();
    assert_eq!(theirs[0].payload["salary"], 8);
}

#[tokio::test]
async fn a_digest_goes_when_its_notification_has_gone_and_not_before() {
    let kit = Kit::create().await;
    let first = kit.event(json!({})).await;
    let ids = [
        kit.gathered("gone", &[first]).await,
        kit.gathered("kept", &[first]).await,
        kit.gathered("waits", &[first]).await,
    ];
    let [gone, kept, waits] = ids;
    let notification = kit.tell(gone, first).await;
    kit.tell(kept, first).await;
    let mut db = kit.store.acquire().await.unwrap();
    sqlx::query("delete from notifications where id = $1")
        .bind(notification.as_uuid())
        .execute(&mut *db)
        .await
        .unwrap();

    let early = prune(&mut db, kit.now).await.unwrap();
    let late = kit.now + TimeDelta::seconds(1);
    let pruned = prune(&mut db, late).await.unwrap();
    let again = prune(&mut db, late).await.unwrap();

    assert_eq!((early, pruned, again), (0, 1, 0));
    let left: Vec<_> = kit
        .digests()
        .await
        .into_iter()
        .map(|(it, _)| it.id)
        .collect();
    assert_eq!(left, [kept, waits]);
}

/// A digest is named by its job, and by whatever job renders or sends what tells it.
#[tokio::test]
async fn every_month_that_a_digest_gathered_in_is_needed_by_the_jobs_about_it() {
    let kit = Kit::create().await;
    let old = kit.now - Months::new(2);
    let first = EventId::at(old);
    let last = kit.event(json!({})).await;
    let digest = kit.gathered("", &[first, last]).await;
    let month = |back| Month::of(kit.now - Months::new(back));
    let needed = [month(2), month(1), month(0)];
    let mut db = kit.store.acquire().await.unwrap();

    let by_flush = months_behind(&mut db, &[digest.as_uuid()]).await.unwrap();
    let notification = kit.tell(digest, last).await;
    let delivery = kit.delivery(notification, "ada", Channel::Email, 0);
    let delivery_id = delivery.id;
    kit.settle(&[Effect::DeliveryPlanned(Box::new(delivery))])
        .await;
    let by_render = months_behind(&mut db, &[delivery_id.as_uuid()])
        .await
        .unwrap();

    assert_eq!(by_flush, needed);
    assert_eq!(by_render, needed);
}

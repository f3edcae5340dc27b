//! Events, and the keys that make them unique.

use chrono::{TimeDelta, Utc};
use domain::{EventId, Severity, TenantId};
use serde_json::json;
use store::events::{NewEvent, insert_events, list_events_by_id};
use store::keys::{
    DedupeKey, EventKey, KeyClaim, claim_dedupe_keys, claim_event_keys, prune_expired,
};

use crate::kit::Kit;

fn event(kit: &Kit, event_id: &str) -> NewEvent {
    NewEvent {
        id: EventId::at(kit.now),
        tenant_id: TenantId::default(),
        created_at: kit.now,
        occurred_at: None,
        event_id: event_id.into(),
        producer: String::new(),
        kind: "ORDER_FILLED".into(),
        severity: Some(Severity::High),
        dedupe_key: None,
        payload: json!({"user_id": "ada", "price": 150.25}),
    }
}

fn event_key(kit: &Kit, event_id: &str) -> EventKey {
    EventKey {
        tenant_id: TenantId::default(),
        producer: "risk".into(),
        event_id: event_id.into(),
        id: EventId::at(kit.now).as_uuid(),
        expires_at: kit.now + TimeDelta::days(30),
    }
}

#[tokio::test]
async fn events_are_read_back_as_they_came() {
    let kit = Kit::create().await;
    let rows = [event(&kit, "e1"), event(&kit, "e2")];
    let mut tx = kit.store.begin().await.unwrap();

    insert_events(&mut tx, &rows).await.unwrap();

    let ids = [rows[1].id, EventId::at(Utc::now())];
    let found = list_events_by_id(&mut tx, &ids).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event_id, "e2");
    assert_eq!(found[0].payload, rows[1].payload);
    assert_eq!(found[0].severity, Some(Severity::High));
}

#[tokio::test]
async fn a_refused_event_is_not_worth_another_try() {
    let kit = Kit::create().await;
    let mut bad = event(&kit, "e1");
    bad.payload = json!({"text": "bro\0ken"});
    let mut tx = kit.store.begin().await.unwrap();

    let error = insert_events(&mut tx, &[event(&kit, "e0"), bad])
        .await
        .unwrap_err();

    assert!(!error.is_transient());
    assert!(
        error.database_message().unwrap().contains("Unicode"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_key_belongs_to_the_first_who_claims_it() {
    let kit = Kit::create().await;
    let first = event_key(&kit, "e1");
    let mut tx = kit.store.begin().await.unwrap();
    assert_eq!(
        claim_event_keys(&mut tx, std::slice::from_ref(&first), kit.now)
            .await
            .unwrap(),
        [KeyClaim::Fresh]
    );

    let again = [
        event_key(&kit, "e0"),
        event_key(&kit, "e1"),
        event_key(&kit, "e2"),
    ];
    let claims = claim_event_keys(&mut tx, &again, kit.now).await.unwrap();

    assert_eq!(
        claims,
        [
            KeyClaim::Fresh,
            KeyClaim::DuplicateOf(first.id),
            KeyClaim::Fresh
        ]
    );
}

#[tokio::test]
async fn an_expired_key_is_free_again() {
    let kit = Kit::create().await;
    let key = |expires_at| DedupeKey {
        tenant_id: TenantId::default(),
        kind: "notification".into(),
        dedupe_key: "k".into(),
        id: EventId::at(kit.now).as_uuid(),
        expires_at,
    };
    let later = kit.now + TimeDelta::hours(24);
    let (first, second) = (key(later), key(later + TimeDelta::hours(24)));
    let mut tx = kit.store.begin().await.unwrap();
    claim_dedupe_keys(&mut tx, &[first], kit.now).await.unwrap();

    let fresh = claim_dedupe_keys(&mut tx, std::slice::from_ref(&second), later)
        .await
        .unwrap();
    let taken = claim_dedupe_keys(&mut tx, &[key(later)], later)
        .await
        .unwrap();

    assert_eq!(fresh, [KeyClaim::Fresh]);
    assert_eq!(taken, [KeyClaim::DuplicateOf(second.id)]);
}

/// The second claim must wait for the first to commit, and then learn of its row.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_claims_at_once_one_is_a_duplicate() {
    let kit = Kit::create().await;
    let (first, second) = (event_key(&kit, "e1"), event_key(&kit, "e1"));
    let first_id = first.id;
    let mut tx = kit.store.begin().await.unwrap();
    claim_event_keys(&mut tx, &[first], kit.now).await.unwrap();

    let (store, now) = (kit.store.clone(), kit.now);
    let waiting = tokio::spawn(async move {
        let mut other = store.begin().await.unwrap();
        claim_event_keys(&mut other, &[second], now).await.unwrap()
    });
    wait_for_a_lock(&kit).await;
    tx.commit().await.unwrap();

    assert_eq!(waiting.await.unwrap(), [KeyClaim::DuplicateOf(first_id)]);
}

async fn wait_for_a_lock(kit: &Kit) {
    let mut connection = kit.store.acquire().await.unwrap();
    testkit::eventually(std::time::Duration::from_secs(10), async || {
        sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock')",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap()
    })
    .await;
}

/// The contract allows 128 levels, one more than the driver reads by itself.
#[tokio::test]
async fn a_payload_of_128_levels_is_read_back() {
    let kit = Kit::create().await;
    let mut deep = json!(1);
    for _ in 0..127 {
        deep = json!({ "deeper": deep });
    }
    let mut row = event(&kit, "deep");
    row.payload = json!({ "user_id": "ada", "deep": deep });
    let mut tx = kit.store.begin().await.unwrap();
    insert_events(&mut tx, std::slice::from_ref(&row))
        .await
        .unwrap();

    let found = list_events_by_id(&mut tx, &[row.id]).await.unwrap();

    assert_eq!(found[0].payload, row.payload);
}

#[tokio::test]
async fn keys_are_pruned_once_they_have_expired_and_not_before() {
    let kit = Kit::create().await;
    let (mut expired, lasting) = (event_key(&kit, "old"), event_key(&kit, "recent"));
    expired.expires_at = kit.now;
    let mut tx = kit.store.begin().await.unwrap();
    claim_event_keys(&mut tx, &[expired, lasting], kit.now)
        .await
        .unwrap();

    let pruned = prune_expired(&mut tx, kit.now).await.unwrap();

    assert_eq!(pruned, 1);
    let again = [event_key(&kit, "recent")];
    let claims = claim_event_keys(&mut tx, &again, kit.now).await.unwrap();
    assert!(matches!(claims[..], [KeyClaim::DuplicateOf(_)]));
}

/// Postgres writes numbers out in full. One row that cannot be read again would fail every claim
/// that loads it.
#[tokio::test]
async fn every_number_that_may_come_in_can_be_read_again() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let numbers = [
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -1.797_693_134_862_315_6e308,
        0.1 + 0.2,
        1e22,
        123_456_789.123_456_79,
    ];
    let mut row = event(&kit, "numbers");
    row.payload = json!({"numbers": numbers, "whole": [u64::MAX, i64::MIN]});
    insert_events(&mut tx, std::slice::from_ref(&row))
        .await
        .unwrap();

    let read = list_events_by_id(&mut tx, &[row.id])
        .await
        .unwrap()
        .remove(0);

    let bits = |payload: &serde_json::Value| -> Vec<u64> {
        let numbers = payload["numbers"].as_array().unwrap().iter();
        numbers
            .map(|number| number.as_f64().unwrap().to_bits())
            .collect()
    };
    assert_eq!(bits(&read.payload), bits(&row.payload));
    assert_eq!(read.payload["whole"], row.payload["whole"]);
}

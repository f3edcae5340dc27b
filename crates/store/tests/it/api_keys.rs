//! The keys of services: found while they are valid, replaced, and noted when they are used.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Role, TenantId};
use store::Connection;
use store::api_keys::{
    NewApiKey, find_api_key, hash_of, insert_api_key, list_api_keys, lock_api_key, note_use,
    replace_api_key, revoke_api_key,
};
use uuid::Uuid;

use crate::kit::Kit;

async fn insert(
    conn: &mut Connection,
    secret: &str,
    now: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> Uuid {
    let id = Uuid::now_v7();
    let roles = vec![Role::Send, Role::Read];
    let key = NewApiKey::of_secret(id, TenantId::default(), secret, "orders", roles, now)
        .expiring(expires_at);
    assert!(insert_api_key(conn, &key).await.unwrap());
    assert!(!insert_api_key(conn, &key).await.unwrap());
    id
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked_and_stays_listed() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let id = insert(&mut tx, "pk_0123456789_0123456789_0123456", kit.now, None).await;
    let hash = hash_of("pk_0123456789_0123456789_0123456");

    let found = find_api_key(&mut tx, &hash, kit.now)
        .await
        .unwrap()
        .unwrap();
    let revoked_at = kit.now + TimeDelta::hours(1);
    assert!(revoke_api_key(&mut tx, id, revoked_at).await.unwrap());

    assert_eq!(found.roles, [Role::Send, Role::Read]);
    assert_eq!(found.prefix, "pk_01234");
    // Of a key that somebody chose and chose short, less is shown.
    let short = NewApiKey::of_secret(id, TenantId::default(), "secret12", "", vec![], kit.now);
    assert_eq!(short.prefix, "se");
    assert_eq!(find_api_key(&mut tx, &hash, kit.now).await.unwrap(), None);
    assert!(!revoke_api_key(&mut tx, id, revoked_at).await.unwrap());
    let default = TenantId::default();
    let listed = list_api_keys(&mut tx, Some(&default), None, 10)
        .await
        .unwrap();
    assert_eq!(listed[0].revoked_at, Some(revoked_at));
    let other = TenantId::from("other");
    let listed = list_api_keys(&mut tx, Some(&other), None, 10)
        .await
        .unwrap();
    assert!(listed.is_empty());
    assert_eq!(lock_api_key(&mut tx, Some(&other), id).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_works_until_its_end_and_a_replaced_one_ends_no_later_than_it_would_have() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let end = kit.now + TimeDelta::hours(2);
    let id = insert(&mut tx, "pk_a", kit.now, Some(end)).await;
    let next = insert(&mut tx, "pk_b", kit.now, None).await;
    let hash = hash_of("pk_a");
    let find = async |tx: &mut Connection, at| find_api_key(tx, &hash, at).await.unwrap();

    let before = end - TimeDelta::milliseconds(1);
    assert!(find(&mut tx, before).await.is_some());
    assert!(find(&mut tx, end).await.is_none());

    let day = kit.now + TimeDelta::days(1);
    replace_api_key(&mut tx, id, next, day).await.unwrap();
    let replaced = lock_api_key(&mut tx, None, id).await.unwrap().unwrap();
    assert_eq!(
        (replaced.replaced_by, replaced.expires_at),
        (Some(next), Some(end))
    );
    replace_api_key(&mut tx, id, next, before).await.unwrap();
    assert!(find(&mut tx, before).await.is_none());
}

#[tokio::test]
async fn the_use_of_keys_is_noted_about_once_a_minute_and_strangers_are_left_out() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let id = insert(&mut tx, "pk_a", kit.now, None).await;
    let at = |seconds| kit.now + TimeDelta::seconds(seconds);

    for (seconds, noted) in [(0, 0), (30, 0), (60, 60), (20, 60)] {
        let uses = [(id, at(seconds)), (Uuid::from_u128(7), at(seconds))];
        note_use(&mut tx, &uses).await.unwrap();
        let key = lock_api_key(&mut tx, None, id).await.unwrap().unwrap();
        assert_eq!(key.last_used_at, Some(at(noted)), "after {seconds} s");
    }
}

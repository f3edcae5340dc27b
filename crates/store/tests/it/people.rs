//! Tenants, their keys, and their users.

use domain::ConsentCategories;
use domain::{Addresses, Preferences, TenantId};
use serde_json::json;
use store::preferences::{find_preferences, upsert_preferences};
use store::recipients::list_recipients;
use store::tenants::{insert_tenant, list_tenants};
use store::users::{User, find_user, list_users_by_id, upsert_user};

use crate::kit::Kit;

fn user(user_id: &str) -> User {
    User {
        tenant_id: TenantId::default(),
        user_id: user_id.into(),
        addresses: Addresses {
            email: Some("ada@example.com".into()),
            ..Default::default()
        },
        locale: Some("de".into()),
        timezone: None,
        roles: vec!["trader".into()],
        groups: vec![],
        data: json!({"name": "Ada"}),
    }
}

#[tokio::test]
async fn a_tenant_is_inserted_once() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();

    assert!(
        insert_tenant(&mut tx, &"acme".into(), "Acme")
            .await
            .unwrap()
    );
    assert!(
        !insert_tenant(&mut tx, &"acme".into(), "Again")
            .await
            .unwrap()
    );

    let names: Vec<_> = list_tenants(&mut tx)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["Acme", "Default tenant"]);
}

#[tokio::test]
async fn a_user_is_replaced_as_a_whole() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    upsert_user(&mut tx, &user("ada"), kit.now).await.unwrap();

    let moved = User {
        addresses: Addresses::default(),
        locale: None,
        ..user("ada")
    };
    upsert_user(&mut tx, &moved, kit.now).await.unwrap();

    let found = find_user(&mut tx, &TenantId::default(), &"ada".into())
        .await
        .unwrap();
    assert_eq!(found, Some(moved));
}

#[tokio::test]
async fn users_are_found_by_the_batch_and_strangers_left_out() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    upsert_user(&mut tx, &user("ada"), kit.now).await.unwrap();
    upsert_user(&mut tx, &user("bob"), kit.now).await.unwrap();
    let (tenant, other) = (TenantId::default(), TenantId::from("other"));
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(domain::UserId::from);

    let wanted = [(&tenant, &ada), (&tenant, &eve), (&other, &bob)];
    let found = list_users_by_id(&mut tx, &wanted).await.unwrap();

    assert_eq!(found, [user("ada")]);
}

#[tokio::test]
async fn preferences_are_replaced_as_a_whole_and_counted() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let (tenant, ada) = (TenantId::default(), domain::UserId::from("ada"));
    let said = |body| Preferences::parse(body).unwrap();
    let (first, second) = (
        said(json!({"locale": "de"})),
        said(json!({"enabled": false})),
    );

    assert_eq!(
        find_preferences(&mut tx, &tenant, &ada).await.unwrap(),
        None
    );
    for preferences in [&first, &second] {
        upsert_preferences(&mut tx, &tenant, &ada, preferences, kit.now)
            .await
            .unwrap();
    }

    let found = find_preferences(&mut tx, &tenant, &ada).await.unwrap();
    assert_eq!(found, Some(second));
    let version: i64 = sqlx::query_scalar("select version from preferences")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(version, 2);
}

#[tokio::test]
async fn recipients_are_whoever_has_addresses_or_wishes() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let tenant = TenantId::default();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(domain::UserId::from);
    upsert_user(&mut tx, &user("ada"), kit.now).await.unwrap();
    let off = Preferences::parse(json!({"enabled": false})).unwrap();
    for user_id in [&ada, &bob] {
        upsert_preferences(&mut tx, &tenant, user_id, &off, kit.now)
            .await
            .unwrap();
    }

    let wanted = [(&tenant, &ada), (&tenant, &bob), (&tenant, &eve)];
    let mut found = list_recipients(&mut tx, &wanted, &ConsentCategories::none())
        .await
        .unwrap();

    found.sort_by(|a, b| a.recipient.user_id.cmp(&b.recipient.user_id));
    let [ada, bob] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        ada.recipient.addresses.email.as_deref(),
        Some("ada@example.com")
    );
    assert_eq!(ada.recipient.preferences, off);
    assert_eq!(bob.recipient.addresses, Addresses::default());
    assert_eq!(bob.recipient.preferences, off);
}

//! Tenants, their keys, and their users.

use chrono::TimeDelta;
use domain::{Addresses, Role, TenantId};
use serde_json::json;
use store::tenants::{insert_tenant, list_tenants};
use store::users::{User, find_user, list_users_by_id, upsert_user};
use uuid::Uuid;

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
    assert_eq!(found[0].to_recipient().locale.as_deref(), Some("de"));
}

//! Connections and transactions, with and without a pooler in between.

use domain::Channel;
use store::StoreOptions;
use store::tenants::{insert_tenant, list_tenants};

use crate::kit::Kit;

fn pooled() -> StoreOptions {
    StoreOptions {
        connections_max: 1,
        is_pooled: true,
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing_behind() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    insert_tenant(&mut tx, &"acme".into(), "Acme")
        .await
        .unwrap();

    drop(tx);

    let mut reader = kit.store.acquire().await.unwrap();
    assert_eq!(list_tenants(&mut reader).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_was_closed_is_worth_another_try() {
    let kit = Kit::create().await;
    kit.store.ping().await.unwrap();

    kit.store.close().await;

    assert!(kit.store.ping().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn everything_works_without_prepared_statements() {
    let kit = Kit::with(&pooled()).await;

    let id = kit.arrived("ada", "Hello").await;

    assert_eq!(kit.deliveries(id).await[0].channel, Channel::InApp);
    assert_eq!(kit.seqs("ada").await, [1]);
}

/// As another client of the pooler would have left it.
#[tokio::test]
async fn a_statement_left_behind_by_another_client_is_not_in_the_way() {
    let kit = Kit::with(&pooled()).await;
    let left = (0..100).map(|n| format!("prepare sqlx_s_{n} as select 1;"));
    let left = left.collect::<String>();
    sqlx::raw_sql(sqlx::AssertSqlSafe(left))
        .execute(kit.store.pool())
        .await
        .unwrap();

    kit.arrived("ada", "Hello").await;

    assert_eq!(kit.seqs("ada").await, [1]);
}

/// It would be rolled back in silence otherwise.
#[tokio::test]
async fn a_write_outside_a_transaction_is_refused_behind_a_pooler() {
    let kit = Kit::with(&pooled()).await;
    let mut reader = kit.store.acquire().await.unwrap();

    let refused = insert_tenant(&mut reader, &"acme".into(), "Acme")
        .await
        .unwrap_err();

    assert!(
        refused.database_message().unwrap().contains("read-only"),
        "{refused:?}"
    );
}

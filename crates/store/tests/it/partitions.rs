//! Months that are made ahead, by several processes at once, and again.

use chrono::{DateTime, Utc};
use store::partitions::ensure;

use crate::kit::Kit;

fn a_year_from_now() -> DateTime<Utc> {
    Utc::now() + chrono::TimeDelta::days(365)
}

async fn partitions_of(kit: &Kit, table: &str) -> i64 {
    let mut connection = kit.store.acquire().await.unwrap();
    sqlx::query_scalar("select count(*) from pg_inherits where inhparent = $1::text::regclass")
        .bind(table)
        .fetch_one(&mut *connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_partitioned_table_has_four_months() {
    let kit = Kit::create().await;

    for table in [
        "events",
        "notifications",
        "deliveries",
        "attempts",
        "traces",
    ] {
        assert_eq!(partitions_of(&kit, table).await, 4, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_make_the_same_month_at_once_make_it_once() {
    let kit = Kit::create().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = kit.store.clone();
        tasks.spawn(async move {
            let mut tx = store.begin().await.unwrap();
            ensure(&mut tx, a_year_from_now()).await?;
            tx.commit().await
        });
    }

    while let Some(made) = tasks.join_next().await {
        made.unwrap().unwrap();
    }

    assert_eq!(partitions_of(&kit, "deliveries").await, 8);
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let kit = Kit::create().await;

    kit.store.migrate(kit.now).await.unwrap();

    assert_eq!(partitions_of(&kit, "events").await, 4);
}

//! How a settlement touches its tables: by key, and without moving a row to another page.
//!
//! The counters of the running transaction tell what it did, where `explain` would only tell what
//! it might do.

use domain::Channel;
use store::recipients::list_recipients;
use store::users::{UserFilter, list_users};
use store::{Connection, Effect};

use crate::kit::{Kit, rendered};

/// Deliveries settled at once: what a busy settler gathers.
const BATCH: usize = 300;

#[derive(Debug)]
struct Counters {
    seq_scans: i64,
    updates: i64,
    updates_on_page: i64,
}

async fn counters(connection: &mut Connection) -> Counters {
    let (seq_scans, updates, updates_on_page) = sqlx::query_as(
        "select sum(seq_scan)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint
         from pg_stat_xact_user_tables
         where relname ~ '^(deliveries|notifications)_'",
    )
    .fetch_one(connection)
    .await
    .unwrap();
    Counters {
        seq_scans,
        updates,
        updates_on_page,
    }
}

async fn settle_and_count(kit: &Kit, effects: &[Effect]) -> Counters {
    let mut tx = kit.store.begin().await.unwrap();
    store::settlement::apply(&mut tx, effects).await.unwrap();
    let counters = counters(&mut tx).await;
    tx.commit().await.unwrap();
    counters
}

/// A partition analysed while small invites a sequential scan, which a cached plan would repeat
/// when the partition is large.
#[tokio::test]
async fn settlements_look_rows_up_by_key_and_update_them_in_place() {
    let kit = Kit::create().await;
    let mut planned = Vec::new();
    for _ in 0..BATCH {
        let (id, deliveries) = kit.planned("ada", &[Channel::InApp]).await;
        planned.push((id, deliveries[0]));
    }
    let mut connection = kit.store.acquire().await.unwrap();
    sqlx::raw_sql("analyze")
        .execute(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    let renders: Vec<_> = planned
        .iter()
        .map(|(_, delivery)| rendered(*delivery, "Hi"))
        .collect();
    let arrivals: Vec<_> = planned
        .iter()
        .map(|(id, delivery)| kit.arrival(*id, *delivery, "ada"))
        .collect();

    let rendering = settle_and_count(&kit, &renders).await;
    let arriving = settle_and_count(&kit, &arrivals).await;

    assert_eq!(rendering.updates, BATCH as i64, "{rendering:?}");
    assert_eq!(arriving.updates, 2 * BATCH as i64, "{arriving:?}");
    for counters in [rendering, arriving] {
        assert_eq!(counters.seq_scans, 0, "{counters:?}");
        // A snapshot of another database can keep old versions on a page now and then.
        assert!(
            counters.updates_on_page * 10 >= counters.updates * 9,
            "{counters:?}"
        );
    }
}

/// What a transaction has read from an index of `users`, `preferences` or `topic_members`.
async fn index_scans(connection: &mut Connection, index: &str) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(pg_stat_get_xact_numscans(indexrelid)), 0)::bigint
         from pg_stat_user_indexes where indexrelname = $1",
    )
    .bind(index)
    .fetch_one(connection)
    .await
    .unwrap()
}

/// One trader and one Londoner among many; recipients by the hundred.
#[tokio::test]
async fn people_are_looked_up_by_key_by_role_and_by_group() {
    let kit = Kit::create().await;
    let mut connection = kit.store.acquire().await.unwrap();
    sqlx::raw_sql(
        "insert into users (tenant_id, user_id, roles, groups)
         select 'default', 'u' || n, case when n = 7 then '{trader}' else '{clerk}' end::text[],
                case when n = 8 then '{london}' else '{}' end::text[]
         from generate_series(1, 20000) as n;
         insert into preferences (tenant_id, user_id, body)
         select 'default', 'u' || n, '{}' from generate_series(1, 20000) as n;
         analyze users; analyze preferences;",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    drop(connection);
    let mut tx = kit.store.begin().await.unwrap();
    let tenant = domain::TenantId::default();

    for (filter, index) in [
        (
            UserFilter {
                role: Some("trader".into()),
                group: None,
            },
            "users_roles_idx",
        ),
        (
            UserFilter {
                role: None,
                group: Some("london".into()),
            },
            "users_groups_idx",
        ),
    ] {
        let found = list_users(&mut tx, &tenant, &filter, None, 51)
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{filter:?}");
        assert_eq!(index_scans(&mut tx, index).await, 1, "{index}");
    }
    let ids: Vec<_> = (1..=300)
        .map(|n| domain::UserId::from(format!("u{n}")))
        .collect();
    let wanted: Vec<_> = ids.iter().map(|id| (&tenant, id)).collect();
    let found = list_recipients(&mut tx, &wanted).await.unwrap();

    assert_eq!(found.len(), 300);
    let seq_scans: i64 = sqlx::query_scalar(
        "select sum(seq_scan)::bigint from pg_stat_xact_user_tables
         where relname in ('users', 'preferences')",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(seq_scans, 0);
}

//! How a settlement touches its tables: by key, and without moving a row to another page.
//!
//! The counters of the running transaction tell what it did, where `explain` would only tell what
//! it might do.

use domain::{Channel, DeliveryId};
use store::recipients::list_recipients;
use store::replay::{Reopened, reopen_deliveries};
use store::subjects::lock_deliveries;
use store::users::{UserFilter, list_users};
use store::{Connection, Effect};
use uuid::Uuid;

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

/// A planner that knows nothing yet of a table would rather read its whole index in order than sort
/// what it expects of the join: 1.4 s instead of 2 ms for a batch.
#[tokio::test]
async fn a_replays_batch_is_locked_by_key_in_tables_that_were_never_analysed() {
    let kit = Kit::create().await;
    let mut connection = kit.store.acquire().await.unwrap();
    store::partitions::ensure(&mut connection, kit.now)
        .await
        .unwrap();
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "with planned as (
             select made || lpad(to_hex(2 * n), 12, '0') as notification_id,
                    made || lpad(to_hex(2 * n + 1), 12, '0') as id
             from generate_series(1, 20000) as n,
                  (select regexp_replace(
                       lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0'),
                       '(.{8})(.{4})', '\\1-\\2-7000-8000-') as made) as prefix
         ), notification as (
             insert into notifications (id, tenant_id, user_id, type)
             select notification_id::uuid, 'default', 'ada', 'notification' from planned
         )
         insert into deliveries (id, notification_id, tenant_id, user_id, channel, status)
         select id::uuid, notification_id::uuid, 'default', 'ada', 'email', 'failed' from planned
         returning id",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    drop(connection);
    let batch: Vec<_> = ids[..500].iter().map(|id| DeliveryId::from(*id)).collect();
    let reopened: Vec<_> = batch
        .iter()
        .map(|&delivery_id| Reopened {
            delivery_id,
            job_id: delivery_id.as_uuid(),
        })
        .collect();

    let mut tx = kit.store.begin().await.unwrap();
    let locked = lock_deliveries(&mut tx, &batch).await.unwrap();
    let read = deliveries_read(&mut tx).await;
    let opened = reopen_deliveries(&mut tx, &reopened, kit.now)
        .await
        .unwrap();
    let read_again = deliveries_read(&mut tx).await - read;

    assert_eq!((locked.len(), opened.len()), (500, 500));
    assert!(locked.is_sorted_by_key(|subject| subject.id));
    assert!(read <= 1000, "{read} rows read to lock 500");
    assert!(read_again <= 3000, "{read_again} rows read to reopen 500");
}

async fn deliveries_read(connection: &mut Connection) -> i64 {
    sqlx::query_scalar(
        "select sum(idx_tup_fetch + seq_tup_read)::bigint from pg_stat_xact_user_tables
         where relname ~ '^deliveries_'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
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
                ..UserFilter::default()
            },
            "users_roles_idx",
        ),
        (
            UserFilter {
                group: Some("london".into()),
                ..UserFilter::default()
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
    let found = list_recipients(&mut tx, &wanted, &domain::ConsentCategories::default())
        .await
        .unwrap();

    assert_eq!(found.len(), 300);
    let seq_scans: i64 = sqlx::query_scalar(
        "select sum(seq_scan)::bigint from pg_stat_xact_user_tables
         where relname in ('users', 'preferences', 'consents')",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(seq_scans, 0);
}

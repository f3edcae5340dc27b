//! The migrations build the schema from nothing, and the schema explains itself.
#![allow(
    clippy::disallowed_methods,
    reason = "the catalog is asked about what no crate reads"
)]

use chrono::DateTime;
use sqlx::PgConnection;
use store::{MIGRATOR, Store, StoreOptions};
use testkit::TestDatabase;

#[tokio::test]
async fn every_migration_applies_in_order_to_an_empty_database() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql("drop schema public, queue cascade; create schema public")
        .execute(&mut connection)
        .await
        .unwrap();

    for (migration, number) in MIGRATOR.iter().zip(1..) {
        assert_eq!(
            migration.version, number,
            "a number is missing or used twice"
        );
        sqlx::raw_sql(migration.sql.clone())
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{number:04} {}: {error}", migration.description));
    }
}

/// Every process that starts migrates, so all but the first must find nothing to do.
#[tokio::test]
async fn migrating_again_changes_nothing() {
    let database = TestDatabase::create().await;
    let store = Store::connect(database.url(), &StoreOptions::default())
        .await
        .unwrap();
    let mut connection = database.connection().await;
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    store.migrate(now).await.unwrap();
    let once = schema(&mut connection).await;

    store.migrate(now).await.unwrap();

    assert_eq!(schema(&mut connection).await, once);
}

#[tokio::test]
async fn every_table_says_what_it_is_for() {
    let database = TestDatabase::create().await;

    let silent: Vec<String> = sqlx::query_scalar(
        "select oid::regclass::text
         from pg_class
         where relnamespace in ('public'::regnamespace, 'queue'::regnamespace)
           and relkind in ('r', 'p')
           -- A partition is its parent's matter, and sqlx keeps its own table.
           and not relispartition
           and relname <> '_sqlx_migrations'
           and obj_description(oid, 'pg_class') is null",
    )
    .fetch_all(&mut database.connection().await)
    .await
    .unwrap();

    assert!(
        silent.is_empty(),
        "add `comment on table` for {silent:?} in their migration"
    );
}

/// Lists every column of every table and index, with its type and what it may hold.
async fn schema(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s.%s %s %s %s', attrelid::regclass, attname,
                       format_type(atttypid, atttypmod), attnotnull,
                       pg_get_expr(adbin, adrelid))
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where relnamespace in ('public'::regnamespace, 'queue'::regnamespace)
           and not attisdropped
           and attnum > 0
         order by 1",
    )
    .fetch_all(connection)
    .await
    .expect("the catalog can be read")
}

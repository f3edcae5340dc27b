//! A database for each test, cloned from one migrated template.
//!
//! `create database … template …` copies files where running every migration again would take a
//! second. Tests run as separate processes, so the template is named by what it contains and made
//! once, under an advisory lock. Databases rather than schemas: `LISTEN` and `NOTIFY` are scoped
//! to a database, so tests cannot wake each other.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use chrono::Utc;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use uuid::Uuid;

use store::{MIGRATOR, Store, StoreOptions, partitions};

/// Names the server that tests may create databases on.
const SERVER_VARIABLE: &str = "POSTRIDER_TEST_DATABASE_URL";

/// Connections of [`TestDatabase::pool`]: enough to race two workers, few enough that many test
/// processes fit into the server's default of 100.
const POOL_CONNECTIONS_MAX: u32 = 8;

/// A migrated database that belongs to one test and is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl TestDatabase {
    /// Creates the database on the server that `POSTRIDER_TEST_DATABASE_URL` names.
    ///
    /// # Panics
    ///
    /// If the variable is missing or the server refuses.
    pub async fn create() -> Self {
        let server = server();
        let mut admin = connect(&server).await;
        let template = template(&server, &mut admin).await;

        let name = format!("postrider_test_{}", Uuid::now_v7().simple());
        execute(
            &mut admin,
            format!("create database {name} template {template}"),
        )
        .await;

        let url = server.clone().database(&name).to_url_lossy().to_string();
        Self { server, name, url }
    }

    /// The address of the database, as `DATABASE_URL` would hold it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Opens a pool of a few connections.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(POOL_CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(20))
            .connect_with(self.server.clone().database(&self.name))
            .await
            .unwrap_or_else(|error| panic!("could not open a pool on {}: {error}", self.name))
    }

    /// Opens one connection.
    pub async fn connection(&self) -> PgConnection {
        connect(&self.server.clone().database(&self.name)).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let server = self.server.clone();
        let statement = format!("drop database if exists {} with (force)", self.name);
        // A thread of its own: the test's runtime may be the one that is unwinding.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(async {
                    let mut admin = server.connect().await?;
                    sqlx::raw_sql(AssertSqlSafe(statement))
                        .execute(&mut admin)
                        .await?;
                    admin.close().await
                })
        })
        .join();
        // A test that fails already should be heard, not its clean-up.
        let is_dropped = matches!(dropped, Ok(Ok(())));
        assert!(
            is_dropped || std::thread::panicking(),
            "could not drop {}: {dropped:?}",
            self.name
        );
    }
}

fn server() -> PgConnectOptions {
    let url = std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{SERVER_VARIABLE} is not set: run the tests with script/test, or export the URL of a \
             Postgres server on which databases may be created"
        )
    });
    PgConnectOptions::from_str(&url)
        .unwrap_or_else(|error| panic!("{SERVER_VARIABLE} is not a Postgres URL: {error}"))
}

/// Finds the template of this tree's schema, or makes it.
///
/// A template is finished once it refuses connections: one that a killed process left half-made
/// still accepts them, and is made again.
async fn template(server: &PgConnectOptions, admin: &mut PgConnection) -> String {
    let name = template_name();
    if is_finished(admin, &name).await {
        return name;
    }

    execute(
        admin,
        format!("select pg_advisory_lock(hashtext('{name}'))"),
    )
    .await;
    if !is_finished(admin, &name).await {
        execute(
            admin,
            format!("drop database if exists {name} with (force)"),
        )
        .await;
        execute(admin, format!("create database {name}")).await;
        fill(server.clone().database(&name).to_url_lossy().as_str()).await;
        execute(
            admin,
            format!("alter database {name} is_template true allow_connections false"),
        )
        .await;
    }
    execute(
        admin,
        format!("select pg_advisory_unlock(hashtext('{name}'))"),
    )
    .await;
    name
}

/// Names the template by everything it is made from: migrations, and this month's partitions.
fn template_name() -> String {
    let mut hash = Sha256::new();
    for migration in MIGRATOR.iter() {
        hash.update(&migration.checksum);
    }
    for statement in partitions::statements(Utc::now()) {
        hash.update(statement);
    }
    let mut name = "postrider_template_".to_owned();
    for byte in hash.finalize().iter().take(8) {
        write!(name, "{byte:02x}").expect("writing to a string does not fail");
    }
    name
}

/// Does what a deployment does to its own database.
async fn fill(url: &str) {
    let store = Store::connect(url, &StoreOptions::default())
        .await
        .expect("the template opens");
    store
        .migrate(Utc::now())
        .await
        .expect("every migration applies to an empty database");
    store.close().await;
}

async fn is_finished(admin: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_database where datname = $1 and not datallowconn)",
    )
    .bind(name)
    .fetch_one(admin)
    .await
    .unwrap_or_else(|error| panic!("could not look for {name}: {error}"))
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    options.connect().await.unwrap_or_else(|error| {
        panic!(
            "could not connect to {}: {error}",
            options.get_database().unwrap_or("the server")
        )
    })
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement.as_str()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_database_is_migrated_and_gone_afterwards() {
        let database = TestDatabase::create().await;
        let tenants: i64 = sqlx::query_scalar("select count(*) from tenants")
            .fetch_one(&database.pool().await)
            .await
            .unwrap();
        let (server, name) = (database.server.clone(), database.name.clone());

        drop(database);

        assert_eq!(tenants, 1);
        let gone: bool =
            sqlx::query_scalar("select not exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut connect(&server).await)
                .await
                .unwrap();
        assert!(gone);
    }

    #[tokio::test]
    async fn databases_made_at_once_are_different() {
        let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());

        assert_ne!(one.url(), other.url());
    }
}

//! What the server says of itself, and of our tables: for whoever looks after an installation.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrate;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};

use crate::error::during;
use crate::{MIGRATOR, StoreError};

/// Settings that decide whether committed means kept, and how much fits.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerFacts {
    /// Such as 150008 for 15.8.
    pub version_number: i32,
    pub version: String,
    pub fsync: bool,
    pub full_page_writes: bool,
    pub autovacuum: bool,
    /// `on`, `off`, `local`, `remote_write` or `remote_apply`, as our sessions have it.
    pub synchronous_commit: String,
    pub connections_max: i32,
    /// Of those, kept for superusers.
    pub connections_reserved: i32,
    /// Open now, in all databases.
    pub connections: i64,
    pub shared_buffers_bytes: i64,
    /// Whether it only follows another server, and refuses writes.
    pub is_standby: bool,
    /// By its clock.
    pub now: DateTime<Utc>,
}

/// Reads them.
pub async fn facts(connection: &mut PgConnection) -> Result<ServerFacts, StoreError> {
    sqlx::query_as!(
        ServerFacts,
        r#"
        select current_setting('server_version_num')::integer as "version_number!",
               current_setting('server_version') as "version!",
               current_setting('fsync')::boolean as "fsync!",
               current_setting('full_page_writes')::boolean as "full_page_writes!",
               current_setting('autovacuum')::boolean as "autovacuum!",
               current_setting('synchronous_commit') as "synchronous_commit!",
               current_setting('max_connections')::integer as "connections_max!",
               current_setting('superuser_reserved_connections')::integer
                   as "connections_reserved!",
               (select count(*) from pg_stat_activity where backend_type = 'client backend')
                   as "connections!",
               pg_size_bytes(current_setting('shared_buffers')) as "shared_buffers_bytes!",
               pg_is_in_recovery() as "is_standby!",
               clock_timestamp() as "now!"
        "#,
    )
    .fetch_one(connection)
    .await
    .map_err(during("read the server's settings"))
}

/// What stands between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// A pooler: it does not know what a session said at its start.
    Pooled,
}

/// Says something at the start of a session that every Postgres remembers and no pooler hands on.
pub async fn way(url: &str) -> Result<Way, StoreError> {
    const SETTING: &str = "postrider.probe";
    let options = PgConnectOptions::from_str(url)
        .map_err(during("read the database URL"))?
        .application_name("postrider")
        .extra_float_digits(None)
        .options([(SETTING, "1")]);
    let mut connection = match PgConnection::connect_with(&options).await {
        Ok(connection) => connection,
        Err(error) if is_unknown_parameter(&error) => return Ok(Way::Pooled),
        Err(error) => return Err(during("connect to the database")(error)),
    };
    // Unprepared, because a pooler may have given this name to another session's statement.
    let row = sqlx::raw_sql("select current_setting('postrider.probe', true) as probe")
        .fetch_one(&mut connection)
        .await
        .map_err(during("look for a pooler"))?;
    let probe: Option<String> = row.try_get("probe").map_err(during("look for a pooler"))?;
    connection
        .close()
        .await
        .map_err(during("close a connection"))?;
    Ok(match probe.as_deref() {
        Some("1") => Way::Direct,
        _ => Way::Pooled,
    })
}

/// How PgBouncer refuses what it does not hand on.
fn is_unknown_parameter(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

/// How the schema stands to this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    pub applied: usize,
    /// Of this build and not applied: `postrider migrate` does it.
    pub missing: Vec<i64>,
    /// Applied, and unknown to this build: it is older than the schema.
    pub unknown: Vec<i64>,
    /// Applied with another text than this build has.
    pub changed: Vec<i64>,
}

/// Compares what is applied with what this build has.
pub async fn migrations(connection: &mut PgConnection) -> Result<MigrationState, StoreError> {
    let is_begun =
        sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "is_begun!""#)
            .fetch_one(&mut *connection)
            .await
            .map_err(during("look for the migrations"))?;
    let applied = if is_begun {
        connection
            .list_applied_migrations(&MIGRATOR.table_name)
            .await
            .map_err(|source| StoreError::Migration { source })?
    } else {
        Vec::new()
    };

    let find = |version: i64| applied.iter().find(|row| row.version == version);
    let ours = || MIGRATOR.iter();
    Ok(MigrationState {
        applied: applied.len(),
        missing: ours()
            .map(|migration| migration.version)
            .filter(|version| find(*version).is_none())
            .collect(),
        unknown: applied
            .iter()
            .map(|row| row.version)
            .filter(|version| ours().all(|migration| migration.version != *version))
            .collect(),
        changed: ours()
            .filter(|migration| {
                find(migration.version).is_some_and(|row| row.checksum != migration.checksum)
            })
            .map(|migration| migration.version)
            .collect(),
    })
}

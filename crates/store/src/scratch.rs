//! Scratch databases: an empty one on the same server, for benchmarks, gone afterwards.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::StoreError;
use crate::error::during;

/// A database made for one run.
#[derive(Debug)]
pub struct Scratch {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl Scratch {
    /// Makes database `name` on the server of `url`.
    ///
    /// # Errors
    ///
    /// If the role of `url` may not create databases.
    pub async fn create(url: &str, name: &str) -> Result<Self, StoreError> {
        let server = PgConnectOptions::from_str(url).map_err(during("read the database URL"))?;
        let own = server.clone().database(name).to_url_lossy().to_string();
        let scratch = Self {
            server,
            name: name.to_owned(),
            url: own,
        };
        scratch.run(&format!("create database \"{name}\"")).await?;
        Ok(scratch)
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Removes it, whoever is still connected.
    pub async fn drop_database(self) -> Result<(), StoreError> {
        self.run(&format!("drop database \"{}\" with (force)", self.name))
            .await
    }

    async fn run(&self, statement: &str) -> Result<(), StoreError> {
        let mut db = PgConnection::connect_with(&self.server)
            .await
            .map_err(during("connect to the server"))?;
        // Names of databases cannot be parameters; ours is a literal with a process id.
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut db)
            .await
            .map_err(during("make or remove the scratch database"))?;
        db.close().await.map_err(during("close the connection"))
    }
}

//! `postrider migrate`: the database's schema, up to date.

use std::time::Duration;

use anyhow::Context;
use queue::Clock;

use super::output::say;
use super::process::connect;
use crate::config::Config;

/// How long a release waits for its database.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let store = connect(config, PATIENCE).await?;
    store
        .migrate(Clock::system().now())
        .await
        .context("could not migrate the database")?;
    store.close().await;
    say("the database is up to date")
}

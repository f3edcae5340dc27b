//! `postrider migrate`: the database's schema, up to date.

use std::time::Duration;

use anyhow::Context;
use queue::Clock;

use super::output::say;
use super::process::connect;
use crate::config::Config;

/// How long a release waits for its database.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(mut config: Config) -> anyhow::Result<()> {
    // Migrations hold a lock of their session, which a pooler would not keep.
    if let Some(direct) = config.database.direct_url.take() {
        config.database.url = Some(direct);
        config.database.pgbouncer = false;
    }
    let store = connect(&config, PATIENCE).await?;
    store
        .migrate(Clock::system().now())
        .await
        .context("could not migrate the database")?;
    store.close().await;
    say("the database is up to date")
}

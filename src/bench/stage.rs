//! The stage of a run: a scratch database, migrated, and gone afterwards.

use anyhow::Context;
use queue::{Clock, Database};
use store::scratch::Scratch;
use store::{Store, StoreOptions};

use crate::config::Config;

/// A scratch database with the schema of this build.
pub(super) struct Stage {
    scratch: Scratch,
    pub(super) store: Store,
    pub(super) database: Database,
}

impl Stage {
    pub(super) async fn set(config: &Config) -> anyhow::Result<Self> {
        let url = config
            .database
            .url
            .as_ref()
            .context("there is no database; set DATABASE_URL, or start `postrider up` here")?;
        let name = format!("postrider_bench_{}", std::process::id());
        let scratch = Scratch::create(url.reveal(), &name)
            .await
            .context("could not make a scratch database; may this role create one?")?;
        let store = Store::connect(scratch.url(), &StoreOptions::default()).await?;
        store.migrate(Clock::system().now()).await?;
        let database = Database::parse(scratch.url(), None, false)?;
        Ok(Self {
            scratch,
            store,
            database,
        })
    }

    pub(super) fn url(&self) -> &str {
        self.scratch.url()
    }

    /// Removes the database.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        self.store.close().await;
        self.scratch
            .drop_database()
            .await
            .context("could not remove the scratch database")
    }
}

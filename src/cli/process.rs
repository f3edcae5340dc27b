//! What the roles of a process share: database, bell, listener, metrics, lifetime.

use std::time::Duration;

use anyhow::Context;
use domain::{ConsentCategories, Role, TenantId};
use prometheus::Registry;
use queue::{Bell, Clock, Database, Listener};
use render::Templates;
use store::api_keys::NewApiKey;
use store::{Store, StoreOptions};
use tokio::time::{Instant, sleep};
use tracing::warn;
use workers::Catalog;

use crate::app::{App, Surroundings};
use crate::config::{Config, Secret};
use crate::health::Hearing;
use crate::nats::Nats;
use crate::pulse::Pulse;
use crate::shutdown::Lifetime;
use crate::upkeep::Upkeep;

/// How long a start waits for Postgres: processes of one deployment start in any order.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two tries to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// A process that is being put together.
pub(super) struct Process {
    pub(super) config: Config,
    pub(super) database: Database,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) registry: Registry,
    pub(super) bell: Bell,
    pub(super) listener: Listener,
    /// The way of wake-ups between processes, where there is one beside Postgres.
    pub(super) nats: Option<Nats>,
    pub(super) catalog: Catalog,
    pub(super) lifetime: Lifetime,
}

impl Process {
    /// Connects, waiting for Postgres for a while.
    pub(super) async fn open(config: Config, lifetime: Lifetime) -> anyhow::Result<Self> {
        let store = connect(&config, CONNECT_TIMEOUT).await?;
        let templates = Templates::builtin().context("could not read the built-in templates")?;
        let nats = match &config.nats.url {
            Some(servers) => Some(Box::pin(Nats::connect(servers)).await?),
            None => None,
        };
        let consent = ConsentCategories::new(config.consent.categories.iter().cloned());
        Ok(Self {
            database: database(&config)?,
            config,
            store,
            clock: Clock::system(),
            registry: registry()?,
            bell: Bell::new(),
            listener: Listener::new(),
            nats,
            catalog: Catalog::new(templates).asking(consent),
            lifetime,
        })
    }

    /// Starts the front of this process.
    pub(super) fn start_front(&mut self) -> anyhow::Result<App> {
        App::start(Surroundings {
            config: self.config.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            registry: self.registry.clone(),
            bell: self.bell.clone(),
            inbox_changed: self
                .listener
                .subscribe_near(workers::INBOX_CHANGED, &self.bell),
            hearing: self.hearing(),
            catalog: self.catalog.clone(),
            lifetime: self.lifetime.clone(),
        })
        .context("could not register the metrics")
    }

    /// The ways of wake-ups to this process.
    pub(super) fn hearing(&self) -> Hearing {
        Hearing {
            postgres: self.listener.connected(),
            nats: self.nats.as_ref().map(Nats::connected),
        }
    }

    /// Starts what every role needs once all have subscribed: bell, listener, upkeep. Answers
    /// the store, to be closed at the end.
    pub(super) fn start_ground(self) -> Store {
        let Self {
            config,
            database,
            store,
            clock,
            bell,
            listener,
            nats,
            catalog,
            registry,
            lifetime,
            ..
        } = self;
        let closing = &lifetime.closing;
        if let Some(nats) = nats {
            bell.carry_by(workers::INBOX_CHANGED, nats.carrier());
            let subscribers = listener.subscribers(workers::INBOX_CHANGED);
            lifetime.tasks.spawn(nats.run(subscribers, closing.clone()));
        }
        lifetime
            .tasks
            .spawn(bell.run(database.clone(), closing.clone()));
        lifetime
            .tasks
            .spawn(listener.run(database, closing.clone()));
        let pulse = Pulse::new(store.clone(), clock.clone(), registry);
        lifetime.tasks.spawn(pulse.run(closing.clone()));
        let upkeep = Upkeep {
            store: store.clone(),
            catalog,
            clock,
            keeping: config.keeping(),
            stopping: lifetime.stopping.clone(),
        };
        lifetime.tasks.spawn(upkeep.run());
        store
    }
}

/// A registry that knows what the system counts of this process: memory, files, time.
fn registry() -> anyhow::Result<Registry> {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    registry
        .register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
        .context("could not register the metrics")?;
    Ok(registry)
}

/// The configured database.
fn url(config: &Config) -> anyhow::Result<&Secret> {
    let url = config.database.url.as_ref();
    url.context("there is no database; set DATABASE_URL, or start `postrider up` here")
}

/// The database as the queue wants it.
pub(super) fn database(config: &Config) -> anyhow::Result<Database> {
    let direct = config.database.direct_url.as_ref().map(Secret::reveal);
    Database::parse(url(config)?.reveal(), direct, config.database.pgbouncer)
        .context("check DATABASE_URL and DATABASE_DIRECT_URL")
}

/// Connects to the configured database, trying for `patience` while it cannot be reached.
pub(super) async fn connect(config: &Config, patience: Duration) -> anyhow::Result<Store> {
    let url = url(config)?;
    let options = StoreOptions {
        connections_max: config.database.connections_max,
        acquire_timeout: config.database.acquire_timeout,
        is_pooled: config.database.pgbouncer,
    };
    let deadline = Instant::now() + patience;
    loop {
        match Store::connect(url.reveal(), &options).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_transient() && Instant::now() + CONNECT_PAUSE < deadline => {
                warn!(error = queue::describe(&error), "waiting for postgres");
                sleep(CONNECT_PAUSE).await;
            }
            Err(error) => {
                return Err(error).context("check DATABASE_URL and whether Postgres runs there");
            }
        }
    }
}

/// Makes sure that an API key exists as an admin key of the tenant `default`.
pub(super) async fn ensure_admin_key(
    store: &Store,
    key: &Secret,
    clock: &Clock,
) -> anyhow::Result<()> {
    let now = clock.now();
    let key = NewApiKey::of_secret(
        queue::uuid_at(now),
        TenantId::default(),
        key.reveal(),
        "bootstrap",
        vec![Role::Admin],
        now,
    );
    let mut tx = store.begin().await?;
    store::api_keys::insert_api_key(&mut tx, &key)
        .await
        .context("could not create the bootstrap API key; run `postrider migrate` first")?;
    tx.commit().await?;
    Ok(())
}

//! `App`: what a handler may touch.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::Registry;
use queue::{Bell, Chance, Clock};
use store::Store;
use tokio::sync::broadcast;
use workers::Catalog;

use crate::api::auth::ApiKeys;
use crate::api::key_use::KeyUse;
use crate::api::token::Tokens;
use crate::config::Config;
use crate::console::Console;
use crate::edge::Edge;
use crate::health::{Examiner, Hearing};
use crate::intake::Intake;
use crate::live::desk::Desk;
use crate::live::feed;
use crate::live::hub::{Hub, Limits};
use crate::metrics::Metrics;
use crate::shutdown::Lifetime;

/// The front of one process. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    pub config: Config,
    pub store: Store,
    pub clock: Clock,
    pub(crate) chance: Chance,
    pub metrics: Metrics,
    /// Everything that `/metrics` shows, of all crates.
    pub registry: Registry,
    pub intake: Intake,
    pub lifetime: Lifetime,
    /// Rung after a commit that has brought jobs.
    pub(crate) bell: Bell,
    pub(crate) catalog: Catalog,
    pub(crate) hub: Hub,
    pub(crate) desk: Desk,
    pub(crate) keys: ApiKeys,
    pub(crate) key_use: KeyUse,
    pub(crate) tokens: Tokens,
    pub(crate) edge: Edge,
    pub(crate) examiner: Examiner,
    pub(crate) console: Console,
}

/// What the front is given by the process it runs in.
pub struct Surroundings {
    pub config: Config,
    pub store: Store,
    pub clock: Clock,
    pub registry: Registry,
    /// Rung after each commit.
    pub bell: Bell,
    /// Feeds that have changed.
    pub inbox_changed: broadcast::Receiver<Arc<str>>,
    /// Whether this process hears of what others ring.
    pub hearing: Hearing,
    /// Rules, templates and limits as this process knows them.
    pub catalog: Catalog,
    pub lifetime: Lifetime,
}

impl App {
    /// Opens the intake and starts the feed. Their tasks end with `lifetime.closing`.
    pub fn start(surroundings: Surroundings) -> Result<Self, prometheus::Error> {
        let Surroundings {
            config,
            store,
            clock,
            registry,
            bell,
            inbox_changed,
            hearing,
            catalog,
            lifetime,
        } = surroundings;
        let metrics = Metrics::register(&registry, config.metrics.legacy_names)?;
        let hub = Hub::new(Limits {
            send_buffer: config.live.send_buffer,
            sockets_max: config.live.sockets_max,
            sockets_per_user_max: config.live.sockets_per_user_max,
        });
        let intake = Intake::open(
            &config.intake,
            store.clone(),
            bell.clone(),
            clock.clone(),
            metrics.clone(),
            &lifetime,
        );
        lifetime.tasks.spawn(feed::run(
            store.clone(),
            hub.clone(),
            inbox_changed,
            config.live.poll_interval,
            lifetime.closing.clone(),
        ));
        let desk = Desk::open(&store, &clock, &lifetime);
        let tokens = Tokens::start(&config.auth, &lifetime);
        let edge = Edge::new(&config);
        let examiner = Examiner::new(
            &config,
            store.clone(),
            clock.clone(),
            hearing,
            lifetime.clone(),
        );
        let app = Self(Arc::new(Parts {
            config,
            store,
            clock,
            chance: Chance::system(),
            metrics,
            registry,
            intake,
            lifetime,
            bell,
            catalog,
            hub,
            desk,
            keys: ApiKeys::default(),
            key_use: KeyUse::default(),
            tokens,
            edge,
            examiner,
            console: Console::default(),
        }));
        let closing = &app.lifetime.closing;
        let pruning = Edge::keep_small(app.clone(), closing.clone());
        app.lifetime.tasks.spawn(pruning);
        let noting = KeyUse::keep(app.clone(), closing.clone());
        app.lifetime.tasks.spawn(noting);
        Ok(app)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

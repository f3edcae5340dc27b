//! Context: what a handler may touch, and by its absence what it may not: the database.
//!
//! Rows come to a handler loaded, and changes leave it as effects. Time and chance are here too, so
//! that a test can choose them.

use std::fmt;
use std::sync::Arc;

use channels::Channels;
use domain::RetryPolicies;
use queue::{Chance, Clock};
use render::Brand;
use store::settlement::Limits;

use crate::catalog::Catalog;
use crate::metrics::DeliveryMetrics;

/// What the handlers of one process share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) channels: Channels,
    pub(crate) retries: Arc<RetryPolicies>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) metrics: Option<DeliveryMetrics>,
    /// Rules, templates and limits as this process knows them.
    pub(crate) catalog: Catalog,
    /// Whose notifications these are.
    pub(crate) brand: Arc<Brand>,
    /// Whether this process works on all that an in-app message needs.
    pub(crate) arrives_at_once: bool,
    chance: Chance,
}

impl Context {
    /// Chance is seeded by the operating system.
    pub fn new(catalog: Catalog, channels: Channels, clock: Clock) -> Self {
        Self {
            channels,
            retries: Arc::default(),
            limits: Limits::default(),
            clock,
            metrics: None,
            catalog,
            brand: Arc::default(),
            arrives_at_once: false,
            chance: Chance::system(),
        }
    }

    /// Changes when providers are tried again.
    #[must_use]
    pub fn retrying(mut self, retries: RetryPolicies) -> Self {
        self.retries = Arc::new(retries);
        self
    }

    /// Says whose notifications these are.
    #[must_use]
    pub fn branded(mut self, brand: Brand) -> Self {
        self.brand = Arc::new(brand);
        self
    }

    /// Counts what becomes of deliveries.
    #[must_use]
    pub fn counting(mut self, metrics: DeliveryMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Changes what settlements keep to.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Chooses the chance, so that a test sees the same waits every time.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.chance = Chance::seeded(seed);
        self
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn chance(&self) -> f64 {
        self.chance.next()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

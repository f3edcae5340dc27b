//! Context: what a handler may touch, and by its absence what it may not: the database.
//!
//! Rows come to a handler loaded, and changes leave it as effects. Time and chance are here too, so
//! that a test can choose them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use channels::Channels;
use domain::TemplateNames;
use queue::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use render::Templates;

/// What the handlers of one process share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) templates: Arc<Templates>,
    pub(crate) template_names: Arc<TemplateNames>,
    pub(crate) channels: Channels,
    pub(crate) clock: Clock,
    chance: Arc<Mutex<StdRng>>,
}

impl Context {
    /// Chance is seeded by the operating system.
    pub fn new(templates: Arc<Templates>, channels: Channels, clock: Clock) -> Self {
        let template_names = Arc::new(TemplateNames::new(templates.names()));
        let chance = Arc::new(Mutex::new(rand::make_rng()));
        Self {
            templates,
            template_names,
            channels,
            clock,
            chance,
        }
    }

    /// Chooses the chance, so that a test sees the same waits every time.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        self
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn chance(&self) -> f64 {
        self.chance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

//! What the domain adds to a settlement. The queue carries effects without knowing what they are.

use std::future::Future;

use serde_json::Value;
use sqlx::PgConnection;

use crate::job::NewJob;
use crate::lease::Lease;

/// The domain's side of a settlement.
pub trait Effects: Send + Sync + 'static {
    /// One row change, as data.
    type Effect: std::fmt::Debug + Send + Sync + 'static;

    /// What [`committed`](Self::committed) needs to know afterwards.
    type Applied: Default + Send + 'static;

    /// Writes `effects` in the settlement's transaction, with one statement per table.
    ///
    /// An error that is not passing ([`is_passing`](crate::is_passing)) makes the settler look for
    /// the one job whose effects are refused.
    fn apply(
        &self,
        db: &mut PgConnection,
        effects: &[&Self::Effect],
    ) -> impl Future<Output = Result<Self::Applied, sqlx::Error>> + Send;

    /// Jobs that follow from what was written rather than from what a handler answered: only the
    /// one who closed a digest, say, plans its sending. Enqueued in the same transaction.
    fn follow_ups(&self, _applied: &Self::Applied) -> Vec<NewJob> {
        Vec::new()
    }

    /// Called after the commit: wake whoever waits for these rows. Must not block.
    fn committed(&self, applied: Self::Applied);

    /// What it means that the engine buries a job whose handler did not say so: attempts used up,
    /// payload unreadable, effects refused, a crash loop.
    fn on_bury(&self, lease: &Lease, error: &str) -> Vec<Self::Effect>;
}

/// No effects at all: for queues whose jobs write nothing, benchmarks and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEffects;

impl Effects for NoEffects {
    type Effect = Value;
    type Applied = ();

    async fn apply(&self, _: &mut PgConnection, _: &[&Value]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn committed(&self, (): ()) {}

    fn on_bury(&self, _: &Lease, _: &str) -> Vec<Value> {
        Vec::new()
    }
}

//! What tests of every crate share: a database of their own, and waiting without sleeping.
//!
//! A dev-dependency only. The database is real, for there is no mock of our own code anywhere; a
//! test that fails here fails loudly, so the functions panic with what to do instead of returning
//! errors that every test would unwrap.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "tests read the environment and the clock, and stop at the first surprise"
)]

mod database;
mod eventually;
mod pgbouncer;

pub use database::TestDatabase;
pub use eventually::{Observed, eventually};
pub use pgbouncer::PgBouncer;

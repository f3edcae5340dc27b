//! A durable job queue on Postgres.
//!
//! A job is a row. It is committed before anyone learns that it exists, it has at most one owner at
//! a time, and it is removed only in the transaction that records what came of it. Nothing here
//! knows what a job is for: notifications, channels and users live in other crates.
//!
//! # Life of a job
//!
//! ```text
//!   available ──── claim ───▶ running ──── complete, cancel ───▶ (gone)
//!       ▲                        │
//!       └── retry, snooze, ──────┤
//!           give back, takeover  └──── bury ────────────────────▶ dead letter ── replay ─▶ available
//! ```
//!
//! A job is claimable once its `run_at` has come; nothing promotes it.
//!
//! # Promised
//!
//! - **Nothing is lost.** A job enqueued in a committed transaction will be run.
//! - **One owner.** Two workers never hold the same attempt of the same epoch.
//! - **Late workers are harmless.** An ending is matched on (job, attempt, epoch), so a worker that
//!   was taken over writes nothing, neither the ending nor its effects.
//! - **One settlement.** Ending, effects and follow-up jobs are committed together or not at all.
//!
//! # Not promised
//!
//! - **Exactly once.** A worker may die between the side effect and the settlement; then the job
//!   runs again. [`LeaseInfo::is_uncertain`] tells a handler so.
//! - **Order.** Within a lane jobs start oldest first; between lanes and classes they take turns.
//!
//! # Reading order
//!
//! [`job`] (the row and the trait), [`outcome`], [`enqueue`], `allot` and `claim`, [`lease`],
//! `finish` and `settle`, then `epoch`, `takeover` and `pulse` for what happens when a process dies,
//! and [`node`], which puts them together. [`backend`] is all that apalis sees of it.

mod allot;
pub mod backend;
mod backoff;
mod bell;
mod chance;
mod claim;
mod claimer;
mod clock;
mod config;
pub mod control;
mod database;
pub mod dead_letter;
pub mod discard;
mod dispatch;
mod effects;
pub mod enqueue;
mod epoch;
mod fault;
mod finish;
pub mod gauge;
mod handover;
pub mod inspect;
pub mod job;
pub mod lease;
mod listener;
mod metrics;
pub mod node;
pub mod outcome;
pub mod probe;
mod pulse;
mod rate;
mod room;
mod settle;
mod takeover;
#[cfg(test)]
mod tests;

pub use backend::JobBackend;
pub use backoff::Backoff;
pub use bell::{Bell, Carrier, EVERYTHING, JOBS_AVAILABLE};
pub use chance::Chance;
pub use clock::{Clock, uuid_at};
pub use config::{Limits, QueueConfig};
pub use database::{Database, DatabaseUrlError, SESSION};
pub use effects::{Effects, NoEffects};
pub use enqueue::{EnqueueError, enqueue};
pub use fault::{describe, is_passing, storable};
pub use job::{Job, JobId, LANES, MAX_ATTEMPTS, NewJob, Priority, lane_of};
pub use lease::{Lease, LeaseInfo};
pub use listener::Listener;
pub use metrics::Metrics;
pub use node::{Node, NodeParts, RunningNode};
pub use outcome::{Ending, Failure, Outcome};

/// A connection that the caller's transaction is open on. Re-exported so that crates which may not
/// name sqlx can pass one on.
pub type Connection = sqlx::PgConnection;

/// What the driver said. Re-exported for the same reason.
pub type DatabaseError = sqlx::Error;

//! Our tables: everything that is known of events, notifications and the people they are for.
//!
//! All SQL of schema `public` is here, checked at compile time, next to the function that needs
//! it. Functions take a connection and the caller owns the transaction, so that a row and the job
//! that works on it can be committed together. Whoever calls need not name the driver.
//!
//! # Reading order
//!
//! `connect` (the pool and transactions), [`events`], [`keys`] and [`idempotency`] (what comes in),
//! [`effect`] and [`settlement`] (what jobs change), [`prepare`], [`recipients`] and [`audience`]
//! (what jobs read), [`notifications`], [`history`], [`deliveries`], [`digests`], [`traces`] and
//! [`inbox`] (what people look at), [`reading`] (what they do about it), [`users`], [`preferences`]
//! and [`topics`] (who they are and what they want), [`templates`] (in which words they are told),
//! [`rules`] (who hears of what), [`revisions`] (what processes keep copies of), [`erase`] (how they are forgotten), [`partitions`]
//! and [`retention`] (months come and go), [`stats`] and [`server`] (what operators look at).
#![allow(
    clippy::struct_field_names,
    reason = "fields are named like their columns"
)]

pub mod api_keys;
pub mod audience;
pub mod audit;
mod connect;
pub mod consents;
pub mod console;
pub mod deliveries;
pub mod digests;
pub mod effect;
pub mod erase;
mod error;
pub mod events;
pub mod feed_pruning;
pub mod following;
mod held;
pub mod history;
pub mod idempotency;
pub mod inbox;
mod json;
pub mod keys;
pub mod limits;
pub mod notifications;
pub mod outbox;
pub mod partitions;
pub mod preferences;
pub mod prepare;
pub mod pulse;
pub mod reading;
pub mod recipients;
pub mod replay;
pub mod replays;
pub mod retention;
pub mod revisions;
pub mod rules;
pub mod scratch;
pub mod server;
pub mod settlement;
pub mod stats;
pub mod subjects;
pub mod templates;
pub mod tenants;
pub mod tickets;
pub mod topics;
pub mod traces;
mod understudies;
pub mod users;

pub use connect::{MIGRATOR, Reader, Store, StoreOptions, Tx};
pub use effect::Effect;
pub use error::{StoreError, is_transient, lacks_schema};
/// What every function here takes; a [`Tx`] dereferences to it.
pub use sqlx::PgConnection as Connection;

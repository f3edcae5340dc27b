//! The store on a real database: one binary, a database for each test.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests read the clock, and stop at the first surprise"
)]

mod api_keys;
mod connect;
mod consents;
mod digests;
mod digests_kept;
mod digests_moved;
mod erase;
mod events;
mod following;
mod history;
mod inbox;
mod kit;
mod limits;
mod notifications;
mod partitions;
mod people;
mod plans;
mod reading;
mod rules;
mod settlement;
mod siblings;
mod stats;
mod templates;
mod topics;

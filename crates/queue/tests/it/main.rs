//! The conformance suite of the queue, on a real Postgres: one binary, a database for each test.
//!
//! Each verb of the queue and each failure it was built against has a test here. Handlers are
//! closures given to a node of the [`kit`]; what they write goes to a table without a key, in which
//! a thing written twice would be seen twice.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests read the clock, and stop at the first surprise"
)]

mod kit;
mod nodes;
mod proxy;

mod crash;
mod dead_letters;
mod endings;
mod enqueue;
mod fairness;
mod fencing;
mod operator;
mod outage;
mod plans;
mod pooler;
mod settlement;
mod shutdown;
mod takeover;
mod wakeups;

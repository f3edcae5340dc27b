//! The front on a real socket and a real database.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "tests stop at the first surprise, and read the clock and the environment"
)]

mod access;
mod bad_input;
mod cli;
mod config;
mod crash;
mod ctrl_c;
mod doctor;
mod events;
mod front;
mod intake;
mod jobs;
mod live;
mod notifications;
mod pgbouncer;
mod procfile;
mod proxy;
mod shutdown;
mod socket;
mod up;

//! The front on a real socket and a real database.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "tests stop at the first surprise, and read the clock and the environment"
)]

use std::time::Duration;

/// How long a test waits for what must come: far longer than it takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

mod access;
mod bad_input;
mod brain;
mod browser;
mod cancel;
mod cli;
mod cloud_events;
mod compat_a;
mod config;
mod consents;
mod console;
mod cors;
mod crash;
mod ctrl_c;
mod doctor;
mod erasure;
mod events;
mod far_side;
mod front;
mod fuzz;
mod health;
mod history;
mod house;
mod inbox;
mod intake;
mod issuer;
mod jobs;
mod jwks;
mod keys;
mod limits;
mod live;
mod live_edges;
mod live_foreign;
mod live_ways;
mod logs;
mod mail;
mod metrics;
mod notifications;
mod once;
mod openapi;
mod outbox;
mod people;
mod procfile;
mod proxy;
mod quiet_hours;
mod rate_limits;
mod replay;
mod replay_cli;
mod retention;
mod routes;
mod rules;
mod shutdown;
mod socket;
mod stats;
mod template_cli;
mod templates;
mod terminal;
mod tour;
mod up;
mod web;
mod web_push;
mod webhooks;

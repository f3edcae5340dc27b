//! The front of Postrider: how work gets in, and how people look at it.
//!
//! It accepts, stores and answers; routing, rendering and sending belong to the workers. Exported
//! for the binary and for tests.
//!
//! # Reading order
//!
//! [`config`], then a request's way: [`server`], [`edge`], [`api`], [`intake`]. [`live`] is the way back: a
//! committed notification to its sockets, and [`web`] what a page needs to show it. [`console`] is what
//! an operator looks at. [`cli`] starts the roles, [`up`] keeps the private
//! Postgres of one of them, [`upkeep`] looks after the tables, [`shutdown`] says in which order
//! things stop.

pub mod api;
pub mod app;
pub mod bench;
pub mod cli;
pub mod config;
mod console;
mod edge;
mod erasure;
pub mod health;
pub mod intake;
mod keys;
pub mod live;
mod lookout;
pub mod metrics;
mod nats;
pub mod pulse;
pub mod server;
pub mod shutdown;
pub mod telemetry;
mod templates;
pub mod up;
pub mod upkeep;
mod web;

//! What the workers promise to rows that outlive them.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and asks what no crate does"
)]

mod catalog;
mod engine;
mod payloads;
mod rate_limits;
mod replay;

//! What the workers promise to rows that outlive them.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, in its functions too"
)]

mod engine;
mod payloads;

//! What providers do with servers that are not ours, on real sockets.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reads the environment, spawns its servers and stops at the first surprise"
)]

mod foreign;
mod leak;
mod mail;
mod mail_server;
mod smtp;
mod smtp_foreign;
mod web_server;
mod webhook;
mod webhook_foreign;

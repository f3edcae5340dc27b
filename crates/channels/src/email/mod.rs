//! Email: composed here, carried by a mail server.
//!
//! Reading order: [`config`] (which server), [`compose`] (message to bytes), [`opening`]
//! and [`session`] (the conversation) over [`turns`] and [`reply`], [`classify`] (what a refusal means), [`pool`] (many
//! mails over few sessions), and [`smtp`], the provider over all of them.

mod classify;
mod compose;
mod config;
mod opening;
mod pool;
mod reply;
mod session;
mod smtp;
mod turns;

pub use config::{SmtpConfig, SmtpCredentials, SmtpTimeouts, SmtpTls, SmtpUrlError};
pub use smtp::{Smtp, SmtpError};

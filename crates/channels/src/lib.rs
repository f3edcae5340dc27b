//! Channels and the providers that carry them.
//!
//! A [`Provider`] takes one message to one address and says what became of it, as a [`Receipt`]
//! or a [`SendError`]. It has no database and no clock; whether and when to try again is decided
//! by the `deliver` worker. In-app is not here: its delivery is a row in the user's feed.
//!
//! # Promised
//!
//! - **An end.** Every send is under a timeout ([`Channels::send`]). A timed-out send is
//!   [`SendError::Unknown`]: the message may have gone out.
//! - **No guess.** "We cannot tell" is a variant of its own, so that nobody reads it as "failed".
//!
//! # Not promised
//!
//! - **Once.** A provider that knows idempotency keys is given the delivery's; others may carry
//!   the same message twice.
//!
//! # Reading order
//!
//! [`message`] (what is handed over), [`outcome`] (what comes back), [`registry`] (who carries
//! which channel), then the providers: [`email`], [`webhook`], [`outbox`], and [`scripted`] for tests.

mod email;
mod hosts;
mod http;
mod message;
mod outbox;
mod outcome;
mod redact;
mod registry;
mod scripted;
mod secret;
mod trust;
mod webhook;

use async_trait::async_trait;

pub use email::{
    Smtp, SmtpConfig, SmtpCredentials, SmtpError, SmtpTimeouts, SmtpTls, SmtpUrlError,
};
pub use message::Outgoing;
pub use outbox::Outbox;
pub use outcome::{Receipt, ReceiptStatus, SendError};
pub use registry::{Channels, SEND_TIMEOUT};
pub use scripted::Scripted;
pub use secret::Secret;
pub use webhook::{Webhook, WebhookConfig, WebhookError, WebhookSecretError};

/// A company or protocol that carries a channel.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// A stable word: it is stored with every attempt and labels metrics.
    fn name(&self) -> &'static str;

    /// Hands one message over.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a send that is dropped midway may have gone out.
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, SendError>;
}

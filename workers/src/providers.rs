//! Providers: who carries which channel in this process, from its settings.
//!
//! Settings pass through here as plain values, so that the front, which reads them, has no way to
//! send.

use channels::Channels;
pub use channels::{
    Secret, SmtpConfig, SmtpError, SmtpTimeouts, SmtpTls, SmtpUrlError, WebhookConfig, WebhookError,
};
use queue::Clock;

use crate::catalog::Catalog;
use crate::context::Context;

/// The providers of one process.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    /// The server that carries mail.
    pub smtp: Option<SmtpConfig>,
    /// How webhooks are posted, if they are.
    pub webhook: Option<WebhookConfig>,
    /// Whether the outbox takes what no provider carries. Without it such a delivery fails.
    pub has_outbox: bool,
}

/// Why a provider cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the mail server cannot be used")]
    Smtp(#[from] SmtpError),
    #[error("webhooks cannot be posted")]
    Webhook(#[from] WebhookError),
}

impl Providers {
    /// Nothing is connected before the first send.
    fn channels(self) -> Result<Channels, ProviderError> {
        let mut channels = Channels::new();
        if let Some(smtp) = self.smtp {
            channels = channels.with_smtp(smtp)?;
        }
        if let Some(webhook) = self.webhook {
            channels = channels.with_webhook(webhook)?;
        }
        Ok(if self.has_outbox {
            channels.with_outbox()
        } else {
            channels
        })
    }
}

impl Context {
    /// A context that sends through `providers`.
    pub fn try_new(
        catalog: Catalog,
        providers: Providers,
        clock: Clock,
    ) -> Result<Self, ProviderError> {
        Ok(Self::new(catalog, providers.channels()?, clock))
    }
}

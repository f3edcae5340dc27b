//! `outbox`: takes everything and sends nothing. The message stays on the delivery's row, where
//! the console shows it.
//!
//! It stands in for every channel without a provider under `postrider up`, so that a new
//! installation can be tried without an account anywhere.

use async_trait::async_trait;

use crate::{Outgoing, Provider, Receipt, ReceiptStatus, SendError};

/// Takes everything and sends nothing.
#[derive(Debug, Clone, Copy)]
pub struct Outbox;

impl Outbox {
    /// What it is called in attempts.
    pub const NAME: &'static str = "outbox";
}

#[async_trait]
impl Provider for Outbox {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn send(&self, _outgoing: &Outgoing) -> Result<Receipt, SendError> {
        Ok(Receipt {
            status: ReceiptStatus::Sent,
            provider_message_id: None,
            response: None,
        })
    }
}

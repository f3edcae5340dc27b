//! What a provider answers. The verdict is passed here, once; the worker acts on it.

use std::time::Duration;

use crate::redact::redact;

/// The provider took the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub status: ReceiptStatus,
    /// The provider's own id, by which its later reports are matched.
    pub provider_message_id: Option<String>,
    /// What the provider answered, without addresses and in the length a row can hold.
    pub response: Option<String>,
}

/// How far the message is known to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// Accepted; the provider may report more later.
    Sent,
    /// At its destination: nothing more will be heard.
    Delivered,
}

impl Receipt {
    /// The same with its response [`redact`]ed.
    pub(crate) fn redacted(self, address: Option<&str>) -> Self {
        Self {
            response: self.response.map(|text| redact(&text, address)),
            ..self
        }
    }
}

/// Why a message was not handed over. `detail` is what the provider said, without addresses or
/// content: it is stored with the attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing was tried: this process is busy with other messages to the same server. Come again
    /// `after` so long; it is no attempt.
    #[error("busy: {detail}")]
    Busy {
        after: Duration,
        detail: &'static str,
    },

    /// It certainly did not go out, and may do so later: connection refused, 5xx. Try again.
    #[error("try again later: {detail}")]
    Transient { detail: String },

    /// Too many at once. Try again after `retry_after`, if the provider named a time.
    #[error("too many requests: {detail}")]
    Throttled {
        retry_after: Option<Duration>,
        detail: String,
    },

    /// This message will never be taken: malformed, too long, refused by policy. Give up.
    #[error("rejected: {detail}")]
    Rejected { detail: String },

    /// Nobody is reached there any more. Give up, and do not use the address again.
    #[error("the address is dead: {detail}")]
    AddressDead { detail: String },

    /// It may or may not have gone out: a timeout, a connection cut after the message. The
    /// channel's policy decides whether a repeat is harmless.
    #[error("outcome unknown: {detail}")]
    Unknown { detail: String },
}

impl SendError {
    /// The same with its detail [`redact`]ed.
    pub(crate) fn redacted(mut self, address: Option<&str>) -> Self {
        match &mut self {
            Self::Busy { .. } => {}
            Self::Transient { detail }
            | Self::Throttled { detail, .. }
            | Self::Rejected { detail }
            | Self::AddressDead { detail }
            | Self::Unknown { detail } => *detail = redact(detail, address),
        }
        self
    }
}

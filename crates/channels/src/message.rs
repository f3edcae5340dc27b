//! What a provider is given.

use std::fmt;

use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, Message};

/// One message on its way to one address.
#[derive(Clone, PartialEq)]
pub struct Outgoing {
    /// The same on every attempt: providers that know idempotency keys are given it as one.
    pub delivery_id: DeliveryId,
    pub channel: Channel,
    /// In the channel's own form. `None` where the provider is its own destination (`pagerduty`).
    pub address: Option<String>,
    pub message: Message,
    /// Event type; for a direct send the template's name or `notification`. The `type` in a
    /// webhook's body.
    pub kind: String,
    /// When the notification came to be: the `timestamp` in a webhook's body, a mail's `Date`.
    /// The same on every attempt.
    pub created_at: DateTime<Utc>,
    /// When this attempt began: what a webhook's signature is made for.
    pub sent_at: DateTime<Utc>,
}

impl Outgoing {
    /// The provider's key for recognising a repeated send: the delivery's id.
    pub fn idempotency_key(&self) -> String {
        self.delivery_id.to_string()
    }
}

/// Without address and message: both are a person's, and debug output ends up in logs.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("delivery_id", &self.delivery_id)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_address_nor_content() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let outgoing = Outgoing {
            delivery_id: DeliveryId::at(now),
            channel: Channel::Email,
            address: Some("ada@example.com".into()),
            message: Message {
                subject: Some("secret".into()),
                body: "secret".into(),
                body_html: None,
                data: None,
                mail: None,
            },
            kind: "order.filled".into(),
            created_at: now,
            sent_at: now,
        };

        let shown = format!("{outgoing:?}");

        assert!(shown.contains(&outgoing.idempotency_key()));
        assert!(
            !shown.contains("ada") && !shown.contains("secret"),
            "{shown}"
        );
    }
}

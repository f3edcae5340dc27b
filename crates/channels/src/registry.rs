//! Which provider carries which channel, and the timeout around every send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Channel;
use tracing::Instrument;

use crate::{
    Outbox, Outgoing, Provider, Receipt, SendError, Smtp, SmtpConfig, SmtpError, Webhook,
    WebhookConfig, WebhookError,
};

/// How long a provider may take over one message, whatever it does.
///
/// A backstop: providers bound their own stages in less, because only they can tell a server that
/// could not be reached from one that took the message and never answered. Below the patience of a
/// shutdown.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The providers of this process, one per channel.
#[derive(Clone)]
pub struct Channels {
    providers: HashMap<Channel, Arc<dyn Provider>>,
    timeout: Duration,
}

impl Channels {
    /// No provider at all.
    pub fn new() -> Self {
        Self {
            providers: HashMap::new(),
            timeout: SEND_TIMEOUT,
        }
    }

    /// Lets `provider` carry `channel`, in place of any other.
    #[must_use]
    pub fn with(mut self, channel: Channel, provider: Arc<dyn Provider>) -> Self {
        self.providers.insert(channel, provider);
        self
    }

    /// Lets a mail server carry email.
    pub fn with_smtp(self, config: SmtpConfig) -> Result<Self, SmtpError> {
        Ok(self.with(Channel::Email, Arc::new(Smtp::try_new(config)?)))
    }

    /// Lets webhooks be posted.
    pub fn with_webhook(self, config: WebhookConfig) -> Result<Self, WebhookError> {
        Ok(self.with(Channel::Webhook, Arc::new(Webhook::try_new(config)?)))
    }

    /// Lets the [`Outbox`] carry every channel that has no provider.
    #[must_use]
    pub fn with_outbox(mut self) -> Self {
        let outbox: Arc<dyn Provider> = Arc::new(Outbox);
        for channel in Channel::ALL
            .into_iter()
            .filter(|&channel| channel != Channel::InApp)
        {
            self.providers
                .entry(channel)
                .or_insert_with(|| Arc::clone(&outbox));
        }
        self
    }

    /// Changes how long one send may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Who carries `channel`; `None` if nobody is configured.
    pub fn provider(&self, channel: Channel) -> Option<&dyn Provider> {
        self.providers.get(&channel).map(AsRef::as_ref)
    }

    /// Hands a message to `provider`, for at most the timeout. What comes back is free of
    /// addresses, whatever the provider quoted.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe, as [`Provider::send`].
    pub async fn send(
        &self,
        provider: &dyn Provider,
        outgoing: &Outgoing,
    ) -> Result<Receipt, SendError> {
        let span = tracing::info_span!(
            "provider.send",
            provider = provider.name(),
            channel = %outgoing.channel,
            delivery.id = %outgoing.delivery_id,
        );
        let sending = provider.send(outgoing).instrument(span);
        let answer = tokio::time::timeout(self.timeout, sending)
            .await
            .unwrap_or_else(|_| {
                Err(SendError::Unknown {
                    detail: format!("no answer within {:?}", self.timeout),
                })
            });
        let address = outgoing.address.as_deref();
        answer
            .map(|receipt| receipt.redacted(address))
            .map_err(|error| error.redacted(address))
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::{DeliveryId, Message};

    use super::*;
    use crate::Scripted;

    fn outgoing() -> Outgoing {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Outgoing {
            delivery_id: DeliveryId::at(now),
            channel: Channel::Sms,
            address: Some("+4912345".into()),
            message: Message {
                subject: None,
                body: "Hi".into(),
                body_html: None,
                data: None,
                mail: None,
            },
            kind: "order.filled".into(),
            created_at: now,
            sent_at: now,
        }
    }

    #[test]
    fn the_outbox_carries_what_nobody_else_does_but_never_in_app() {
        let sms = Arc::new(Scripted::accepting());

        let channels = Channels::new().with(Channel::Sms, sms).with_outbox();

        assert_eq!(channels.provider(Channel::Sms).unwrap().name(), "scripted");
        assert_eq!(channels.provider(Channel::Email).unwrap().name(), "outbox");
        assert!(channels.provider(Channel::InApp).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_without_an_answer_ends_as_unknown() {
        let silent = Arc::new(Scripted::silent());
        let channels = Channels::new().with(Channel::Sms, silent);
        let provider = channels.provider(Channel::Sms).unwrap();

        let answer = channels.send(provider, &outgoing()).await;

        let detail = "no answer within 30s".to_owned();
        assert_eq!(answer, Err(SendError::Unknown { detail }));
    }

    #[tokio::test]
    async fn a_scripted_provider_fails_as_told_and_remembers_what_it_was_given() {
        let refused = SendError::Transient {
            detail: "refused".into(),
        };
        let scripted = Arc::new(Scripted::failing(2, refused.clone()));
        let channels = Channels::new().with(Channel::Sms, Arc::<Scripted>::clone(&scripted) as _);
        let provider = channels.provider(Channel::Sms).unwrap();

        assert_eq!(
            channels.send(provider, &outgoing()).await,
            Err(refused.clone())
        );
        assert_eq!(channels.send(provider, &outgoing()).await, Err(refused));
        assert!(channels.send(provider, &outgoing()).await.is_ok());
        assert_eq!(scripted.given().len(), 3);
    }

    #[tokio::test]
    async fn an_answer_that_quotes_the_address_is_stored_without_it() {
        let quoting = SendError::Rejected {
            detail: "+4912345 is not served, ask desk@example.com".into(),
        };
        let channels = Channels::new();

        let answer = channels
            .send(&Scripted::failing(1, quoting), &outgoing())
            .await;

        let detail = "… is not served, ask …".to_owned();
        assert_eq!(answer, Err(SendError::Rejected { detail }));
    }
}

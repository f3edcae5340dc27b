//! `smtp`: carries email over SMTP, to the operator's mail server.
//!
//! | | |
//! | --- | --- |
//! | Idempotency | the delivery id is in the `Message-ID`; servers do not look at it |
//! | Provider's id | the `Message-ID`, which a bounce quotes |
//! | Response | the server's answer, and how many copies it refused |

use std::sync::Arc;

use async_trait::async_trait;
use lettre::message::Mailbox;
use tokio_rustls::TlsConnector;

use super::compose::compose;
use super::config::SmtpConfig;
use super::pool::Pool;
use super::session::Accepted;
use crate::trust;
use crate::{Outgoing, Provider, Receipt, ReceiptStatus, SendError};

/// A mail server.
pub struct Smtp {
    from: Mailbox,
    pool: Pool,
}

/// Why a mail server cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// Mail from nobody would be refused everywhere.
    #[error("the sender is not a mail address, such as Postrider <postrider@example.com>")]
    From,
    /// It would be sent as a part of a command.
    #[error("the name to greet the mail server with must be a host name")]
    HelloName,
    #[error("TLS towards the mail server cannot be set up")]
    Tls(#[source] tokio_rustls::rustls::Error),
}

impl Smtp {
    /// Prepares to send. Nothing is connected before the first mail.
    pub fn try_new(config: SmtpConfig) -> Result<Self, SmtpError> {
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        let from = Some(&config.from)
            .filter(|from| is_plain(from))
            .and_then(|from| from.parse().ok())
            .ok_or(SmtpError::From)?;
        let is_host = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        if !config.hello_name.as_deref().is_none_or(is_host) {
            return Err(SmtpError::HelloName);
        }
        let tls = trust::client_config(&config.roots).map_err(SmtpError::Tls)?;
        Ok(Self {
            from,
            pool: Pool::new(config, TlsConnector::from(Arc::new(tls))),
        })
    }
}

#[async_trait]
impl Provider for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let mail = compose(&self.from, outgoing)?;
        let accepted = self.pool.send(&mail).await?;
        Ok(Receipt {
            status: ReceiptStatus::Sent,
            provider_message_id: Some(mail.message_id),
            response: Some(response(&accepted)),
        })
    }
}

fn response(accepted: &Accepted) -> String {
    let answer = accepted.reply.text();
    let refused = accepted.refused_copies.len();
    match accepted.refused_copies.first() {
        None => answer,
        Some(first) => format!(
            "{answer}; {refused} copies refused, the first: {}",
            first.text()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_a_mail_address_with_or_without_a_name() {
        let with = |from: &str| {
            Smtp::try_new(SmtpConfig {
                from: from.to_owned(),
                ..SmtpConfig::new("mail.example", 25)
            })
        };
        assert!(Smtp::try_new(SmtpConfig::new("mail.example", 25)).is_ok());
        assert!(with("Büro <desk@example.com>").is_ok());
        for from in [
            "",
            "desk",
            "desk@",
            "desk@example.com\r\nBcc: eve@example.com",
        ] {
            assert!(matches!(with(from), Err(SmtpError::From)), "{from}");
        }
    }

    #[test]
    fn the_name_in_the_greeting_cannot_bring_a_command_along() {
        for name in ["", "a b", "mail\r\nQUIT"] {
            let config = SmtpConfig {
                hello_name: Some(name.to_owned()),
                ..SmtpConfig::new("mail.example", 25)
            };
            assert!(
                matches!(Smtp::try_new(config), Err(SmtpError::HelloName)),
                "{name}"
            );
        }
    }
}

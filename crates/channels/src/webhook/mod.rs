//! `webhook`: posts a notification to a URL, signed as Standard Webhooks has it.
//!
//! | | |
//! | --- | --- |
//! | Idempotency | `webhook-id` is the delivery's id, the same on every attempt |
//! | Signature | `webhook-signature` over id, `webhook-timestamp` and body, one for each secret |
//! | Body | `{"type", "timestamp", "data"}` |
//!
//! What the endpoint's answer means:
//!
//! | Answer | Verdict |
//! | --- | --- |
//! | 2xx | delivered |
//! | 410 | the address is dead |
//! | 429, 503 | throttled, for as long as `Retry-After` says |
//! | 408, 425, other 5xx | transient |
//! | 3xx | rejected: redirects are not followed, they would lead past the guard and the signature |
//! | other 4xx | rejected |
//! | no connection | transient |
//! | not asked: the host lets others go unanswered | transient |
//! | none, or cut off in the middle | unknown: a repeat has the same id |

mod config;
mod guard;
mod sign;
mod verdict;

use std::time::Duration;

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::hosts::{Hosts, NoPlace};
use crate::http::{self, Body, NoAnswer};
use crate::trust;
use crate::{Outgoing, Provider, Receipt, ReceiptStatus, SendError};
pub use config::{WebhookConfig, WebhookError};
pub(crate) use guard::{Forbidden, Guard};
use sign::Signers;
pub use sign::WebhookSecretError;
use verdict::verdict;

/// How long the body of an answer is waited for. The status has told all that matters.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Posts to the address of a delivery.
pub struct Webhook {
    client: Client,
    guard: Guard,
    signers: Signers,
    headers: HeaderMap,
    hosts: Hosts,
    timeout: Duration,
}

impl Webhook {
    /// Prepares to send. Nothing is connected before the first message.
    pub fn try_new(config: WebhookConfig) -> Result<Self, WebhookError> {
        let guard = Guard::new(config.allow_cidrs.clone());
        // What is left of the time once a connection stands is for the endpoint's answer.
        let connect_timeout = config.timeout / 2;
        let tls = trust::client_config(&config.roots).map_err(WebhookError::Tls)?;
        let client = http::client(guard.clone(), tls, connect_timeout);
        Ok(Self {
            client: client.map_err(WebhookError::Client)?,
            signers: Signers::parse(&config.secrets)?,
            headers: config.header_map()?,
            hosts: Hosts::new(config.at_once_per_host_max),
            timeout: config.timeout,
            guard,
        })
    }

    /// The headers of one attempt: the configured ones, and those of the signature.
    fn headers(&self, outgoing: &Outgoing, body: &[u8]) -> Result<HeaderMap, SendError> {
        let id = outgoing.idempotency_key();
        let timestamp = outgoing.sent_at.timestamp();
        let mut headers = self.headers.clone();
        let mut set = |name: HeaderName, value: String| {
            let value = HeaderValue::try_from(value).map_err(|error| SendError::Rejected {
                detail: format!("a header cannot be sent: {error}"),
            })?;
            headers.insert(name, value);
            Ok(())
        };
        set(CONTENT_TYPE, "application/json".to_owned())?;
        if let Some(signature) = self.signers.signature(&id, timestamp, body)? {
            set(HeaderName::from_static("webhook-signature"), signature)?;
        }
        set(HeaderName::from_static("webhook-id"), id)?;
        set(
            HeaderName::from_static("webhook-timestamp"),
            timestamp.to_string(),
        )?;
        Ok(headers)
    }

    async fn post(&self, url: Url, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let body = body(outgoing);
        let headers = self.headers(outgoing, &body)?;
        let origin = url.origin().ascii_serialization();
        let place = self.hosts.place(&origin).await.map_err(no_place)?;
        let request = self.client.post(url).headers(headers).body(body);
        let answer = timeout_at(Instant::now() + self.timeout, request.send()).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let reason = NoAnswer::of(&error);
                place.ended(matches!(reason, NoAnswer::Forbidden(_)));
                return Err(without_answer(reason));
            }
            Err(_elapsed) => {
                place.ended(false);
                let timeout = self.timeout;
                let detail = format!("no answer within {timeout:?}");
                return Err(SendError::Unknown { detail });
            }
        };
        place.ended(true);
        let status = response.status();
        let headers = response.headers().clone();
        let said = http::read_body(response, Instant::now() + BODY_TIMEOUT).await;
        answered(status, &headers, said, outgoing)
    }
}

#[async_trait]
impl Provider for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let address = outgoing.address.as_deref().unwrap_or_default();
        let url = self.guard.target(address)?;
        self.post(url, outgoing).await
    }
}

/// The body, as Standard Webhooks recommends it.
fn body(outgoing: &Outgoing) -> Vec<u8> {
    let message = &outgoing.message;
    let data = message.data.clone().unwrap_or_else(|| {
        let mut words = Map::new();
        if let Some(subject) = &message.subject {
            words.insert("subject".to_owned(), json!(subject));
        }
        words.insert("body".to_owned(), json!(message.body));
        Value::Object(words)
    });
    let timestamp = outgoing
        .created_at
        .to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({"type": outgoing.kind, "timestamp": timestamp, "data": data})
        .to_string()
        .into_bytes()
}

fn no_place(reason: NoPlace) -> SendError {
    match reason {
        NoPlace::Busy(after) => SendError::Busy {
            after,
            detail: "many messages to this host are under way",
        },
        NoPlace::Silent => SendError::Transient {
            detail: "the host has not answered lately, and one message is trying it".to_owned(),
        },
    }
}

fn without_answer(reason: NoAnswer) -> SendError {
    match reason {
        NoAnswer::Forbidden(forbidden) => SendError::Rejected {
            detail: forbidden.to_string(),
        },
        NoAnswer::NotConnected(why) => SendError::Transient {
            detail: why.to_owned(),
        },
        NoAnswer::Lost => SendError::Unknown {
            detail: "the connection ended without an answer".to_owned(),
        },
    }
}

fn answered(
    status: StatusCode,
    headers: &HeaderMap,
    said: Body,
    outgoing: &Outgoing,
) -> Result<Receipt, SendError> {
    let said = match said {
        Body::Read(text) => format!("{} {text}", status.as_u16()),
        // The endpoint may have failed in the middle of its work.
        Body::Cut if status.is_success() => {
            let detail = format!("{} and the connection ended in its body", status.as_u16());
            return Err(SendError::Unknown { detail });
        }
        Body::Cut => status.as_u16().to_string(),
    };
    match verdict(status, headers, outgoing.sent_at, said.trim_end()) {
        None => Ok(Receipt {
            status: ReceiptStatus::Delivered,
            provider_message_id: None,
            response: Some(said.trim_end().to_owned()),
        }),
        Some(error) => Err(error),
    }
}

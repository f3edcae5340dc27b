//! `scripted`: a provider for tests. It answers as told and remembers what it was given.
//!
//! It is part of the crate, not of a test module, because the tests of other crates send through
//! it. No configuration can choose it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::{Outgoing, Provider, Receipt, ReceiptStatus, SendError};

/// Answers as told, then accepts.
#[derive(Debug, Default)]
pub struct Scripted {
    script: Mutex<Script>,
    is_silent: bool,
}

#[derive(Debug, Default)]
struct Script {
    failures: VecDeque<SendError>,
    given: Vec<Outgoing>,
}

impl Scripted {
    /// Accepts everything.
    pub fn accepting() -> Self {
        Self::default()
    }

    /// Fails the first `times` sends with `error`, then accepts.
    pub fn failing(times: usize, error: SendError) -> Self {
        let failures = std::iter::repeat_n(error, times).collect();
        Self {
            script: Mutex::new(Script {
                failures,
                given: Vec::new(),
            }),
            is_silent: false,
        }
    }

    /// Takes the message and never answers.
    pub fn silent() -> Self {
        Self {
            is_silent: true,
            ..Self::default()
        }
    }

    /// What it was given so far, in order.
    pub fn given(&self) -> Vec<Outgoing> {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .given
            .clone()
    }

    fn answer(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.given.push(outgoing.clone());
        let number = script.given.len();
        script.failures.pop_front().map_or_else(
            || {
                let provider_message_id = Some(format!("scripted-{number}"));
                Ok(Receipt {
                    status: ReceiptStatus::Sent,
                    provider_message_id,
                    response: None,
                })
            },
            Err,
        )
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let answer = self.answer(outgoing);
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        answer
    }
}

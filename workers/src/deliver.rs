//! `deliver`: sends one message to one address through one provider.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | [`render`](crate::render), [`retry`](crate::retry), [`quiet_hours`](crate::quiet_hours), a replay |
//! | Queue | one per channel: `email`, `sms`, `in_app`, … |
//! | Attempts | per delivery, by [`RetryPolicies`](domain::RetryPolicies); the job's own 8 are for unexpected errors |
//! | Idempotency | the delivery id is the provider's key; text messages and calls are not repeated |
//!
//! A send that should be tried again ends this job and plans a `retry` job in the same settlement,
//! so that the history of a delivery is whole across providers. What has waited is held against the
//! user's [`wishes`] first, and [`throttle`](crate::throttle) holds the rate limits in front of this.
//! A test send goes to the outbox, whoever carries its channel. What a provider's answer leads to:
//!
//! | Answer | Attempt | Delivery | Next |
//! | --- | --- | --- | --- |
//! | receipt | `sent`, `delivered` | the same | |
//! | transient, throttled | `failed` | `retrying` | `retry`, after backoff or when the provider says |
//! | the last of those | `failed` | `failed` | dead letter `attempts_exhausted`, a stand-in |
//! | rejected, dead address | `rejected` | `failed` | dead letter `permanent`, a [stand-in](crate::stand_in) |
//! | unknown, sms and voice | `unknown` | `failed` | dead letter `outcome_unknown` |
//! | unknown, elsewhere | `unknown` | `retrying` | `retry`: the key tells the provider it is one |
//! | busy | | as it was | the same job, a moment later |
//! | not asked: over a rate limit | | as it was | the same job, when there is a slot |
//! | nobody to ask | | `failed` | dead letter `no_provider`, a stand-in |

use std::sync::Arc;
use std::time::Duration;

use channels::{Outbox, Outgoing, Provider, Receipt, ReceiptStatus, SendError};
use chrono::{DateTime, Utc};
use domain::{AttemptStatus, Channel, DeliveryId, Status, TraceStep};
use queue::{Failure, Job, LeaseInfo, Outcome};
use serde::{Deserialize, Serialize};
use store::effect::{DeliveryMove, NewAttempt, Stored};
use store::prepare::ToDeliver;
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::deliver_in_app;
use crate::delivery::{DeliveryFacts, OUTCOME_UNKNOWN};
use crate::loading::lined_up;
use crate::queues;
use crate::retry::Retry;
use crate::stand_in::give_up;
use crate::wishes;

pub(crate) const STEP: &str = "deliver";

/// The longest wait a provider can ask for. A month's partition must not wait for one answer.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Messages that this process has no place for come again within this time of each other.
const BUSY_SPREAD: Duration = Duration::from_secs(1);

/// Payload of a `deliver` job.
///
/// Carries an id, not a message: rows are small, and a person's data stays in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The delivery that is sent.
    pub delivery_id: DeliveryId,
}

impl Job for Deliver {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "deliver";
}

/// Loads the deliveries of a claim; without the message in-app, where nobody is handed it.
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[Deliver],
) -> Result<Vec<Option<Arc<ToDeliver>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.delivery_id).collect();
    let shelf = cx.catalog.latest();
    let again = wishes::ask_again(cx.clock.now(), shelf.consent());
    let rows = store::prepare::load_for_deliver(connection, &ids, Some(again)).await?;
    Ok(lined_up(&ids, rows, |row| row.id))
}

pub(crate) async fn run(
    job: Deliver,
    loaded: Option<&ToDeliver>,
    cx: &Context,
    lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(row) = loaded else {
        tracing::warn!(delivery.id = %job.delivery_id, "nothing to deliver, the row is gone");
        return Ok(Outcome::cancelled());
    };
    let now = cx.clock.now();
    let delivery = facts(row);
    if delivery.is_over() {
        return Ok(Outcome::completed());
    }
    if delivery.has_expired(now) {
        return Ok(delivery.expired(STEP, now));
    }
    let category = row.category.as_deref();
    if let Some(held) = wishes::held(&delivery, category, row.wishes.as_ref(), STEP, now) {
        return Ok(held);
    }
    if row.channel == Channel::InApp && !row.is_test {
        return Ok(deliver_in_app::arrived(row, now));
    }
    Ok(send(row, cx, lease).await)
}

/// Sends, unless it would be a repeat that nobody can take back.
async fn send(row: &ToDeliver, cx: &Context, lease: LeaseInfo) -> Outcome<Effect> {
    let started_at = cx.clock.now();
    let provider: Option<&dyn Provider> = if row.is_test {
        Some(&Outbox)
    } else {
        cx.channels.provider(row.channel)
    };
    let Some(provider) = provider else {
        let error = format!("no provider carries {}", row.channel);
        return give_up(row, STEP, "no_provider", &error, None, started_at);
    };
    let Some(message) = row.message.clone() else {
        let error = "the delivery has no rendered message";
        return give_up(row, STEP, "permanent", error, None, started_at);
    };
    let mut attempt = Attempt {
        row,
        provider: provider.name(),
        started_at,
        finished_at: started_at,
    };
    if is_heard_once(row.channel) && lease.is_uncertain() {
        let detail = "an earlier run ended without an answer, so it may have gone out".to_owned();
        return attempt.ended(&SendError::Unknown { detail }, cx);
    }
    let outgoing = Outgoing {
        delivery_id: row.id,
        channel: row.channel,
        address: row.address.clone(),
        message,
        kind: row.kind.clone(),
        created_at: row.created_at,
        sent_at: started_at,
    };
    let answer = cx.channels.send(provider, &outgoing).await;
    attempt.finished_at = cx.clock.now();
    match answer {
        Ok(receipt) => attempt.accepted(receipt),
        Err(error) => attempt.ended(&error, cx),
    }
}

/// Whether a repeat reaches a person who cannot be spared it: no provider of text messages or
/// calls recognises one.
pub(crate) fn is_heard_once(channel: Channel) -> bool {
    matches!(channel, Channel::Sms | Channel::Voice)
}

/// One try of one provider, on the way to its outcome.
struct Attempt<'a> {
    row: &'a ToDeliver,
    provider: &'static str,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

impl Attempt<'_> {
    /// Counted on the delivery, across providers and jobs.
    fn number(&self) -> u16 {
        self.row.attempts.saturating_add(1)
    }

    fn accepted(&self, receipt: Receipt) -> Outcome<Effect> {
        let (attempt, status) = match receipt.status {
            ReceiptStatus::Sent => (AttemptStatus::Sent, Status::Sent),
            ReceiptStatus::Delivered => (AttemptStatus::Delivered, Status::Delivered),
        };
        let moved = DeliveryMove {
            provider: Some(self.provider.to_owned()),
            ..facts(self.row).moved(status, self.finished_at)
        };
        let accepted = Outcome::completed()
            .with(self.recorded(attempt, None, Some(receipt)))
            .with(Effect::DeliveryMoved(moved));
        if self.provider == Outbox::NAME {
            accepted.with(self.stored())
        } else {
            accepted
        }
    }

    /// Sent to nobody, and listed where it can be read.
    fn stored(&self) -> Effect {
        Effect::OutboxStored(Stored {
            delivery_id: self.row.id,
            tenant_id: self.row.tenant_id.clone(),
            user_id: self.row.user_id.clone(),
            channel: self.row.channel,
            at: self.finished_at,
        })
    }

    /// What follows from a send that was not accepted.
    fn ended(&self, error: &SendError, cx: &Context) -> Outcome<Effect> {
        let policy = cx.retries.of(self.row.channel);
        let backoff = policy.delay(self.number(), cx.chance());
        match error {
            // Nothing was tried, so nothing is recorded.
            SendError::Busy { after, .. } => {
                let spread = BUSY_SPREAD.mul_f64(cx.chance());
                Outcome::snoozed(self.finished_at + *after + spread)
            }
            SendError::Rejected { .. } | SendError::AddressDead { .. } => {
                self.failed(AttemptStatus::Rejected, "permanent", error)
            }
            SendError::Unknown { .. } if is_heard_once(self.row.channel) => {
                self.failed(AttemptStatus::Unknown, OUTCOME_UNKNOWN, error)
            }
            SendError::Unknown { .. } => self.retried(AttemptStatus::Unknown, error, backoff),
            SendError::Transient { .. } => self.retried(AttemptStatus::Failed, error, backoff),
            SendError::Throttled { retry_after, .. } => {
                let asked = retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
                let wait = backoff.map(|backoff| asked.unwrap_or(backoff));
                self.retried(AttemptStatus::Failed, error, wait)
            }
        }
    }

    /// Plans the next try; without a `wait` this was the last one.
    fn retried(
        &self,
        status: AttemptStatus,
        error: &SendError,
        wait: Option<Duration>,
    ) -> Outcome<Effect> {
        let Some(wait) = wait else {
            return self.failed(status, "attempts_exhausted", error);
        };
        let delivery = facts(self.row);
        let due = self.finished_at + wait;
        let next = delivery
            .job(
                queues::RETRY,
                &Retry {
                    delivery_id: self.row.id,
                },
                self.finished_at,
            )
            .run_at(Some(due));
        let moved = DeliveryMove {
            provider: Some(self.provider.to_owned()),
            error: Some(said(error)),
            job_id: Some(next.job_id.as_uuid()),
            ..delivery.moved(Status::Retrying, self.finished_at)
        };
        let reason = format!("{}; again at {}", said(error), due.format("%FT%TZ"));
        Outcome::completed()
            .with(self.recorded(status, Some(error), None))
            .with(Effect::DeliveryMoved(moved))
            .with(delivery.traced(self.finished_at, TraceStep::new(STEP, "retry", reason)))
            .then(next)
    }

    fn failed(&self, status: AttemptStatus, reason: &str, error: &SendError) -> Outcome<Effect> {
        let failed = give_up(
            self.row,
            STEP,
            reason,
            &said(error),
            Some(self.provider),
            self.finished_at,
        );
        failed.with(self.recorded(status, Some(error), None))
    }

    fn recorded(
        &self,
        status: AttemptStatus,
        error: Option<&SendError>,
        receipt: Option<Receipt>,
    ) -> Effect {
        let (provider_message_id, response) = receipt.map_or((None, None), |receipt| {
            (receipt.provider_message_id, receipt.response)
        });
        Effect::Attempted(NewAttempt {
            delivery_id: self.row.id,
            number: self.number(),
            provider: self.provider.to_owned(),
            status,
            error: error.map(said),
            provider_message_id,
            response,
            started_at: self.started_at,
            finished_at: self.finished_at,
        })
    }
}

/// What the provider said, in the length and characters a row can hold.
fn said(error: &SendError) -> String {
    queue::storable(&error.to_string())
}

pub(crate) fn facts(row: &ToDeliver) -> DeliveryFacts<'_> {
    DeliveryFacts {
        id: row.id,
        notification_id: row.notification_id,
        tenant_id: &row.tenant_id,
        user_id: &row.user_id,
        channel: row.channel,
        address: row.address.as_deref(),
        status: row.status,
        priority: row.priority,
        expires_at: row.expires_at,
        is_sole: row.is_sole,
    }
}

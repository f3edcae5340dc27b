//! `retry`: the wait is over; decides how a delivery is tried again.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | [`deliver`], due after the backoff |
//! | Queue | `retry` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | sends nothing; the next `deliver` job is written with this one's ending |
//!
//! A job of its own, because what to do next is decided when the wait is over, not when it began:
//! by then the delivery may have been cancelled, have expired, or have another way to go. The way
//! is the same provider again.

use std::sync::Arc;

use domain::{DeliveryId, Status};
use queue::{Failure, Job, LeaseInfo, Outcome};
use serde::{Deserialize, Serialize};
use store::effect::DeliveryMove;
use store::prepare::ToDeliver;
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::deliver::{self, Deliver};
use crate::loading::lined_up;
use crate::queues;

const STEP: &str = "retry";

/// Payload of a `retry` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The delivery whose wait is over.
    pub delivery_id: DeliveryId,
}

impl Job for Retry {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "retry";
}

/// Loads the deliveries of a claim.
pub(crate) async fn prepare(
    connection: &mut Connection,
    _cx: &Context,
    jobs: &[Retry],
) -> Result<Vec<Option<Arc<ToDeliver>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.delivery_id).collect();
    let rows = store::prepare::load_for_deliver(connection, &ids, None).await?;
    Ok(lined_up(&ids, rows, |row| row.id))
}

pub(crate) async fn run(
    job: Retry,
    loaded: Option<&ToDeliver>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(row) = loaded else {
        tracing::warn!(delivery.id = %job.delivery_id, "nothing to retry, the row is gone");
        return Ok(Outcome::cancelled());
    };
    let now = cx.clock.now();
    let delivery = deliver::facts(row);
    if delivery.is_over() {
        return Ok(Outcome::completed());
    }
    if delivery.has_expired(now) {
        return Ok(delivery.expired(STEP, now));
    }
    let next = delivery.job(
        queues::of(row.channel),
        &Deliver {
            delivery_id: row.id,
        },
        now,
    );
    let moved = DeliveryMove {
        job_id: Some(next.job_id.as_uuid()),
        ..delivery.moved(Status::Retrying, now)
    };
    Ok(Outcome::completed()
        .with(Effect::DeliveryMoved(moved))
        .then(next))
}

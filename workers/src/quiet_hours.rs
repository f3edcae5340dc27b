//! `quiet_hours`: the quiet hours that held a delivery back should be over; sends it on its way.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | [`route`](crate::route), [`render`](mod@crate::render), [`deliver`](mod@crate::deliver), itself; due at the end of the window |
//! | Queue | `quiet_hours` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | sends nothing; the next job is written with this one's ending |
//!
//! A deferral is a job, and what it was planned for is decided when it is due, by the row, the
//! preferences and the zone as they are then: it may have been cancelled, have expired, no longer be
//! wanted, or still be held back, by a window that ends later by now; then it waits again.
//! Preferences that change wake the jobs of their user ([`wake_held`]), and the digests that quiet
//! hours gather for them, so that nobody waits for the end of quiet hours that are off.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{DeliveryId, Quiet, Status, TenantId, TraceStep, UserId};
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::deliveries::list_waiting_jobs;
use store::effect::DeliveryMove;
use store::prepare::{AskAgain, ToDeliver};
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::deliver::{self, Deliver};
use crate::delivery::DeliveryFacts;
use crate::loading::lined_up;
use crate::render::Render;
use crate::{batch_flush, queues, wishes};

const STEP: &str = "quiet_hours";

/// Payload of a `quiet_hours` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// The delivery that is held back.
    pub delivery_id: DeliveryId,
}

impl Job for QuietHours {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "quiet_hours";
}

/// How a delivery is held back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deferred {
    /// `pending` for one that is being planned; later it stays what it is.
    pub(crate) status: Status,
    pub(crate) job: NewJob,
    pub(crate) step: TraceStep,
}

/// Holds a delivery back until `quiet` is over, as `step` decided.
///
/// One that expires before that is looked at when it does, so that it is told in time.
pub(crate) fn defer(
    delivery: &DeliveryFacts<'_>,
    quiet: &Quiet,
    step: &'static str,
    now: DateTime<Utc>,
) -> Deferred {
    let due = delivery
        .expires_at
        .map_or(quiet.until, |expires_at| expires_at.min(quiet.until));
    let job = QuietHours {
        delivery_id: delivery.id,
    };
    Deferred {
        status: delivery.status,
        job: delivery
            .job(queues::QUIET_HOURS, &job, now)
            .run_at(Some(due)),
        step: quiet.step(step, delivery.channel),
    }
}

/// Loads the deliveries of a claim, and what their users want by now.
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[QuietHours],
) -> Result<Vec<Option<Arc<ToDeliver>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.delivery_id).collect();
    let shelf = cx.catalog.latest();
    // All of it has waited, however short the quiet hours were.
    let again = AskAgain {
        waited_since: cx.clock.now(),
        asked: shelf.consent(),
    };
    let rows = store::prepare::load_for_deliver(connection, &ids, Some(again)).await?;
    Ok(lined_up(&ids, rows, |row| row.id))
}

pub(crate) async fn run(
    job: QuietHours,
    loaded: Option<&ToDeliver>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(row) = loaded else {
        tracing::warn!(delivery.id = %job.delivery_id, "nothing was held back, the row is gone");
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
    let category = row.category.as_deref();
    if let Some(held) = wishes::held(&delivery, category, row.wishes.as_ref(), STEP, now) {
        return Ok(held);
    }
    Ok(released(row, now))
}

/// Goes on where it was held back.
fn released(row: &ToDeliver, now: DateTime<Utc>) -> Outcome<Effect> {
    let delivery = deliver::facts(row);
    let delivery_id = row.id;
    let next = if row.is_rendered {
        delivery.job(queues::of(row.channel), &Deliver { delivery_id }, now)
    } else {
        delivery.job(queues::RENDER, &Render { delivery_id }, now)
    };
    let status = match row.status {
        Status::Pending => Status::Queued,
        further => further,
    };
    let moved = DeliveryMove {
        job_id: Some(next.job_id.as_uuid()),
        ..delivery.moved(status, now)
    };
    let over = TraceStep::new(STEP, "over", "it is not quiet any more")
        .with_detail(json!({"channel": row.channel}));
    Outcome::completed()
        .with(Effect::DeliveryMoved(moved))
        .with(delivery.decided(now, over))
        .then(next)
}

/// The queues that [`wake_held`] has made jobs due in.
pub const WOKEN: [&str; 2] = [queues::QUIET_HOURS, queues::BATCH_FLUSH];

/// Has what is held back from a user looked at again, in the transaction that changes their wishes.
/// Ring [`queue::JOBS_AVAILABLE`] with [`WOKEN`] afterwards.
pub async fn wake_held(
    db: &mut Connection,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let jobs = list_waiting_jobs(db, tenant_id, user_id, now).await?;
    let jobs: Vec<_> = jobs.into_iter().map(JobId).collect();
    queue::control::hasten(db, &jobs, QuietHours::KIND)
        .await
        .map_err(|source| StoreError::Database {
            operation: "wake what quiet hours hold back",
            source,
        })?;
    batch_flush::wake_quiet(db, tenant_id, user_id, now).await
}

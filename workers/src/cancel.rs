//! Cancel: an operator takes back a job that waits, and what it was about is cancelled with it, in
//! one transaction.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, Status, TraceStep};
use queue::control::{self, Cancelled};
use queue::{Job, JobId};
use serde::Deserialize;
use serde_json::Value;
use store::settlement::apply;
use store::{Connection, Effect, Store, StoreError};

use crate::burial::unrouted;
use crate::deliver::{self, Deliver};
use crate::render::Render;
use crate::retry::Retry;
use crate::route::Route;

/// Why a job could not be cancelled. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("could not cancel the job")]
    Queue(#[source] queue::DatabaseError),
    #[error("could not cancel what the job is about")]
    Store(#[source] StoreError),
}

/// Cancels a job that is not running, with what it is about.
///
/// A delivery becomes `cancelled`, and its notification as the sum of its deliveries. A direct send
/// that was not routed yet is cancelled itself. An event has no status: its trace says that it led
/// to nothing.
pub async fn cancel(
    store: &Store,
    job_id: JobId,
    now: DateTime<Utc>,
) -> Result<Cancelled, CancelError> {
    let mut tx = store.begin().await.map_err(CancelError::Store)?;
    let job = control::find_job(&mut tx, job_id)
        .await
        .map_err(CancelError::Queue)?;
    // The row decides: between being looked at and being deleted the job may have been claimed.
    let cancelled = control::cancel(&mut tx, job_id)
        .await
        .map_err(CancelError::Queue)?;
    if let (Cancelled::Done, Some(job)) = (cancelled, job) {
        let effects = effects_of(&mut tx, &job.kind, &job.payload, now)
            .await
            .map_err(CancelError::Store)?;
        apply(&mut tx, &effects).await.map_err(CancelError::Queue)?;
    }
    tx.commit().await.map_err(CancelError::Store)?;
    Ok(cancelled)
}

/// The row changes that go with the end of a job of `kind`. None for a payload that names no row.
async fn effects_of(
    connection: &mut Connection,
    kind: &str,
    payload: &Value,
    at: DateTime<Utc>,
) -> Result<Vec<Effect>, StoreError> {
    let delivery_id = match kind {
        Render::KIND => Render::deserialize(payload).ok().map(|job| job.delivery_id),
        Deliver::KIND => Deliver::deserialize(payload)
            .ok()
            .map(|job| job.delivery_id),
        Retry::KIND => Retry::deserialize(payload).ok().map(|job| job.delivery_id),
        Route::KIND => {
            let job = Route::deserialize(payload).ok();
            let step = step(Route::KIND);
            return Ok(job.map_or_else(Vec::new, |job| unrouted(job, Status::Cancelled, step, at)));
        }
        _ => None,
    };
    match delivery_id {
        Some(id) => undelivered(connection, kind, id, at).await,
        None => Ok(Vec::new()),
    }
}

fn step(kind: &str) -> TraceStep {
    TraceStep::new(kind, "cancelled", "an operator cancelled the job")
}

/// Nothing for a delivery whose row is gone.
async fn undelivered(
    connection: &mut Connection,
    kind: &str,
    id: DeliveryId,
    at: DateTime<Utc>,
) -> Result<Vec<Effect>, StoreError> {
    let rows = store::prepare::load_for_deliver(connection, &[id]).await?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let delivery = deliver::facts(row);
    let moved = delivery.moved(Status::Cancelled, at);
    Ok(vec![
        Effect::DeliveryMoved(moved),
        delivery.traced(at, step(kind)),
    ])
}

//! Cancel: an operator takes back a job that waits, and what it was about is cancelled with it, in
//! one transaction.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, ReplayState, Status, TraceStep};
use queue::control::{self, Cancelled};
use queue::{Job, JobId};
use serde_json::Value;
use store::digests::Held;
use store::effect::DeliveryMove;
use store::settlement::apply;
use store::{Connection, Effect, StoreError};

use crate::burial::{unrouted, untold};
use crate::deliver;
use crate::route::Route;
use crate::subject::Subject;

/// Why a job could not be cancelled. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("could not cancel the job")]
    Queue(#[source] queue::DatabaseError),
    #[error("could not cancel what the job is about")]
    Store(#[source] StoreError),
}

/// Cancels a job that is not running, with what it is about, in the caller's transaction.
///
/// A delivery becomes `cancelled`, and its notification as the sum of its deliveries. A direct send
/// that was not routed yet is cancelled itself. An event has no status: its trace says that it led
/// to nothing. A digest is cancelled with what it holds.
pub async fn cancel(
    db: &mut Connection,
    job_id: JobId,
    now: DateTime<Utc>,
) -> Result<Cancelled, CancelError> {
    let job = control::find_job(db, job_id)
        .await
        .map_err(CancelError::Queue)?;
    // The row decides: between being looked at and being deleted the job may have been claimed.
    let cancelled = control::cancel(db, job_id)
        .await
        .map_err(CancelError::Queue)?;
    if let (Cancelled::Done, Some(job)) = (cancelled, job) {
        let effects = effects_of(db, &job.kind, &job.payload, now)
            .await
            .map_err(CancelError::Store)?;
        apply(db, &effects).await.map_err(CancelError::Queue)?;
    }
    Ok(cancelled)
}

/// The row changes that go with the end of a job of `kind`. None for a payload that names no row.
async fn effects_of(
    connection: &mut Connection,
    kind: &str,
    payload: &Value,
    at: DateTime<Utc>,
) -> Result<Vec<Effect>, StoreError> {
    let unrouted = |job| Ok(unrouted(job, Status::Cancelled, step(Route::KIND), at));
    match Subject::of(kind, payload) {
        Some(Subject::Delivery(id)) => undelivered(connection, kind, id, at).await,
        Some(Subject::Notification(notification_id)) => {
            unrouted(Route::Notification { notification_id })
        }
        Some(Subject::Event(event_id)) => unrouted(Route::Event { event_id }),
        Some(Subject::Digest(id)) => {
            // The digest is locked before its deliveries, as in a settlement.
            store::digests::cancel_digest(connection, id, at).await?;
            let found = store::digests::list_to_tell(connection, &[id]).await?;
            let held = found.into_iter().flat_map(|it| it.held);
            let mut effects: Vec<_> = held.map(|held| unheld(&held, at)).collect();
            effects.extend(untold(id, step(kind), at));
            Ok(effects)
        }
        Some(Subject::Replay(replay_id)) => Ok(vec![Effect::ReplayEnded {
            replay_id,
            state: ReplayState::Cancelled,
            at,
        }]),
        None => Ok(Vec::new()),
    }
}

fn step(kind: &str) -> TraceStep {
    TraceStep::new(
        kind.to_owned(),
        "cancelled",
        "an operator cancelled the job",
    )
}

/// The end of a delivery that quiet hours held back for a digest.
fn unheld(held: &Held, at: DateTime<Utc>) -> Effect {
    Effect::DeliveryMoved(DeliveryMove {
        id: held.delivery_id,
        notification_id: Some(held.notification_id),
        status: Status::Cancelled,
        provider: None,
        error: Some("an operator cancelled the digest that was to tell it".to_owned()),
        job_id: None,
        at,
        is_sole: held.is_sole,
    })
}

/// Nothing for a delivery whose row is gone.
async fn undelivered(
    connection: &mut Connection,
    kind: &str,
    id: DeliveryId,
    at: DateTime<Utc>,
) -> Result<Vec<Effect>, StoreError> {
    let rows = store::prepare::load_for_deliver(connection, &[id], None).await?;
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

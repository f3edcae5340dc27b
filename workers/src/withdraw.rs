//! Withdraw: whoever sent a notification takes it back before it goes out.
//!
//! What still waits is cancelled, with its jobs, in the caller's transaction. Jobs are locked before
//! deliveries, as a settlement does it: a job that waits cannot be claimed then, and one that runs is
//! what `sending` means, so that nothing is changed at all.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use domain::{NotificationId, Status, TenantId, TraceStep};
use queue::{JobId, control, discard};
use store::deliveries::{Delivery, list_deliveries};
use store::notifications::find_notification;
use store::settlement::apply;
use store::{Connection, Effect, StoreError};

use crate::burial::unrouted;
use crate::cancel::CancelError;
use crate::deliver;
use crate::route::Route;

const STEP: &str = "cancel";
const REASON: &str = "whoever sent it took it back";

/// How often what has moved on is looked at again, before it counts as being sent.
const LOOKS_MAX: usize = 4;

/// What became of a wish to take a notification back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// What still waited is cancelled; what had been sent before stays so.
    Done,
    /// It was cancelled before.
    Already,
    /// Something of it is being worked on at this moment. Nothing has changed.
    Sending,
    /// Nothing of it waits any more: it has ended as this.
    TooLate(Status),
    /// There is no such notification of this tenant.
    Absent,
}

/// Cancels what still waits of a notification, in the caller's transaction. Roll back unless it
/// answers [`Withdrawn::Done`].
pub async fn withdraw(
    db: &mut Connection,
    tenant_id: &TenantId,
    id: NotificationId,
    at: DateTime<Utc>,
) -> Result<Withdrawn, CancelError> {
    for _ in 0..LOOKS_MAX {
        let found = find_notification(db, tenant_id, id)
            .await
            .map_err(CancelError::Store)?;
        let Some(notification) = found else {
            return Ok(Withdrawn::Absent);
        };
        let waiting = waiting(db, id).await?;
        let looked_at = if !waiting.is_empty() {
            withdraw_deliveries(db, id, &waiting, at).await?
        } else if notification.status == Status::Pending {
            withdraw_unrouted(db, tenant_id, id, at).await?
        } else if notification.status == Status::Cancelled {
            Some(Withdrawn::Already)
        } else {
            Some(Withdrawn::TooLate(notification.status))
        };
        if let Some(withdrawn) = looked_at {
            return Ok(withdrawn);
        }
    }
    Ok(Withdrawn::Sending)
}

/// The deliveries that are still to be sent.
async fn waiting(db: &mut Connection, id: NotificationId) -> Result<Vec<Delivery>, CancelError> {
    let mut deliveries = list_deliveries(db, &[id])
        .await
        .map_err(CancelError::Store)?;
    deliveries.retain(|delivery| is_waiting(delivery.status));
    Ok(deliveries)
}

fn is_waiting(status: Status) -> bool {
    matches!(
        status,
        Status::Pending | Status::Queued | Status::Sending | Status::Retrying
    )
}

/// `None` if they have moved on meanwhile.
async fn withdraw_deliveries(
    db: &mut Connection,
    id: NotificationId,
    waiting_before: &[Delivery],
    at: DateTime<Utc>,
) -> Result<Option<Withdrawn>, CancelError> {
    let jobs: Vec<JobId> = waiting_before
        .iter()
        .filter_map(|delivery| delivery.job_id.map(JobId))
        .collect();
    if lock(db, &jobs).await?.is_running {
        return Ok(Some(Withdrawn::Sending));
    }
    // A settlement that held one of the jobs has committed by now, and named the next one.
    let place = |delivery: &Delivery| (delivery.id, delivery.job_id);
    let before: HashSet<_> = waiting_before.iter().map(place).collect();
    let now: HashSet<_> = waiting(db, id).await?.iter().map(place).collect();
    if before != now {
        return Ok(None);
    }
    discard::waiting(db, &jobs)
        .await
        .map_err(CancelError::Queue)?;
    let ids: Vec<_> = waiting_before.iter().map(|delivery| delivery.id).collect();
    let rows = store::prepare::load_for_deliver(db, &ids, None)
        .await
        .map_err(CancelError::Store)?;
    let effects: Vec<Effect> = rows
        .iter()
        .map(deliver::facts)
        .flat_map(|delivery| {
            let moved = delivery.moved(Status::Cancelled, at);
            [Effect::DeliveryMoved(moved), delivery.traced(at, step())]
        })
        .collect();
    apply(db, &effects).await.map_err(CancelError::Queue)?;
    Ok(Some(Withdrawn::Done))
}

/// A direct send that was not routed: its job carries its id. `None` if it was routed meanwhile.
async fn withdraw_unrouted(
    db: &mut Connection,
    tenant_id: &TenantId,
    id: NotificationId,
    at: DateTime<Utc>,
) -> Result<Option<Withdrawn>, CancelError> {
    let job = JobId(id.as_uuid());
    let locked = lock(db, &[job]).await?;
    if locked.is_running {
        return Ok(Some(Withdrawn::Sending));
    }
    let is_pending = find_notification(db, tenant_id, id)
        .await
        .map_err(CancelError::Store)?
        .is_some_and(|notification| notification.status == Status::Pending);
    if !is_pending || !locked.is_there {
        return Ok(None);
    }
    discard::waiting(db, &[job])
        .await
        .map_err(CancelError::Queue)?;
    let notification_id = id;
    let effects = unrouted(
        Route::Notification { notification_id },
        Status::Cancelled,
        step(),
        at,
    );
    apply(db, &effects).await.map_err(CancelError::Queue)?;
    Ok(Some(Withdrawn::Done))
}

struct Jobs {
    is_there: bool,
    is_running: bool,
}

async fn lock(db: &mut Connection, ids: &[JobId]) -> Result<Jobs, CancelError> {
    let locked = control::lock(db, ids).await.map_err(CancelError::Queue)?;
    Ok(Jobs {
        is_there: !locked.is_empty(),
        is_running: locked.iter().any(|job| job.is_running),
    })
}

fn step() -> TraceStep {
    TraceStep::new(STEP, "cancelled", REASON)
}

impl From<CancelError> for StoreError {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Queue(source) => Self::Database {
                operation: "cancel a job",
                source,
            },
            CancelError::Store(error) => error,
        }
    }
}

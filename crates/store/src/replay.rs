//! What a replayed dead letter means to our rows: what it was about is open again.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, NotificationId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::during;
use crate::{StoreError, stats};

/// A delivery whose job an operator has replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopened {
    pub delivery_id: DeliveryId,
    /// The job that works on it again.
    pub job_id: Uuid,
}

/// Reopens deliveries that have `failed`, and their notifications, in the transaction that makes
/// the jobs available again.
///
/// The one way back in the status lattice: `failed` says that nobody will try again, and an operator
/// has just said the contrary. What was delivered meanwhile, cancelled or expired stays as it is.
/// Attempts with the provider go on counting, so a send whose attempts were used up gets one more
/// per replay.
pub async fn reopen_deliveries(
    connection: &mut PgConnection,
    reopened: &[Reopened],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut sorted = reopened.to_vec();
    // Like every writer of deliveries: in key order, so that no two wait for each other.
    sorted.sort_unstable_by_key(|row| row.delivery_id);
    let ids: Vec<Uuid> = sorted.iter().map(|row| row.delivery_id.as_uuid()).collect();
    let jobs: Vec<Uuid> = sorted.iter().map(|row| row.job_id).collect();
    let reopened = sqlx::query_scalar!(
        "with locked as materialized (
             select delivery.id from deliveries as delivery
             where delivery.id = any($1) and delivery.status = 'failed'
             order by delivery.id
             for update
         ), reopened as (
             update deliveries as delivery
             set status = 'queued', error = null, job_id = replay.job_id, updated_at = $3
             from unnest($1::uuid[], $2::uuid[]) as replay (id, job_id), locked
             where delivery.id = replay.id and locked.id = replay.id
             returning delivery.id, delivery.notification_id
         ), notified as (
             update notifications as notification
             set status = 'queued', updated_at = $3
             where notification.id in (select notification_id from reopened)
         )
         select id from reopened",
        &ids,
        &jobs,
        now,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("reopen deliveries"))?;
    stats::reopened(connection, &reopened).await
}

/// Reopens direct sends that failed before they were routed, in the transaction that makes their
/// `route` jobs available again: only what is `pending` is routed.
pub async fn reopen_notifications(
    connection: &mut PgConnection,
    ids: &[NotificationId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        "update notifications as notification
         set status = 'pending', updated_at = $2
         where notification.id = any($1)
           and notification.status = 'failed' and notification.delivery_count = 0",
        &ids,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("reopen notifications"))?;
    Ok(())
}

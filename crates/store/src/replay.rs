//! What a replayed dead letter means to our rows: what it was about is open again.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::{DeliveryId, NotificationId, Status};
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

/// Reopens deliveries that have `failed` or expired, and their notifications, in the transaction
/// that makes the jobs available again. Answers the notifications, each once.
///
/// The one way back in the status lattice: `failed` says that nobody will try again, and an operator
/// has just said the contrary. What was delivered meanwhile or cancelled stays as it is. Attempts
/// with the provider go on counting, so a send whose attempts were used up gets one more per replay.
pub async fn reopen_deliveries(
    connection: &mut PgConnection,
    reopened: &[Reopened],
    now: DateTime<Utc>,
) -> Result<Vec<NotificationId>, StoreError> {
    let mut sorted = reopened.to_vec();
    // Like every writer of deliveries: in key order, so that no two wait for each other.
    sorted.sort_unstable_by_key(|row| row.delivery_id);
    let ids: Vec<Uuid> = sorted.iter().map(|row| row.delivery_id.as_uuid()).collect();
    let jobs: Vec<Uuid> = sorted.iter().map(|row| row.job_id).collect();
    let rows = sqlx::query!(
        r#"
        with locked as materialized (
            select delivery.id, delivery.status, replay.job_id
            from unnest($1::uuid[], $2::uuid[]) as replay (id, job_id)
            join deliveries as delivery on delivery.id = replay.id
            where delivery.status in ('pending', 'queued', 'retrying', 'failed', 'expired')
            order by delivery.id
            for no key update of delivery
        )
        update deliveries as delivery
        set status = case when delivery.status in ('failed', 'expired') then 'queued'
                          else delivery.status end,
            error = null, job_id = locked.job_id, updated_at = $3
        from locked
        where delivery.id = locked.id
        returning delivery.id, delivery.notification_id, locked.status as "was!"
        "#,
        &ids,
        &jobs,
        now,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("reopen deliveries"))?;
    let ids: BTreeSet<Uuid> = rows.iter().map(|row| row.notification_id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    sqlx::query!(
        "with locked as materialized (
             select notification.id
             from unnest($1::uuid[]) as reopened (id)
             join notifications as notification on notification.id = reopened.id
             order by notification.id
             for no key update of notification
         )
         update notifications as notification
         set status = 'queued', updated_at = $2
         from locked
         where notification.id = locked.id
           and notification.status not in ('pending', 'queued', 'retrying')",
        &ids,
        now,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("reopen notifications of deliveries"))?;
    let ended: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.was.as_str() {
            "failed" => Some((row.id, Status::Failed)),
            "expired" => Some((row.id, Status::Expired)),
            _ => None,
        })
        .collect();
    stats::reopened(connection, &ended).await?;
    Ok(ids.into_iter().map(NotificationId::from).collect())
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
           and notification.status in ('failed', 'expired') and notification.delivery_count = 0",
        &ids,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("reopen notifications"))?;
    Ok(())
}

/// Lifts the `expires_at` of notifications that an operator wants sent although it has passed:
/// every step on their way would stop them otherwise.
pub async fn lift_expiry(
    connection: &mut PgConnection,
    ids: &[NotificationId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    ids.sort_unstable();
    sqlx::query!(
        "with locked as materialized (
             select notification.id
             from unnest($1::uuid[]) as lifted (id)
             join notifications as notification on notification.id = lifted.id
             order by notification.id
             for no key update of notification
         )
         update notifications as notification
         set expires_at = null, updated_at = $2
         from locked
         where notification.id = locked.id and notification.expires_at <= $2",
        &ids,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("lift the expiry of notifications"))?;
    Ok(())
}

//! What jobs are about: whose it is, and whether there is still anything to do about it.
//!
//! A job names its event, its notification, its delivery or its digest, and nothing else. Who asks on behalf of
//! a tenant, or wants to run a job again, has to look there.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{DeliveryId, DigestId, EventId, NotificationId, Status, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// A delivery, or a direct send without any, that a job is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Of the delivery, or of the direct send.
    pub id: Uuid,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub status: Status,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Ids of what some jobs are about, by table.
#[derive(Debug, Clone, Default)]
pub struct SubjectIds {
    pub deliveries: Vec<DeliveryId>,
    pub notifications: Vec<NotificationId>,
    pub events: Vec<EventId>,
    pub digests: Vec<DigestId>,
}

/// Finds whose these are, in one statement. What is gone is left out.
pub async fn list_owners(
    connection: &mut PgConnection,
    ids: &SubjectIds,
) -> Result<HashMap<Uuid, TenantId>, StoreError> {
    let deliveries: Vec<_> = ids.deliveries.iter().map(|id| id.as_uuid()).collect();
    let notifications: Vec<_> = ids.notifications.iter().map(|id| id.as_uuid()).collect();
    let events: Vec<_> = ids.events.iter().map(|id| id.as_uuid()).collect();
    let digests: Vec<_> = ids.digests.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id as "id!", delivery.tenant_id as "tenant_id!"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        union all
        select notification.id, notification.tenant_id
        from unnest($2::uuid[]) as wanted (id)
        join notifications as notification on notification.id = wanted.id
        union all
        select event.id, event.tenant_id
        from unnest($3::uuid[]) as wanted (id)
        join events as event on event.id = wanted.id
        union all
        select digest.digest_id, digest.tenant_id
        from unnest($4::uuid[]) as wanted (id)
        join digests as digest on digest.digest_id = wanted.id
        "#,
        &deliveries,
        &notifications,
        &events,
        &digests,
    )
    .fetch_all(connection)
    .await
    .map_err(during("see whose jobs they are"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.tenant_id.into()))
        .collect())
}

/// Locks deliveries in the order of their ids, and reads where they stand. What is gone is left
/// out.
///
/// They are locked before their notifications are joined: sorting what a planner without statistics
/// expects of that join seemed dearer to it than reading the whole index in order, for 1.4 s.
pub async fn lock_deliveries(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
) -> Result<Vec<Subject>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        with locked as materialized (
            select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.status
            from unnest($1::uuid[]) as wanted (id)
            join deliveries as delivery on delivery.id = wanted.id
            order by delivery.id
            for no key update of delivery
        )
        select locked.id, locked.notification_id, locked.tenant_id, locked.status,
               notification.expires_at
        from locked
        join notifications as notification on notification.id = locked.notification_id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("lock deliveries"))?;
    let read = |row: &str| Status::parse(row).ok_or_else(|| unknown_word("deliveries", row));
    rows.into_iter()
        .map(|row| {
            Ok(Subject {
                id: row.id,
                notification_id: row.notification_id.into(),
                tenant_id: row.tenant_id.into(),
                status: read(&row.status)?,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Locks direct sends in the order of their ids, and reads where they stand. What is gone is left
/// out. Deliveries are locked before notifications.
pub async fn lock_notifications(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<Vec<Subject>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification.id, notification.tenant_id, notification.status,
               notification.expires_at
        from unnest($1::uuid[]) as wanted (id)
        join notifications as notification on notification.id = wanted.id
        order by notification.id
        for no key update of notification
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("lock notifications"))?;
    let read = |row: &str| Status::parse(row).ok_or_else(|| unknown_word("notifications", row));
    rows.into_iter()
        .map(|row| {
            Ok(Subject {
                id: row.id,
                notification_id: row.id.into(),
                tenant_id: row.tenant_id.into(),
                status: read(&row.status)?,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

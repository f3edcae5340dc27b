//! Forgets a person: what was known of them and what they were told, but not that they were told.
//!
//! Ids, statuses, channels and times stay, for statistics. Notifications are gone through in pages,
//! so that a long history holds no lock for long; the rest goes with the last page. A history that
//! is erased again is as it was, so whoever was interrupted begins anew.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, DigestId, NotificationId, Status, TenantId, TraceStep, UserId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::deliveries::earliest_delivery;
use crate::effect::{DeliveryMove, Effect};
use crate::error::{during, unknown_word};
use crate::settlement::apply;

/// Notifications erased in one transaction: a few hundredths of a second.
pub const PAGE_ROWS: i64 = 500;

/// What stands where a text was.
const ERASED: &str = "erased";

/// A page of a person's notifications, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ErasedPage {
    /// In their order; the last one is the `after` of the next page.
    pub notifications: Vec<NotificationId>,
    pub deliveries: Vec<ErasedDelivery>,
    /// Events whose payload is theirs.
    pub events: Vec<Uuid>,
}

/// A delivery whose content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedDelivery {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub status: Status,
    /// The open job that works on it, to be cancelled before [`blank`] is called.
    pub job_id: Option<Uuid>,
}

impl ErasedDelivery {
    /// Whether it still waits to be sent.
    fn is_open(&self) -> bool {
        !self.status.is_final() && self.status != Status::Sent
    }
}

/// Finds up to [`PAGE_ROWS`] notifications of a person, made no later than `until`.
pub async fn find_page(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    after: Option<NotificationId>,
    until: NotificationId,
) -> Result<ErasedPage, StoreError> {
    let after = after.map(NotificationId::as_uuid).unwrap_or_default();
    let rows = sqlx::query!(
        r#"
        select id, event_id, digest_id
        from notifications
        where tenant_id = $1 and user_id = $2 and id > $3 and id <= $4
        order by id
        limit $5
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        after,
        until.as_uuid(),
        PAGE_ROWS,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("find notifications to erase"))?;
    let notifications: Vec<_> = rows.iter().map(|row| row.id.into()).collect();
    let mut events: Vec<_> = rows.iter().filter_map(|row| row.event_id).collect();
    let digests: Vec<_> = rows.iter().filter_map(|row| row.digest_id).collect();
    events.extend(find_gathered(connection, &digests).await?);
    Ok(ErasedPage {
        deliveries: find_deliveries(connection, &notifications).await?,
        events: find_events(connection, &events, user_id).await?,
        notifications,
    })
}

async fn find_deliveries(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<Vec<ErasedDelivery>, StoreError> {
    let since = earliest_delivery(ids);
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select id, notification_id, status, job_id
        from deliveries
        where notification_id = any($1::uuid[]) and id >= $2
        "#,
        &ids,
        since,
    )
    .fetch_all(connection)
    .await
    .map_err(during("find deliveries to erase"))?;
    let deliveries = rows.into_iter().map(|row| {
        let status = Status::parse(&row.status);
        Ok(ErasedDelivery {
            id: row.id.into(),
            notification_id: row.notification_id.into(),
            status: status.ok_or_else(|| unknown_word("deliveries", &row.status))?,
            job_id: row.job_id,
        })
    });
    deliveries.collect()
}

/// What some digests have gathered.
async fn find_gathered(
    connection: &mut PgConnection,
    digests: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    if digests.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        "select item.source_id
         from unnest($1::uuid[]) as told (digest_id)
         join digest_items as item on item.digest_id = told.digest_id",
        digests,
    )
    .fetch_all(connection)
    .await
    .map_err(during("find what digests gathered"))
}

/// Deletes a person's digests, told or not, after their jobs and before anything else of theirs: in
/// the order of a [`settlement`](crate::settlement). Answers them, and adds to the page the events
/// that nobody has been told of yet.
///
/// A `batch_flush` that still waits finds its digest gone.
pub async fn forget_digests(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    page: &mut ErasedPage,
) -> Result<Vec<DigestId>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select digest_id, status
        from digests
        where tenant_id = $1 and user_id = $2
        order by rule_id, action, key_hash
        for update
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("lock digests to erase"))?;
    // Pages of notifications have brought the events of what was told.
    let untold = rows.iter().filter(|row| row.status != "told");
    let untold: Vec<_> = untold.map(|row| row.digest_id).collect();
    let gathered = find_gathered(&mut *connection, &untold).await?;
    let events = find_events(&mut *connection, &gathered, user_id).await?;
    page.events.extend(events);
    let ids: Vec<_> = rows.iter().map(|row| row.digest_id).collect();
    sqlx::query!(
        "with items as (
             delete from digest_items where digest_id = any($1)
         )
         delete from digests where digest_id = any($1)",
        &ids,
    )
    .execute(connection)
    .await
    .map_err(during("erase digests"))?;
    Ok(ids.into_iter().map(DigestId::from).collect())
}

/// Of some events those whose payload names the person anywhere. The others reached them by a role
/// or a topic: they are not about them, and other people's feeds show them.
async fn find_events(
    connection: &mut PgConnection,
    ids: &[Uuid],
    user_id: &UserId,
) -> Result<Vec<Uuid>, StoreError> {
    // Some systems count their users, so an id may be a number there.
    let number = user_id.as_str().parse::<i64>();
    let number = number.map_or_else(|_not_a_number| json!(user_id), |number| json!(number));
    let names = json!({"text": user_id, "number": number});
    sqlx::query_scalar!(
        r#"
        select event.id
        from unnest($1::uuid[]) as led (id)
        join events as event on event.id = led.id
        where jsonb_path_exists(event.payload, '$.** ? (@ == $text || @ == $number)', $2)
        "#,
        ids,
        names,
    )
    .fetch_all(connection)
    .await
    .map_err(during("find events to erase"))
}

/// Cancels what of a page still waits, and blanks what is written in it.
///
/// Rows are locked in the order of a [`settlement`](crate::settlement).
pub async fn blank(
    connection: &mut PgConnection,
    page: &ErasedPage,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if page.notifications.is_empty() && page.events.is_empty() {
        return Ok(());
    }
    blank_traces(connection, &page.notifications).await?;
    let effects: Vec<_> = page
        .deliveries
        .iter()
        .filter(|delivery| delivery.is_open())
        .flat_map(|delivery| cancelled(delivery, now))
        .collect();
    apply(connection, &effects)
        .await
        .map_err(during("cancel what is not sent yet"))?;
    blank_deliveries(connection, &page.deliveries).await?;
    blank_notifications(connection, &page.notifications, now).await?;
    blank_events(connection, &page.events).await
}

fn cancelled(delivery: &ErasedDelivery, at: DateTime<Utc>) -> [Effect; 2] {
    let reason = "the user was erased";
    let step = TraceStep::new("erase", "cancelled", reason)
        .with_detail(json!({"delivery_id": delivery.id}));
    [
        Effect::DeliveryMoved(DeliveryMove {
            id: delivery.id,
            notification_id: Some(delivery.notification_id),
            status: Status::Cancelled,
            provider: None,
            error: Some(reason.to_owned()),
            job_id: None,
            at,
            is_sole: false,
        }),
        Effect::Traced {
            subject_id: delivery.notification_id.as_uuid(),
            at,
            steps: vec![step],
        },
    ]
}

/// A reason may quote a provider, and a provider an address.
async fn blank_traces(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<(), StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        r#"
        update traces as trace
        set steps = (
            select coalesce(
                json_agg(
                    json_build_object(
                        'step', entry -> 'step', 'decision', entry -> 'decision', 'reason', $2::text
                    )
                    order by position
                ),
                '[]'
            )
            from json_array_elements(trace.steps) with ordinality as each (entry, position)
        )
        from unnest($1::uuid[]) as erased (id)
        where trace.subject_id = erased.id
        "#,
        &ids,
        ERASED,
    )
    .execute(connection)
    .await
    .map_err(during("erase traces"))?;
    Ok(())
}

async fn blank_deliveries(
    connection: &mut PgConnection,
    deliveries: &[ErasedDelivery],
) -> Result<(), StoreError> {
    let mut ids: Vec<_> = deliveries.iter().map(|row| row.id.as_uuid()).collect();
    ids.sort_unstable();
    sqlx::query!(
        r#"
        update deliveries as delivery
        set address = null,
            message = null,
            error = case when delivery.error is not null then $2 end
        from unnest($1::uuid[]) as erased (id)
        where delivery.id = erased.id
        "#,
        &ids,
        ERASED,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("erase deliveries"))?;
    sqlx::query!(
        r#"
        update attempts as attempt
        set error = case when attempt.error is not null then $2 end, response = null
        from unnest($1::uuid[]) as erased (id)
        where attempt.delivery_id = erased.id
        "#,
        &ids,
        ERASED,
    )
    .execute(connection)
    .await
    .map_err(during("erase attempts"))?;
    Ok(())
}

async fn blank_notifications(
    connection: &mut PgConnection,
    ids: &[NotificationId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    // One that is not routed yet has no delivery to be cancelled by; its job finds it so.
    sqlx::query!(
        r#"
        update notifications as notification
        set subject = null,
            content = null,
            data = null,
            status = case when status = 'pending' then 'cancelled' else status end,
            updated_at = case when status = 'pending' then $2 else updated_at end
        from unnest($1::uuid[]) as erased (id)
        where notification.id = erased.id
        "#,
        &ids,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("erase notifications"))?;
    Ok(())
}

async fn blank_events(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update events as event
        set payload = '{}'
        from unnest($1::uuid[]) as erased (id)
        where event.id = erased.id
        "#,
        ids,
    )
    .execute(connection)
    .await
    .map_err(during("erase events"))?;
    Ok(())
}

/// Deletes what is kept of a person beside notifications: their feed, their memberships, what they
/// want and have agreed to, where they are reached, their sessions in the console, and answers that
/// repeat it. Answers whether there was anything.
pub async fn forget(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<bool, StoreError> {
    let gone = sqlx::query_scalar!(
        r#"
        with entries as (
            delete from inbox where tenant_id = $1 and user_id = $2 returning 1
        ), heads as (
            delete from inbox_heads where tenant_id = $1 and user_id = $2 returning 1
        ), memberships as (
            delete from topic_members where tenant_id = $1 and user_id = $2 returning 1
        ), wishes as (
            delete from preferences where tenant_id = $1 and user_id = $2 returning 1
        ), agreed as (
            delete from consents where tenant_id = $1 and user_id = $2 returning 1
        ), answers as (
            delete from idempotency_keys where tenant_id = $1 and user_id = $2 returning 1
        ), sessions as (
            delete from console_sessions where tenant_id = $1 and user_id = $2 returning 1
        ), tickets as (
            delete from live_tickets where tenant_id = $1 and user_id = $2
        ), people as (
            delete from users where tenant_id = $1 and user_id = $2 returning 1
        )
        select exists (select from heads) or exists (select from memberships)
            or exists (select from wishes) or exists (select from agreed)
            or exists (select from people)
            or exists (select from entries) or exists (select from answers)
            or exists (select from sessions) as "gone!"
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_one(connection)
    .await
    .map_err(during("forget a user"))?;
    Ok(gone)
}

//! The durable in-app feed: what each user was told, by a number without gaps.
//!
//! Numbers are given out by [`settlement`](crate::settlement) alone. Here the feed is read, and
//! what was read is noted.

use chrono::{DateTime, Utc};
use domain::{Channel, NotificationId, Priority, TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::StoreError;
use crate::deliveries::earliest_delivery;
use crate::error::{during, unknown_word};
use crate::json::Document;

/// The last number of a feed and how many of its entries are unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub seq: i64,
    pub unread: i64,
}

/// One entry of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedItem {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub seq: i64,
    pub notification_id: NotificationId,
    pub created_at: DateTime<Utc>,
    pub read_at: Option<DateTime<Utc>>,
    pub title: Option<String>,
    pub message: String,
    /// What the template set; else the event's payload, or the direct send's data.
    pub data: Option<Value>,
    pub priority: Priority,
    pub category: Option<String>,
    pub template: Option<String>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
}

/// Where in a feed someone stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// The last number that was seen.
    pub after_seq: i64,
}

/// What a user says was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    Notifications(Vec<NotificationId>),
    /// Everything up to this number of the feed.
    UpTo(i64),
}

/// What an acknowledgement changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// What was unread before, by number.
    pub read: Vec<NotificationId>,
    /// How many entries are still unread.
    pub unread: i64,
}

/// Reads the head of a feed; a user who was never told anything has a head of zeros.
pub async fn head(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Head, StoreError> {
    let head = sqlx::query_as!(
        Head,
        "select seq, unread from inbox_heads where tenant_id = $1 and user_id = $2",
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read the head of a feed"))?;
    Ok(head.unwrap_or_default())
}

/// Sums over all feeds: what a benchmark watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedTotals {
    /// Entries ever put into a feed.
    pub arrived: u64,
}

/// Sums the heads of all feeds.
pub async fn totals(connection: &mut PgConnection) -> Result<FeedTotals, StoreError> {
    let arrived = sqlx::query_scalar!(
        r#"select coalesce(sum(seq), 0)::bigint as "arrived!" from inbox_heads"#
    )
    .fetch_one(connection)
    .await
    .map_err(during("sum up the feeds"))?;
    Ok(FeedTotals {
        arrived: arrived.cast_unsigned(),
    })
}

/// Lists up to `limit` entries of one feed after a number, oldest first.
pub async fn feed_after(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<FeedItem>, StoreError> {
    let position = FeedPosition {
        tenant_id: tenant_id.clone(),
        user_id: user_id.clone(),
        after_seq,
    };
    feed_after_many(connection, &[position], limit).await
}

/// Lists up to `limit_each` entries of each of many feeds, oldest first within a feed.
pub async fn feed_after_many(
    connection: &mut PgConnection,
    positions: &[FeedPosition],
    limit_each: i64,
) -> Result<Vec<FeedItem>, StoreError> {
    let tenants: Vec<_> = positions
        .iter()
        .map(|position| position.tenant_id.as_str())
        .collect();
    let users: Vec<_> = positions
        .iter()
        .map(|position| position.user_id.as_str())
        .collect();
    let seqs: Vec<_> = positions
        .iter()
        .map(|position| position.after_seq)
        .collect();
    let rows = sqlx::query!(
        r#"
        select entry.tenant_id, entry.user_id, entry.seq, entry.notification_id, entry.created_at,
               entry.read_at, delivery.message ->> 'subject' as title,
               coalesce(delivery.message ->> 'body', '') as "message!",
               coalesce(delivery.message -> 'data', event.payload, notification.data)
                   as "data: Document<Value>",
               notification.priority, notification.category, delivery.template,
               notification.type as kind
        from unnest($1::text[], $2::text[], $3::bigint[])
            as position (tenant_id, user_id, after_seq)
        cross join lateral (
            select tenant_id, user_id, seq, notification_id, delivery_id, created_at, read_at
            from inbox
            where inbox.tenant_id = position.tenant_id
              and inbox.user_id = position.user_id
              and inbox.seq > position.after_seq
            order by inbox.seq
            limit $4
        ) as entry
        join deliveries as delivery on delivery.id = entry.delivery_id
        join notifications as notification on notification.id = entry.notification_id
        left join events as event on event.id = notification.event_id
        order by entry.tenant_id, entry.user_id, entry.seq
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &seqs,
        limit_each,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read feeds"))?;

    rows.into_iter()
        .map(|row| {
            let priority = Priority::parse(&row.priority)
                .ok_or_else(|| unknown_word("notifications", &row.priority))?;
            Ok(FeedItem {
                tenant_id: row.tenant_id.into(),
                user_id: row.user_id.into(),
                seq: row.seq,
                notification_id: row.notification_id.into(),
                created_at: row.created_at,
                read_at: row.read_at,
                title: row.title,
                message: row.message,
                data: row.data.map(|data| data.0),
                priority,
                category: row.category,
                template: row.template,
                kind: row.kind,
            })
        })
        .collect()
}

/// Notes what was read. Saying so again changes nothing, and other users' entries are not touched.
///
/// Runs several statements: call it in a transaction.
pub async fn ack(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    ack: &Ack,
    now: DateTime<Utc>,
) -> Result<Acked, StoreError> {
    // The head comes first, as in a settlement: whoever holds it changes the feed alone.
    let Some(head) = sqlx::query!(
        r#"
        select seq, unread, read_seq
        from inbox_heads
        where tenant_id = $1 and user_id = $2
        for no key update
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(during("lock the head of a feed"))?
    else {
        return Ok(Acked {
            read: Vec::new(),
            unread: 0,
        });
    };

    let (read, read_seq) = match ack {
        Ack::UpTo(seq) => {
            let up_to = head.read_seq.max(*seq).min(head.seq);
            let read =
                read_range(connection, tenant_id, user_id, head.read_seq, up_to, now).await?;
            (read, up_to)
        }
        Ack::Notifications(ids) => {
            let read = read_notifications(connection, tenant_id, user_id, ids, now).await?;
            (read, head.read_seq)
        }
    };

    let unread = head.unread - read.len() as i64;
    if !read.is_empty() || read_seq > head.read_seq {
        sqlx::query!(
            r#"
            update inbox_heads
            set unread = $3, read_seq = $4
            where tenant_id = $1 and user_id = $2
            "#,
            tenant_id.as_str(),
            user_id.as_str(),
            unread,
            read_seq,
        )
        .execute(connection)
        .await
        .map_err(during("count what is unread"))?;
    }
    Ok(Acked { read, unread })
}

/// Marks entries after one number and up to another as read; answers those that were not.
async fn read_range(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    after_seq: i64,
    up_to_seq: i64,
    now: DateTime<Utc>,
) -> Result<Vec<NotificationId>, StoreError> {
    let rows = sqlx::query!(
        r#"
        update inbox
        set read_at = $5
        where tenant_id = $1 and user_id = $2 and seq > $3 and seq <= $4 and read_at is null
        returning seq, notification_id
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        after_seq,
        up_to_seq,
        now,
    )
    .fetch_all(connection)
    .await
    .map_err(during("mark a feed as read"))?;
    Ok(by_seq(
        rows.into_iter()
            .map(|row| (row.seq, row.notification_id.into())),
    ))
}

/// Marks single entries as read; answers those that were not.
async fn read_notifications(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    ids: &[NotificationId],
    now: DateTime<Utc>,
) -> Result<Vec<NotificationId>, StoreError> {
    let since = earliest_delivery(ids);
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        update inbox
        set read_at = $5
        from deliveries as delivery
        where delivery.notification_id = any($3::uuid[])
          and delivery.id >= $4
          and delivery.channel = $6
          and delivery.tenant_id = $1
          and delivery.user_id = $2
          and inbox.tenant_id = $1
          and inbox.user_id = $2
          and inbox.seq = delivery.seq
          and inbox.read_at is null
        returning inbox.seq, inbox.notification_id
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        &ids,
        since,
        now,
        Channel::InApp.as_str(),
    )
    .fetch_all(connection)
    .await
    .map_err(during("mark entries of a feed as read"))?;
    Ok(by_seq(
        rows.into_iter()
            .map(|row| (row.seq, row.notification_id.into())),
    ))
}

fn by_seq(rows: impl Iterator<Item = (i64, NotificationId)>) -> Vec<NotificationId> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable();
    rows.into_iter().map(|(_, id)| id).collect()
}

//! The durable in-app feed: what each user was told, by a number without gaps.
//!
//! Numbers are given out by [`settlement`](crate::settlement) alone. Here the feed is read; what its
//! user does about it is noted in [`reading`](crate::reading).

use chrono::{DateTime, Utc};
use domain::{NotificationId, Priority, TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::StoreError;
use crate::deliveries::earliest_delivery;
use crate::error::{during, unknown_word};
use crate::json::Document;
use crate::reading::Reading;

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

/// An entry of a feed beside its notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub notification_id: NotificationId,
    pub seq: i64,
    pub title: Option<String>,
    pub message: String,
    /// As the feed has it: what the template set; else the event's payload, or the send's data.
    pub data: Option<Value>,
    pub reading: Reading,
}

/// Where in a feed someone stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// The last number that was seen.
    pub after_seq: i64,
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
               entry.read_at, entry.message ->> 'subject' as title,
               coalesce(entry.message ->> 'body', '') as "message!",
               coalesce(entry.message -> 'data', event.payload, entry.data)
                   as "data: Document<Value>",
               entry.priority, entry.category, entry.template, entry.type as kind
        from unnest($1::text[], $2::text[], $3::bigint[])
            as position (tenant_id, user_id, after_seq)
        cross join lateral (
            -- Joined within the limit: an entry whose delivery is gone takes no place of it.
            select inbox.tenant_id, inbox.user_id, inbox.seq, inbox.notification_id,
                   inbox.created_at, inbox.read_at, delivery.message, delivery.template,
                   notification.priority, notification.category, notification.type,
                   notification.data, notification.event_id
            from inbox
            join deliveries as delivery on delivery.id = inbox.delivery_id
            join notifications as notification on notification.id = inbox.notification_id
            where inbox.tenant_id = position.tenant_id
              and inbox.user_id = position.user_id
              and inbox.seq > position.after_seq
            order by inbox.seq
            limit $4
        ) as entry
        left join events as event on event.id = entry.event_id
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

/// Lists the entries that notifications have in their users' feeds, in no order.
pub async fn list_entries(
    connection: &mut PgConnection,
    notification_ids: &[NotificationId],
) -> Result<Vec<Entry>, StoreError> {
    let since = earliest_delivery(notification_ids);
    let ids: Vec<_> = notification_ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.notification_id, entry.seq, delivery.message ->> 'subject' as title,
               coalesce(delivery.message ->> 'body', '') as "message!",
               coalesce(delivery.message -> 'data', event.payload, notification.data)
                   as "data: Document<Value>",
               entry.seen_at, entry.read_at, entry.archived_at
        from deliveries as delivery
        join inbox as entry
            on entry.tenant_id = delivery.tenant_id
            and entry.user_id = delivery.user_id
            and entry.seq = delivery.seq
        join notifications as notification on notification.id = delivery.notification_id
        left join events as event on event.id = notification.event_id
        where delivery.notification_id = any($1::uuid[])
          and delivery.id >= $2
        "#,
        &ids,
        since,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list entries of feeds"))?;
    Ok(rows
        .into_iter()
        .map(|row| Entry {
            notification_id: row.notification_id.into(),
            seq: row.seq,
            title: row.title,
            message: row.message,
            data: row.data.map(|data| data.0),
            reading: Reading {
                seen_at: row.seen_at,
                read_at: row.read_at,
                archived_at: row.archived_at,
            },
        })
        .collect())
}

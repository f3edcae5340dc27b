//! Old entries of feeds: removed in turns, in the order of the feeds' keys.

use chrono::{DateTime, Utc};
use domain::{TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// A feed's key, to go on after.
pub type FeedKey = (TenantId, UserId);

/// Feeds looked at by one call of [`prune`].
const FEEDS_MAX: i64 = 500;

/// Most entries of one feed that one call removes.
const ENTRIES_MAX: i64 = 200;

/// How far [`prune`] came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    pub removed: u64,
    /// Where to go on; `None` after the last feed.
    pub next: Option<FeedKey>,
    /// Whether a feed among these has more to remove: ask again from the same place.
    pub is_unfinished: bool,
}

/// Removes entries that arrived before `cutoff` from the next feeds after `after`, in the order of
/// their keys. What was unread of them is not counted any more.
///
/// Entries have no index by time: a feed's oldest entry is its first, so a look at each feed tells.
pub async fn prune(
    connection: &mut PgConnection,
    after: Option<&FeedKey>,
    cutoff: DateTime<Utc>,
) -> Result<Pruned, StoreError> {
    let after = after.map_or(("", ""), |(tenant, user)| (tenant.as_str(), user.as_str()));
    let feeds = sqlx::query!(
        r#"
        select head.tenant_id, head.user_id,
               exists (
                   select from (
                       select created_at
                       from inbox
                       where inbox.tenant_id = head.tenant_id and inbox.user_id = head.user_id
                       order by inbox.seq
                       limit 1
                   ) as oldest
                   where oldest.created_at < $3
               ) as "is_due!"
        from inbox_heads as head
        where (head.tenant_id, head.user_id) > ($1, $2)
        order by head.tenant_id, head.user_id
        limit $4
        "#,
        after.0,
        after.1,
        cutoff,
        FEEDS_MAX,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("look for old entries"))?;
    let next = feeds
        .last()
        .filter(|_| feeds.len() as i64 == FEEDS_MAX)
        .map(|row| (row.tenant_id.as_str().into(), row.user_id.as_str().into()));
    let due = || feeds.iter().filter(|feed| feed.is_due);
    let tenants: Vec<_> = due().map(|feed| feed.tenant_id.as_str()).collect();
    let users: Vec<_> = due().map(|feed| feed.user_id.as_str()).collect();
    let mut pruned = Pruned {
        removed: 0,
        next,
        is_unfinished: false,
    };
    if tenants.is_empty() {
        return Ok(pruned);
    }
    let rows = sqlx::query!(
        r#"
        with held as materialized (
            select head.tenant_id, head.user_id
            from unnest($1::text[], $2::text[]) as due (tenant_id, user_id)
            join inbox_heads as head
                on head.tenant_id = due.tenant_id and head.user_id = due.user_id
            order by head.tenant_id, head.user_id
            for no key update of head
        ), oldest as materialized (
            select entry.tenant_id, entry.user_id, entry.seq
            from held
            cross join lateral (
                select tenant_id, user_id, seq, created_at
                from inbox
                where inbox.tenant_id = held.tenant_id and inbox.user_id = held.user_id
                order by inbox.seq
                limit $4
            ) as entry
            where entry.created_at < $3
        ), removed as (
            delete from inbox as entry
            using oldest
            where entry.tenant_id = oldest.tenant_id
              and entry.user_id = oldest.user_id
              and entry.seq = oldest.seq
            returning entry.tenant_id, entry.user_id, entry.read_at
        ), counted as (
            select tenant_id, user_id, count(*) as removed,
                   count(*) filter (where read_at is null) as unread
            from removed
            group by tenant_id, user_id
        ), head as (
            update inbox_heads as head
            set unread = head.unread - counted.unread,
                marks = head.marks + 1, altered = head.marks + 1
            from counted
            where head.tenant_id = counted.tenant_id
              and head.user_id = counted.user_id
              and counted.unread > 0
        )
        select removed as "removed!" from counted
        "#,
        &tenants as &[&str],
        &users as &[&str],
        cutoff,
        ENTRIES_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("remove old entries"))?;
    for row in rows {
        pruned.removed += row.removed.cast_unsigned();
        pruned.is_unfinished |= row.removed == ENTRIES_MAX;
    }
    Ok(pruned)
}

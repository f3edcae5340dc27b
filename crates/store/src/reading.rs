//! What users did about entries of their feed: seen, read, archived, and back.
//!
//! Each state includes the one before: what is archived was read, and what was read was seen. An
//! entry marked unread comes back into the list. The unread ones are counted on the feed's head,
//! whose lock everybody takes first, so the count is exact at every commit. Everything up to the
//! head's `read_seq` is read: whoever looks for what is unread begins behind it.
//!
//! Every change raises the head's `marks`, and an entry that became read keeps that number: so a node
//! that missed the news finds out what was read since it last looked
//! ([`following`](crate::following)).

use chrono::{DateTime, Utc};
use domain::{Channel, NotificationId, TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::deliveries::earliest_delivery;
use crate::error::during;

/// What a user says was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    Notifications(Vec<NotificationId>),
    /// Everything up to this number of the feed.
    UpTo(i64),
}

/// A change of entries by their user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Seen,
    Read,
    Unread,
    Archived,
    /// Back into the list, read.
    Unarchived,
}

/// What an entry's user did about it, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    pub seen_at: Option<DateTime<Utc>>,
    pub read_at: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
}

impl Reading {
    /// What becomes of it. What was so already keeps its time.
    #[must_use]
    pub fn marked(self, mark: Mark, now: DateTime<Utc>) -> Self {
        let seen = Self {
            seen_at: self.seen_at.or(Some(now)),
            ..self
        };
        let read = Self {
            read_at: self.read_at.or(Some(now)),
            ..seen
        };
        match mark {
            Mark::Seen => seen,
            Mark::Read => read,
            Mark::Unread => Self {
                read_at: None,
                archived_at: None,
                ..self
            },
            Mark::Archived => Self {
                archived_at: self.archived_at.or(Some(now)),
                ..read
            },
            Mark::Unarchived => Self {
                archived_at: None,
                ..self
            },
        }
    }
}

/// What a mark changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marked {
    /// Entries that were unread and are read now, by number.
    pub read: Vec<NotificationId>,
    /// Entries that were changed in any way, by number.
    pub changed: Vec<NotificationId>,
    /// How many entries are unread now.
    pub unread: i64,
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
) -> Result<Marked, StoreError> {
    match ack {
        Ack::Notifications(ids) => mark(connection, tenant_id, user_id, ids, Mark::Read, now).await,
        Ack::UpTo(seq) => read_up_to(connection, tenant_id, user_id, *seq, now).await,
    }
}

/// Marks every entry up to a number as read.
async fn read_up_to(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    seq: i64,
    now: DateTime<Utc>,
) -> Result<Marked, StoreError> {
    let Some(head) = lock_head(connection, tenant_id, user_id).await? else {
        return Ok(Marked::default());
    };
    let up_to = head.read_seq.max(seq).min(head.seq);
    let rows = sqlx::query!(
        r#"
        update inbox
        set read_at = $5, seen_at = coalesce(seen_at, $5), marked = $6
        where tenant_id = $1 and user_id = $2 and seq > $3 and seq <= $4 and read_at is null
        returning seq, notification_id
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        head.read_seq,
        up_to,
        now,
        head.marks + 1,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("mark a feed as read"))?;
    let mut read: Vec<(i64, NotificationId)> = rows
        .into_iter()
        .map(|row| (row.seq, row.notification_id.into()))
        .collect();
    read.sort_unstable();
    let read: Vec<_> = read.into_iter().map(|(_, id)| id).collect();
    // Who says it again changes nothing that others would have to hear of.
    let marks = head.marks + i64::from(!read.is_empty());
    let after = Head {
        unread: head.unread - read.len() as i64,
        read_seq: up_to,
        marks,
        ..head
    };
    if up_to > head.read_seq {
        write_head(connection, tenant_id, user_id, after, false).await?;
    }
    Ok(Marked {
        changed: read.clone(),
        read,
        unread: after.unread,
    })
}

/// Marks entries of one feed. Saying so again changes nothing, and what is not in this feed is left
/// out.
///
/// Runs several statements: call it in a transaction.
pub async fn mark(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    ids: &[NotificationId],
    mark: Mark,
    now: DateTime<Utc>,
) -> Result<Marked, StoreError> {
    let Some(head) = lock_head(connection, tenant_id, user_id).await? else {
        return Ok(Marked::default());
    };
    let before = entries(connection, tenant_id, user_id, ids).await?;
    let after: Vec<_> = before
        .into_iter()
        .map(|entry| (entry, entry.reading.marked(mark, now)))
        .filter(|(entry, after)| entry.reading != *after)
        .collect();
    if after.is_empty() {
        return Ok(Marked {
            unread: head.unread,
            ..Marked::default()
        });
    }
    write(connection, tenant_id, user_id, &after, head.marks + 1).await?;

    let is_unread = |reading: &Reading| reading.read_at.is_none();
    let (mut read, mut unread, mut read_seq) = (Vec::new(), head.unread, head.read_seq);
    for (entry, after) in &after {
        match (is_unread(&entry.reading), is_unread(after)) {
            (true, false) => {
                unread -= 1;
                read.push(entry.notification_id);
            }
            (false, true) => {
                unread += 1;
                read_seq = read_seq.min(entry.seq - 1);
            }
            _ => {}
        }
    }
    let after_all = Head {
        unread,
        read_seq,
        marks: head.marks + 1,
        ..head
    };
    match mark {
        // A bell that rings for that would ring for itself.
        Mark::Seen => {}
        Mark::Read => write_head(connection, tenant_id, user_id, after_all, false).await?,
        Mark::Unread | Mark::Archived | Mark::Unarchived => {
            write_head(connection, tenant_id, user_id, after_all, true).await?;
        }
    }
    Ok(Marked {
        read,
        changed: after
            .iter()
            .map(|(entry, _)| entry.notification_id)
            .collect(),
        unread,
    })
}

/// The part of a feed's head that counts what is unread.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// The last number given out.
    seq: i64,
    unread: i64,
    read_seq: i64,
    /// How often its entries were marked.
    marks: i64,
}

/// The head comes first, as in a settlement: whoever holds it changes the feed alone.
async fn lock_head(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Option<Head>, StoreError> {
    sqlx::query_as!(
        Head,
        r#"
        select seq, unread, read_seq, marks
        from inbox_heads
        where tenant_id = $1 and user_id = $2
        for no key update
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("lock the head of a feed"))
}

async fn write_head(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    head: Head,
    is_altered: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update inbox_heads
        set unread = $3, read_seq = $4, marks = $5,
            altered = case when $6 then $5 else altered end
        where tenant_id = $1 and user_id = $2
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        head.unread,
        head.read_seq,
        head.marks,
        is_altered,
    )
    .execute(connection)
    .await
    .map_err(during("count what is unread"))?;
    Ok(())
}

/// One entry as it stands.
#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: i64,
    notification_id: NotificationId,
    reading: Reading,
}

/// The entries of some notifications in one feed, by number.
async fn entries(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    ids: &[NotificationId],
) -> Result<Vec<Entry>, StoreError> {
    let since = earliest_delivery(ids);
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select entry.seq, entry.notification_id, entry.seen_at, entry.read_at, entry.archived_at
        from deliveries as delivery
        join inbox as entry
            on entry.tenant_id = delivery.tenant_id
            and entry.user_id = delivery.user_id
            and entry.seq = delivery.seq
        where delivery.notification_id = any($3::uuid[])
          and delivery.id >= $4
          and delivery.channel = $5
          and delivery.tenant_id = $1
          and delivery.user_id = $2
        order by entry.seq
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        &ids,
        since,
        Channel::InApp.as_str(),
    )
    .fetch_all(connection)
    .await
    .map_err(during("read entries of a feed"))?;
    Ok(rows
        .into_iter()
        .map(|row| Entry {
            seq: row.seq,
            notification_id: row.notification_id.into(),
            reading: Reading {
                seen_at: row.seen_at,
                read_at: row.read_at,
                archived_at: row.archived_at,
            },
        })
        .collect())
}

async fn write(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    entries: &[(Entry, Reading)],
    marks: i64,
) -> Result<(), StoreError> {
    let seqs: Vec<_> = entries.iter().map(|(entry, _)| entry.seq).collect();
    let seen: Vec<_> = entries.iter().map(|(_, after)| after.seen_at).collect();
    let read: Vec<_> = entries.iter().map(|(_, after)| after.read_at).collect();
    let archived: Vec<_> = entries.iter().map(|(_, after)| after.archived_at).collect();
    sqlx::query!(
        r#"
        update inbox as entry
        set seen_at = marked.seen_at, read_at = marked.read_at, archived_at = marked.archived_at,
            marked = case when entry.read_at is null and marked.read_at is not null
                then $7 else entry.marked end
        from unnest($3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
            as marked (seq, seen_at, read_at, archived_at)
        where entry.tenant_id = $1 and entry.user_id = $2 and entry.seq = marked.seq
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        &seqs,
        &seen as &[Option<DateTime<Utc>>],
        &read as &[Option<DateTime<Utc>>],
        &archived as &[Option<DateTime<Utc>>],
        marks,
    )
    .execute(connection)
    .await
    .map_err(during("mark entries of a feed"))?;
    Ok(())
}

/// Lists the newest entries of a feed that are unread, up to `limit`.
pub async fn list_unread(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    limit: i64,
) -> Result<Vec<NotificationId>, StoreError> {
    let ids = sqlx::query_scalar!(
        r#"
        select entry.notification_id
        from inbox_heads as head
        join inbox as entry
            on entry.tenant_id = head.tenant_id
            and entry.user_id = head.user_id
            and entry.seq > head.read_seq
        where head.tenant_id = $1 and head.user_id = $2 and entry.read_at is null
        order by entry.seq desc
        limit $3
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        limit,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list what is unread"))?;
    Ok(ids.into_iter().map(NotificationId::from).collect())
}

/// A feed whose unread entries have become too many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overfull<'a> {
    pub(crate) tenant_id: &'a str,
    pub(crate) user_id: &'a str,
    /// How many entries are to count as read, the oldest first.
    pub(crate) excess: i64,
    /// Nothing up to here is unread.
    pub(crate) read_seq: i64,
    pub(crate) at: DateTime<Utc>,
}

/// Marks the oldest unread entries of feeds as read, whose heads the caller holds.
///
/// Each is marked once, and the next search begins behind it, so an arrival pays for one at most.
pub(crate) async fn trim(
    connection: &mut PgConnection,
    feeds: &[Overfull<'_>],
) -> Result<(), sqlx::Error> {
    if feeds.is_empty() {
        return Ok(());
    }
    let tenants: Vec<_> = feeds.iter().map(|feed| feed.tenant_id).collect();
    let users: Vec<_> = feeds.iter().map(|feed| feed.user_id).collect();
    let excesses: Vec<_> = feeds.iter().map(|feed| feed.excess).collect();
    let read_seqs: Vec<_> = feeds.iter().map(|feed| feed.read_seq).collect();
    let times: Vec<_> = feeds.iter().map(|feed| feed.at).collect();
    sqlx::query!(
        r#"
        with oldest as materialized (
            select entry.tenant_id, entry.user_id, entry.seq, feed.at
            from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[])
                as feed (tenant_id, user_id, excess, read_seq, at)
            cross join lateral (
                select tenant_id, user_id, seq
                from inbox
                where inbox.tenant_id = feed.tenant_id
                  and inbox.user_id = feed.user_id
                  and inbox.seq > feed.read_seq
                  and inbox.read_at is null
                order by inbox.seq
                limit feed.excess
            ) as entry
        ), marked as (
            update inbox as entry
            set read_at = oldest.at, seen_at = coalesce(entry.seen_at, oldest.at),
                marked = head.marks + 1
            from oldest
            join inbox_heads as head
                on head.tenant_id = oldest.tenant_id and head.user_id = oldest.user_id
            where entry.tenant_id = oldest.tenant_id
              and entry.user_id = oldest.user_id
              and entry.seq = oldest.seq
            returning entry.tenant_id, entry.user_id, entry.seq
        )
        update inbox_heads as head
        set unread = head.unread - trimmed.count,
            read_seq = greatest(head.read_seq, trimmed.last),
            marks = head.marks + 1
        from (
            select tenant_id, user_id, count(*) as count, max(seq) as last
            from marked
            group by tenant_id, user_id
        ) as trimmed
        where head.tenant_id = trimmed.tenant_id and head.user_id = trimmed.user_id
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &excesses,
        &read_seqs,
        &times,
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! What the live feed asks of many feeds at once: where they stand, and what was read meanwhile.

use domain::{NotificationId, TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// Entries behind a feed's end that are looked at for what was read. Who read older ones elsewhere
/// sees the right number of unread ones, but is not told which.
const ENTRIES_MAX: i64 = 1000;

/// Whose feed, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// The last number given out.
    pub seq: i64,
    pub unread: i64,
    /// How often its entries were marked.
    pub marks: i64,
}

/// Up to where somebody has heard of marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarksPosition {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub after: i64,
}

/// What happened to a feed's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub standing: Standing,
    /// Entries that became read, by number; at most a thousand.
    pub read: Vec<NotificationId>,
    /// Whether there was more than reading: unread again, archived, removed.
    pub is_altered: bool,
}

/// Reads where feeds stand. A user who was never told anything has none.
pub async fn standings(
    connection: &mut PgConnection,
    feeds: &[(TenantId, UserId)],
) -> Result<Vec<Standing>, StoreError> {
    let tenants: Vec<_> = feeds.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let users: Vec<_> = feeds.iter().map(|(_, user)| user.as_str()).collect();
    let rows = sqlx::query!(
        r#"
        select head.tenant_id, head.user_id, head.seq, head.unread, head.marks
        from unnest($1::text[], $2::text[]) as feed (tenant_id, user_id)
        join inbox_heads as head
            on head.tenant_id = feed.tenant_id and head.user_id = feed.user_id
        "#,
        &tenants as &[&str],
        &users as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("read where feeds stand"))?;
    let standings = rows.into_iter().map(|row| Standing {
        tenant_id: row.tenant_id.into(),
        user_id: row.user_id.into(),
        seq: row.seq,
        unread: row.unread,
        marks: row.marks,
    });
    Ok(standings.collect())
}

/// Reads what was marked in feeds after a position; feeds without news are left out.
pub async fn changes_after(
    connection: &mut PgConnection,
    positions: &[MarksPosition],
) -> Result<Vec<Changed>, StoreError> {
    let tenants: Vec<_> = positions.iter().map(|it| it.tenant_id.as_str()).collect();
    let users: Vec<_> = positions.iter().map(|it| it.user_id.as_str()).collect();
    let afters: Vec<_> = positions.iter().map(|it| it.after).collect();
    let rows = sqlx::query!(
        r#"
        select head.tenant_id, head.user_id, head.seq, head.unread, head.marks,
               head.altered > position.after as "is_altered!",
               array(
                   select entry.notification_id
                   from inbox as entry
                   where entry.tenant_id = head.tenant_id
                     and entry.user_id = head.user_id
                     and entry.seq > head.seq - $4
                     and entry.marked > position.after
                     and entry.read_at is not null
                   order by entry.seq
               ) as "read!"
        from unnest($1::text[], $2::text[], $3::bigint[]) as position (tenant_id, user_id, after)
        join inbox_heads as head
            on head.tenant_id = position.tenant_id and head.user_id = position.user_id
        where head.marks > position.after
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &afters,
        ENTRIES_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read what was marked in feeds"))?;
    let changes = rows.into_iter().map(|row| Changed {
        standing: Standing {
            tenant_id: row.tenant_id.into(),
            user_id: row.user_id.into(),
            seq: row.seq,
            unread: row.unread,
            marks: row.marks,
        },
        read: row.read.into_iter().map(NotificationId::from).collect(),
        is_altered: row.is_altered,
    });
    Ok(changes.collect())
}

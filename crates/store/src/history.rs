//! History: pages of notifications, newest first, narrowed by filters.
//!
//! A page follows an index in the order of ids, of one user or of a tenant. What a filter leaves out
//! on the way was read all the same, and no status is indexed, because that would make every change
//! of one write to the index. So a page looks at [`SCANNED_MAX`] rows at most: it may have fewer
//! items than asked for, or none, and still a place to go on.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, EventId, NotificationId, Status, TenantId, UserId};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::StoreError;
use crate::deliveries::earliest_delivery;
use crate::error::during;
use crate::notifications::{COLUMNS, Notification, Row};
use crate::partitions::first_id;
use crate::reading::list_unread;

/// Rows that one page looks at.
pub const SCANNED_MAX: i64 = 10_000;

/// Unread entries of one feed that are looked at, the newest.
const UNREAD_MAX: i64 = 10_000;

/// How much later than a row's time its id may have been made: ids of one process only rise, even
/// while its clock is set back.
const ID_SLACK: TimeDelta = TimeDelta::minutes(1);

/// Which notifications a page shows; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryFilter {
    pub user_id: Option<UserId>,
    pub status: Option<Status>,
    /// Those with a delivery over it.
    pub channel: Option<Channel>,
    pub category: Option<String>,
    /// Only those that wait unread in their user's feed.
    pub is_unread: bool,
    /// Only those archived in their user's feed, or only the others.
    pub is_archived: Option<bool>,
    /// Created at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Created before this moment.
    pub until: Option<DateTime<Utc>>,
}

impl HistoryFilter {
    /// Whether rows that the index leads to may be left out.
    fn leaves_out(&self) -> bool {
        self.status.is_some()
            || self.channel.is_some()
            || self.category.is_some()
            || self.is_unread
            || self.is_archived.is_some()
            || self.since.is_some()
            || self.until.is_some()
    }

    /// Whether each row's deliveries are looked at.
    fn asks_deliveries(&self) -> bool {
        self.channel.is_some() || self.is_unread || self.is_archived.is_some()
    }
}

/// One page, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    pub items: Vec<Notification>,
    /// What the next page begins before; `None` if there is none.
    pub next: Option<NotificationId>,
}

/// Lists a tenant's notifications before `before`: at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &HistoryFilter,
    before: Option<NotificationId>,
    limit: usize,
) -> Result<HistoryPage, StoreError> {
    if let (true, Some(user_id)) = (filter.is_unread, &filter.user_id) {
        let mut ids = list_unread(connection, tenant_id, user_id, UNREAD_MAX).await?;
        ids.retain(|id| before.is_none_or(|before| *id < before));
        let mut query = select(tenant_id, filter, before);
        let since = earliest_delivery(&ids);
        let ids: Vec<Uuid> = ids.into_iter().map(NotificationId::as_uuid).collect();
        query.push(" and id = any((select ").push_bind(ids);
        query.push("::uuid[])::uuid[])) as notification where true");
        push_filters(&mut query, filter, since);
        let items = fetch(connection, query, limit).await?;
        return Ok(whole(items, limit));
    }

    // Where the looking ends, which keeps it out of the deliveries of earlier months: with ten
    // million of them that is 53 ms instead of 81, for a channel that none has.
    let mut end = None;
    if filter.asks_deliveries() {
        end = end_of_scan(connection, tenant_id, filter, before).await?;
    }
    let since = end.map_or_else(Uuid::nil, |end| earliest_delivery(&[end]));
    let mut query = select(tenant_id, filter, before);
    // The limit inside tells the planner to follow the index instead of sorting what it finds.
    query.push(" order by id desc limit ");
    query.push_bind(if filter.leaves_out() {
        SCANNED_MAX
    } else {
        limit as i64 + 1
    });
    query.push(") as notification where true");
    push_filters(&mut query, filter, since);
    if filter.is_unread {
        push_feed(&mut query, true, "read_at is null", since);
    }
    let items = fetch(connection, query, limit).await?;
    let is_full = items.len() > limit;
    let found = whole(items, limit);
    if is_full || !filter.leaves_out() {
        return Ok(found);
    }

    // Nothing says yet whether the rows ended or the looking did.
    if !filter.asks_deliveries() {
        end = end_of_scan(connection, tenant_id, filter, before).await?;
    }
    let last = found.items.last().map(|item| item.id);
    // Rows that came in meanwhile make the end a little early: what was shown is not shown again.
    let next = end.map(|end| last.map_or(end, |last| last.min(end)));
    Ok(HistoryPage { next, ..found })
}

/// Lists the notifications that an event of the moment `since` led to, oldest first: at most
/// `limit`.
///
/// They are made after it, and soon; no index knows more. So those are found that are among the
/// [`SCANNED_MAX`] of the tenant made next.
pub async fn list_of_event(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    event_id: EventId,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Notification>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS);
    query.push(" from (select * from notifications as notification where tenant_id = ");
    query.push_bind(tenant_id.as_str());
    // Ids of another process may be a little older than its clock.
    query
        .push(" and id >= ")
        .push_bind(first_id(since - ID_SLACK));
    query.push(" order by id limit ").push_bind(SCANNED_MAX);
    query
        .push(") as notification where event_id = ")
        .push_bind(event_id.as_uuid());
    query.push(" order by id limit ").push_bind(limit);
    let rows = query
        .build_query_as::<Row>()
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(during("list what an event led to"))?;
    rows.into_iter().map(Notification::try_from).collect()
}

/// The page of up to `limit + 1` items read; the extra one only says that there are more.
fn whole(mut items: Vec<Notification>, limit: usize) -> HistoryPage {
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|item| item.id);
    HistoryPage { items, next }
}

/// The last row that a page looked at, if there were as many as it looks at.
async fn end_of_scan(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &HistoryFilter,
    before: Option<NotificationId>,
) -> Result<Option<NotificationId>, StoreError> {
    let mut query = QueryBuilder::new("select id from notifications as notification");
    push_range(&mut query, tenant_id, filter, before);
    query.push(" order by id desc limit 1 offset ");
    query.push_bind(SCANNED_MAX - 1);
    let id: Option<Uuid> = query
        .build_query_scalar()
        .persistent(false)
        .fetch_optional(connection)
        .await
        .map_err(during("see where a page ended"))?;
    Ok(id.map(NotificationId::from))
}

/// Rows in the order of the index, as a subquery that is still open.
fn select(
    tenant_id: &TenantId,
    filter: &HistoryFilter,
    before: Option<NotificationId>,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS);
    query.push(" from (select * from notifications as notification");
    push_range(&mut query, tenant_id, filter, before);
    query
}

/// What the index can tell.
fn push_range(
    query: &mut QueryBuilder<Postgres>,
    tenant_id: &TenantId,
    filter: &HistoryFilter,
    before: Option<NotificationId>,
) {
    query
        .push(" where tenant_id = ")
        .push_bind(tenant_id.as_str().to_owned());
    if let Some(user_id) = &filter.user_id {
        query
            .push(" and user_id = ")
            .push_bind(user_id.as_str().to_owned());
    }
    if let Some(since) = filter.since {
        query.push(" and id >= ").push_bind(first_id(since));
    }
    if let Some(until) = filter.until {
        query
            .push(" and id < ")
            .push_bind(first_id(until + ID_SLACK));
    }
    if let Some(before) = before {
        query.push(" and id < ").push_bind(before.as_uuid());
    }
}

/// What only the rows can tell. Their deliveries have ids from `since` on.
fn push_filters(query: &mut QueryBuilder<Postgres>, filter: &HistoryFilter, since: Uuid) {
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status.as_str());
    }
    if let Some(category) = &filter.category {
        query.push(" and category = ").push_bind(category.clone());
    }
    if let Some(from) = filter.since {
        query.push(" and created_at >= ").push_bind(from);
    }
    if let Some(until) = filter.until {
        query.push(" and created_at < ").push_bind(until);
    }
    if let Some(channel) = filter.channel {
        query.push(
            " and exists (select from deliveries as delivery \
              where delivery.notification_id = notification.id and delivery.channel = ",
        );
        query.push_bind(channel.as_str());
        // Looked at row by row: of a channel that is rare the planner would read every delivery.
        query.push(" and delivery.id >= ").push_bind(since);
        query.push(" offset 0)");
    }
    if let Some(is_archived) = filter.is_archived {
        push_feed(query, is_archived, "archived_at is not null", since);
    }
}

/// Whether the notification has an entry in its user's feed of which `condition` holds.
fn push_feed(
    query: &mut QueryBuilder<Postgres>,
    is_wanted: bool,
    condition: &'static str,
    since: Uuid,
) {
    query.push(if is_wanted { " and " } else { " and not " });
    query.push(
        "exists (select from deliveries as delivery \
         join inbox on inbox.tenant_id = delivery.tenant_id \
         and inbox.user_id = delivery.user_id and inbox.seq = delivery.seq \
         where delivery.notification_id = notification.id and inbox.",
    );
    query.push(condition);
    query.push(" and delivery.id >= ").push_bind(since);
    query.push(" offset 0)");
}

/// Runs a query whose filters are complete.
///
/// It is planned anew every time: tenants and users differ by orders of magnitude, and a plan that
/// suits one of them would be kept for all.
async fn fetch(
    connection: &mut PgConnection,
    mut query: QueryBuilder<Postgres>,
    limit: usize,
) -> Result<Vec<Notification>, StoreError> {
    query.push(" order by id desc limit ");
    query.push_bind(limit as i64 + 1);
    let rows = query
        .build_query_as::<Row>()
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(during("list notifications"))?;
    rows.into_iter().map(Notification::try_from).collect()
}

//! The statements of a settlement. Each does nothing when it has nothing to write.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, NotificationId, Status, TenantId, UserId};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::count::{self, Facts};
use super::fold::{DeliveryRow, Rendered, Routed};
use crate::deliveries::earliest_delivery;
use crate::effect::{InboxArrival, NewDelivery};

/// Moves direct sends that are still open to what routing decided; answers those. Sorted ids are
/// updated in their order.
pub(super) async fn routed(
    connection: &mut PgConnection,
    routed: &mut [Routed<'_>],
) -> Result<Vec<(NotificationId, Facts)>, sqlx::Error> {
    if routed.is_empty() {
        return Ok(Vec::new());
    }
    routed.sort_unstable_by_key(|row| row.id);
    let ids: Vec<_> = routed.iter().map(|row| row.id.as_uuid()).collect();
    let statuses: Vec<_> = routed.iter().map(|row| row.status.as_str()).collect();
    let counts: Vec<_> = routed.iter().map(|row| row.delivery_count as i16).collect();
    let categories: Vec<_> = routed.iter().map(|row| row.category).collect();
    let locales: Vec<_> = routed.iter().map(|row| row.locale).collect();
    let versions: Vec<_> = routed
        .iter()
        .map(|row| row.template_version.map(|version| version as i32))
        .collect();
    let rows = sqlx::query!(
        r#"
        update notifications as notification
        set status = routed.status,
            delivery_count = routed.delivery_count,
            category = coalesce(notification.category, routed.category),
            locale = coalesce(notification.locale, routed.locale),
            template_version = routed.template_version,
            updated_at = now()
        from unnest(
                $1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::integer[]
            ) as routed (id, status, delivery_count, category, locale, template_version)
        where notification.id = routed.id
          and notification.status = 'pending'
        returning notification.id, notification.tenant_id, notification.priority,
                  notification.is_test,
                  notification.rule_id || '/' || notification.action || '/'
                      || notification.variant as side
        "#,
        &ids,
        &statuses as &[&str],
        &counts,
        &categories as &[Option<&str>],
        &locales as &[Option<&str>],
        &versions as &[Option<i32>],
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.id.into(),
                count::read(row.tenant_id, &row.priority, row.is_test, row.side)?,
            ))
        })
        .collect()
}

/// Locks deliveries in the order of their ids, which must be sorted, and reads where they stand.
pub(super) async fn lock_deliveries<'a>(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
) -> Result<Vec<DeliveryRow<'a>>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.channel, delivery.status,
               delivery.attempts, delivery.job_id
        from unnest($1::uuid[]) as changed (id)
        join deliveries as delivery on delivery.id = changed.id
        order by delivery.id
        for no key update of delivery
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = read_status(&row.status)?;
            let channel = Channel::parse(&row.channel).ok_or_else(|| {
                sqlx::Error::Decode(format!("unknown channel {:?}", row.channel).into())
            })?;
            Ok(DeliveryRow::locked(
                row.id.into(),
                row.notification_id.into(),
                channel,
                status,
                row.attempts as u16,
                row.job_id,
            ))
        })
        .collect()
}

/// Stores the messages of deliveries that are still open.
///
/// That is all there is to know about them, so nothing is read first: it halves the cost. Sorted
/// ids are updated in their order.
pub(super) async fn rendered(
    connection: &mut PgConnection,
    rendered: &mut [Rendered<'_>],
) -> Result<(), sqlx::Error> {
    if rendered.is_empty() {
        return Ok(());
    }
    rendered.sort_unstable_by_key(|row| row.id);
    let ids: Vec<_> = rendered.iter().map(|row| row.id.as_uuid()).collect();
    let messages: Vec<_> = rendered.iter().map(|row| Json(row.message)).collect();
    let templates: Vec<_> = rendered.iter().map(|row| row.template).collect();
    let locales: Vec<_> = rendered.iter().map(|row| row.locale).collect();
    let job_ids: Vec<_> = rendered.iter().map(|row| row.job_id).collect();
    sqlx::query!(
        r#"
        update deliveries as delivery
        set message = rendered.message,
            template = rendered.template,
            locale = rendered.locale,
            job_id = rendered.job_id,
            updated_at = now()
        from unnest(
                $1::uuid[], $2::jsonb[], $3::text[],
                $4::text[], $5::uuid[]
            ) as rendered (id, message, template, locale, job_id)
        where delivery.id = rendered.id
          and delivery.status in ('pending', 'queued', 'retrying')
        "#,
        &ids,
        &messages as &[Json<&domain::Message>],
        &templates as &[Option<&str>],
        &locales as &[Option<&str>],
        &job_ids as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the status of deliveries that moved or were attempted.
pub(super) async fn moved(
    connection: &mut PgConnection,
    moved: &[&DeliveryRow<'_>],
) -> Result<(), sqlx::Error> {
    if moved.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = moved.iter().map(|row| row.id.as_uuid()).collect();
    let statuses: Vec<_> = moved.iter().map(|row| row.status.as_str()).collect();
    let attempts: Vec<_> = moved.iter().map(|row| row.attempts as i16).collect();
    let seqs: Vec<_> = moved.iter().map(|row| row.seq).collect();
    let providers: Vec<_> = moved.iter().map(|row| row.provider).collect();
    let errors: Vec<_> = moved.iter().map(|row| row.error).collect();
    let are_moved: Vec<_> = moved.iter().map(|row| row.is_moved).collect();
    let job_ids: Vec<_> = moved.iter().map(|row| row.job_id).collect();
    let times: Vec<_> = moved.iter().map(|row| row.changed_at).collect();
    sqlx::query!(
        r#"
        update deliveries as delivery
        set status = moved.status,
            attempts = moved.attempts,
            seq = coalesce(moved.seq, delivery.seq),
            provider = coalesce(moved.provider, delivery.provider),
            error = case when moved.is_moved then moved.error else delivery.error end,
            job_id = moved.job_id,
            updated_at = moved.at
        from unnest(
                $1::uuid[], $2::text[], $3::smallint[],
                $4::bigint[], $5::text[], $6::text[],
                $7::boolean[], $8::uuid[], $9::timestamptz[]
            ) as moved (id, status, attempts, seq, provider, error, is_moved, job_id, at)
        where delivery.id = moved.id
        "#,
        &ids,
        &statuses as &[&str],
        &attempts,
        &seqs as &[Option<i64>],
        &providers as &[Option<&str>],
        &errors as &[Option<&str>],
        &are_moved,
        &job_ids as &[Option<Uuid>],
        &times as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A feed that was raised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raised {
    /// The first of the numbers added.
    pub(super) first: i64,
    pub(super) unread: i64,
    /// Nothing up to here is unread.
    pub(super) read_seq: i64,
}

/// Adds to each feed's last number and unread count.
///
/// The row lock is held until the commit, so numbers become visible in their order.
pub(super) async fn raise_feeds<'a>(
    connection: &mut PgConnection,
    feeds: &BTreeMap<(&'a TenantId, &'a UserId), i64>,
) -> Result<BTreeMap<(&'a str, &'a str), Raised>, sqlx::Error> {
    if feeds.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tenants: Vec<_> = feeds.keys().map(|(tenant, _)| tenant.as_str()).collect();
    let users: Vec<_> = feeds.keys().map(|(_, user)| user.as_str()).collect();
    let counts: Vec<_> = feeds.values().copied().collect();
    let rows = sqlx::query!(
        r#"
        insert into inbox_heads as head (tenant_id, user_id, seq, unread)
        select tenant_id, user_id, arrived, arrived
        from unnest($1::text[], $2::text[], $3::bigint[]) as feed (tenant_id, user_id, arrived)
        on conflict (tenant_id, user_id) do update
        set seq = head.seq + excluded.seq, unread = head.unread + excluded.unread
        returning tenant_id, user_id, seq, unread, read_seq
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &counts,
    )
    .fetch_all(connection)
    .await?;

    let raised: HashMap<_, _> = rows
        .iter()
        .map(|row| ((row.tenant_id.as_str(), row.user_id.as_str()), row))
        .collect();
    feeds
        .iter()
        .map(|((tenant, user), count)| {
            let key = (tenant.as_str(), user.as_str());
            let row = raised.get(&key).ok_or(sqlx::Error::RowNotFound)?;
            let raised = Raised {
                first: row.seq - count + 1,
                unread: row.unread,
                read_seq: row.read_seq,
            };
            Ok((key, raised))
        })
        .collect()
}

/// Inserts what arrived, under the numbers it was given.
pub(super) async fn inbox(
    connection: &mut PgConnection,
    arrivals: &[(i64, &InboxArrival)],
) -> Result<(), sqlx::Error> {
    if arrivals.is_empty() {
        return Ok(());
    }
    let seqs: Vec<_> = arrivals.iter().map(|(seq, _)| *seq).collect();
    let times: Vec<_> = arrivals.iter().map(|(_, row)| row.at).collect();
    let notifications: Vec<_> = arrivals
        .iter()
        .map(|(_, row)| row.notification_id.as_uuid())
        .collect();
    let deliveries: Vec<_> = arrivals
        .iter()
        .map(|(_, row)| row.delivery_id.as_uuid())
        .collect();
    let tenants: Vec<_> = arrivals
        .iter()
        .map(|(_, row)| row.tenant_id.as_str())
        .collect();
    let users: Vec<_> = arrivals
        .iter()
        .map(|(_, row)| row.user_id.as_str())
        .collect();
    sqlx::query!(
        r#"
        insert into inbox (seq, created_at, notification_id, delivery_id, tenant_id, user_id)
        select *
        from unnest(
            $1::bigint[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[]
        )
        "#,
        &seqs,
        &times,
        &notifications,
        &deliveries,
        &tenants as &[&str],
        &users as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks notifications in the order of their ids, which must be sorted.
pub(super) async fn lock_notifications(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<Vec<(NotificationId, Facts)>, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification.id, notification.tenant_id, notification.priority,
               notification.is_test,
               notification.rule_id || '/' || notification.action || '/'
                   || notification.variant as side
        from unnest($1::uuid[]) as shared (id)
        join notifications as notification on notification.id = shared.id
        order by notification.id
        for no key update of notification
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.id.into(),
                count::read(row.tenant_id, &row.priority, row.is_test, row.side)?,
            ))
        })
        .collect()
}

/// Reads what the counts need to know of notifications.
pub(super) async fn facts(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<Vec<(NotificationId, Facts)>, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification.id, notification.tenant_id, notification.priority,
               notification.is_test,
               notification.rule_id || '/' || notification.action || '/'
                   || notification.variant as side
        from unnest($1::uuid[]) as wanted (id)
        join notifications as notification on notification.id = wanted.id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.id.into(),
                count::read(row.tenant_id, &row.priority, row.is_test, row.side)?,
            ))
        })
        .collect()
}

/// Raises the counts of notifications that have got stand-ins. They are locked, because the
/// deliveries that those stand in for have moved.
pub(super) async fn counted(
    connection: &mut PgConnection,
    added: &[&NewDelivery],
) -> Result<(), sqlx::Error> {
    if added.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<Uuid, i16> = BTreeMap::new();
    for row in added {
        *counts.entry(row.notification_id.as_uuid()).or_default() += 1;
    }
    let ids: Vec<_> = counts.keys().copied().collect();
    let counts: Vec<_> = counts.into_values().collect();
    sqlx::query!(
        r#"
        update notifications as notification
        set delivery_count = notification.delivery_count + added.count
        from unnest($1::uuid[], $2::smallint[]) as added (id, count)
        where notification.id = added.id
        "#,
        &ids,
        &counts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the statuses of all deliveries of some notifications.
pub(super) async fn sibling_statuses(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<HashMap<NotificationId, Vec<Status>>, sqlx::Error> {
    let since = earliest_delivery(ids);
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification_id, status
        from deliveries
        where notification_id = any($1::uuid[])
          and id >= $2
        "#,
        &ids,
        since,
    )
    .fetch_all(connection)
    .await?;

    let mut siblings: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        let status = read_status(&row.status)?;
        siblings
            .entry(row.notification_id.into())
            .or_default()
            .push(status);
    }
    Ok(siblings)
}

/// Writes the statuses that notifications have come to, where they differ; answers those.
pub(super) async fn notification_statuses(
    connection: &mut PgConnection,
    statuses: &BTreeMap<NotificationId, (Status, DateTime<Utc>)>,
) -> Result<Vec<(NotificationId, Facts)>, sqlx::Error> {
    if statuses.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = statuses.keys().map(|id| id.as_uuid()).collect();
    let words: Vec<_> = statuses
        .values()
        .map(|(status, _)| status.as_str())
        .collect();
    let times: Vec<_> = statuses.values().map(|(_, at)| *at).collect();
    let rows = sqlx::query!(
        r#"
        update notifications as notification
        set status = summed.status, updated_at = summed.at
        from unnest($1::uuid[], $2::text[], $3::timestamptz[])
            as summed (id, status, at)
        where notification.id = summed.id
          and notification.status <> summed.status
        returning notification.id, notification.tenant_id, notification.priority,
                  notification.is_test,
                  notification.rule_id || '/' || notification.action || '/'
                      || notification.variant as side
        "#,
        &ids,
        &words as &[&str],
        &times,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.id.into(),
                count::read(row.tenant_id, &row.priority, row.is_test, row.side)?,
            ))
        })
        .collect()
}

/// Reads a status that the column's check constraint keeps to known words.
fn read_status(word: &str) -> Result<Status, sqlx::Error> {
    Status::parse(word)
        .ok_or_else(|| sqlx::Error::Decode(format!("unknown status {word:?}").into()))
}

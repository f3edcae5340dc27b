//! Digests as stored: what a job reads of them. Settlements write them.
//!
//! An item is an event, or a delivery that quiet hours hold back; both are known by their ids alone.
//! A delivery that was taken back, or has expired, is not told and not counted.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{
    DeliveryId, DigestId, DigestKey, EventId, NotificationId, Priority, Severity, Telling,
    TenantId, UserId,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::StoreError;
use crate::effect::{DigestClose, DigestPostpone, Effect};
use crate::error::{during, unknown_word};
use crate::held::list_held;
pub use crate::held::{About, Held, list_held_kinds, list_quiet_digests};
use crate::json::Document;
use crate::partitions::first_id;
use crate::settlement::severity_of;

/// Items of one digest that a template is handed; the rest is in `count` alone.
pub const ITEMS_MAX: i64 = 1000;

/// Bytes of payloads of one digest that a template is handed. The largest payload fits twice.
pub const ITEMS_BYTES_MAX: i64 = 2 * 1024 * 1024;

/// How far a digest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestStatus {
    /// Items join.
    Open,
    /// Nothing joins any more; a `route` job is to tell it.
    Closed,
    /// A notification tells it.
    Told,
    /// An operator took it back.
    Cancelled,
}

impl DigestStatus {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "open" => Some(Self::Open),
            "closed" => Some(Self::Closed),
            "told" => Some(Self::Told),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// A row of `digests`, without its items.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    pub id: DigestId,
    pub key: DigestKey,
    pub status: DigestStatus,
    pub opened_at: DateTime<Utc>,
    pub closes_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub size_max: Option<i32>,
    /// Joins, as counted by who joined.
    pub count: i32,
    /// The most urgent of its items.
    pub priority: Priority,
    /// The most severe of its items.
    pub severity: Option<Severity>,
    pub telling: Telling,
    pub notification_id: Option<NotificationId>,
}

impl Digest {
    /// What closes it, unless somebody else has.
    pub fn close(&self, at: DateTime<Utc>) -> Effect {
        Effect::DigestClosed(Box::new(DigestClose {
            digest_id: self.id,
            key: self.key.clone(),
            at,
        }))
    }

    /// What moves the end of its window, unless it has closed.
    pub fn postpone(&self, closes_at: DateTime<Utc>, at: DateTime<Utc>) -> Effect {
        Effect::DigestPostponed(Box::new(DigestPostpone {
            digest_id: self.id,
            key: self.key.clone(),
            closes_at,
            at,
        }))
    }

    /// What takes an item out once it has closed, so that it is not told with the others.
    pub fn left_by(&self, delivery_id: DeliveryId) -> Effect {
        Effect::DigestLeft {
            id: self.id,
            source_id: delivery_id.as_uuid(),
        }
    }
}

/// A digest and what its notification needs of its last item.
#[derive(Debug, Clone, PartialEq)]
pub struct ToTell {
    pub digest: Digest,
    /// Items there are to be told.
    pub count: i64,
    /// What quiet hours held back of it and still waits, by id.
    pub held: Vec<Held>,
    /// The event that joined last, or that led to the delivery that did.
    pub last_event: Option<EventId>,
    /// Its type.
    pub kind: Option<String>,
}

/// What a template is told of a digest.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DigestItems {
    /// Items there are.
    pub count: i64,
    /// The payloads of the first [`ITEMS_MAX`], in the order in which they came in.
    pub payloads: Vec<Value>,
}

/// A key as its row holds it. Its order is the one in which digests are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoredKey<'a> {
    pub(crate) tenant_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) rule_id: Uuid,
    pub(crate) action: i16,
    pub(crate) hash: [u8; 32],
}

impl<'a> StoredKey<'a> {
    pub(crate) fn of(key: &'a DigestKey) -> Self {
        Self {
            tenant_id: key.tenant_id.as_str(),
            user_id: key.user_id.as_str(),
            rule_id: key.rule_id.map(domain::RuleId::as_uuid).unwrap_or_default(),
            action: key.action.min(i16::MAX as u16) as i16,
            hash: Sha256::digest(key.batch_key.as_bytes()).into(),
        }
    }
}

/// A priority as a number that `least` understands: 0 is critical.
pub(crate) fn stored_urgency(priority: Priority) -> i16 {
    priority as i16
}

pub(crate) fn urgency_of(stored: i16) -> Result<Priority, sqlx::Error> {
    Priority::ALL
        .into_iter()
        .find(|priority| *priority as i16 == stored)
        .ok_or_else(|| sqlx::Error::Decode(format!("unknown urgency {stored}").into()))
}

/// Finds digests by id, for a whole claim of jobs. Missing ones are left out.
pub async fn list_digests(
    connection: &mut PgConnection,
    ids: &[DigestId],
) -> Result<Vec<Digest>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select digest.digest_id, digest.tenant_id, digest.user_id, digest.rule_id, digest.action,
               digest.batch_key, digest.status, digest.opened_at, digest.closes_at,
               digest.closed_at, digest.size_max, digest.count, digest.urgency, digest.severity,
               digest.telling as "telling: Json<Telling>", digest.notification_id
        from unnest($1::uuid[]) as wanted (digest_id)
        join digests as digest on digest.digest_id = wanted.digest_id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read digests"))?;

    rows.into_iter()
        .map(|row| {
            let status = DigestStatus::parse(&row.status);
            Ok(Digest {
                id: row.digest_id.into(),
                key: DigestKey {
                    tenant_id: TenantId::from(row.tenant_id),
                    user_id: UserId::from(row.user_id),
                    rule_id: (!row.rule_id.is_nil()).then(|| row.rule_id.into()),
                    action: row.action as u16,
                    batch_key: row.batch_key,
                },
                status: status.ok_or_else(|| unknown_word("digests", &row.status))?,
                opened_at: row.opened_at,
                closes_at: row.closes_at,
                closed_at: row.closed_at,
                size_max: row.size_max,
                count: row.count,
                priority: urgency_of(row.urgency).map_err(during("read digests"))?,
                severity: severity_of(row.severity),
                telling: row.telling.0,
                notification_id: row.notification_id.map(NotificationId::from),
            })
        })
        .collect()
}

/// Finds digests by id, with their last items, for a whole claim of jobs. Missing ones are left
/// out.
pub async fn list_to_tell(
    connection: &mut PgConnection,
    ids: &[DigestId],
) -> Result<Vec<ToTell>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let digests = list_digests(&mut *connection, ids).await?;
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select wanted.digest_id as "digest_id!", counted.count as "count!", event.id as "event_id?",
               coalesce(event.type, sent.type) as kind
        from unnest($1::uuid[]) as wanted (digest_id)
        cross join lateral (
            select count(*)
            from digest_items as item
            left join deliveries as held on held.id = item.source_id
            where item.digest_id = wanted.digest_id
              and (held.status in ('cancelled', 'expired')) is not true
        ) as counted
        left join lateral (
            select item.source_id, held.notification_id
            from digest_items as item
            left join deliveries as held on held.id = item.source_id
            where item.digest_id = wanted.digest_id
              and (held.status in ('cancelled', 'expired')) is not true
            order by item.source_id desc
            limit 1
        ) as last on true
        left join lateral (
            select sent.type, sent.event_id
            from notifications as sent
            where sent.id = last.notification_id
            limit 1
        ) as sent on true
        left join lateral (
            select event.id, event.type
            from events as event
            where event.id = coalesce(sent.event_id, last.source_id)
            limit 1
        ) as event on true
        "#,
        &ids,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("read the last items of digests"))?;
    let mut held: HashMap<DigestId, Vec<Held>> = HashMap::new();
    for row in list_held(connection, &digests).await? {
        held.entry(row.digest_id).or_default().push(row);
    }
    let mut last: HashMap<_, _> = rows
        .into_iter()
        .map(|row| (DigestId::from(row.digest_id), row))
        .collect();
    let told = digests.into_iter().filter_map(|digest| {
        let last = last.remove(&digest.id)?;
        Some(ToTell {
            held: held.remove(&digest.id).unwrap_or_default(),
            digest,
            count: last.count,
            last_event: last.event_id.map(EventId::from),
            kind: last.kind,
        })
    });
    Ok(told.collect())
}

/// Reads what the templates of some digests are handed, in one statement.
///
/// An item whose row is gone stands as an empty object, so that none is missed in silence. What quiet
/// hours held back has a `title` and, if it brought its own words, a `message`, unless its payload
/// says otherwise.
pub async fn list_items(
    connection: &mut PgConnection,
    ids: &[DigestId],
) -> Result<HashMap<DigestId, DigestItems>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select wanted.digest_id as "digest_id!", counted.count as "count!",
               told.payload as "payload?: Document<Value>"
        from unnest($1::uuid[]) as wanted (digest_id)
        cross join lateral (
            select count(*)
            from digest_items as item
            left join deliveries as held on held.id = item.source_id
            where item.digest_id = wanted.digest_id
              and (held.status in ('cancelled', 'expired')) is not true
        ) as counted
        left join lateral (
            select weighed.source_id, weighed.payload
            from (
                select first.source_id, first.payload,
                       sum(octet_length(first.payload::text))
                           over (order by first.source_id) as bytes
                from (
                    select item.source_id,
                           case when sent.id is null then coalesce(event.payload, '{}')
                                else jsonb_strip_nulls(jsonb_build_object(
                                         'title', coalesce(
                                             sent.subject,
                                             initcap(translate(lower(sent.type), '._-', '   '))
                                         ),
                                         'message', sent.content
                                     )) || coalesce(event.payload, sent.data, '{}')
                           end as payload
                    from (
                        select item.source_id, held.notification_id
                        from digest_items as item
                        left join deliveries as held on held.id = item.source_id
                        where item.digest_id = wanted.digest_id
                          and (held.status in ('cancelled', 'expired')) is not true
                        order by item.source_id
                        limit $2
                    ) as item
                    left join notifications as sent on sent.id = item.notification_id
                    left join events as event
                        on event.id = coalesce(sent.event_id, item.source_id)
                ) as first
            ) as weighed
            where weighed.bytes <= $3
        ) as told on true
        order by wanted.digest_id, told.source_id
        "#,
        &ids,
        ITEMS_MAX,
        ITEMS_BYTES_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the items of digests"))?;

    let mut items: HashMap<DigestId, DigestItems> = HashMap::with_capacity(ids.len());
    for row in rows {
        let items = items.entry(row.digest_id.into()).or_default();
        items.count = row.count;
        items.payloads.extend(row.payload.map(|payload| payload.0));
    }
    Ok(items)
}

/// Takes back a digest that nobody has told yet, and answers whether it was there.
///
/// What it holds is not told; what comes later opens another.
pub async fn cancel_digest(
    connection: &mut PgConnection,
    id: DigestId,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let cancelled = sqlx::query!(
        "update digests
         set status = 'cancelled', closed_at = coalesce(closed_at, $2)
         where digest_id = $1 and status in ('open', 'closed')",
        id.as_uuid(),
        at,
    )
    .execute(connection)
    .await
    .map_err(during("cancel a digest"))?;
    Ok(cancelled.rows_affected() == 1)
}

/// Digests removed in one transaction.
const PRUNED_MAX: i64 = 500;

/// Removes digests that ended before `before` and whose notification is gone, with their items.
/// Answers how many; those that still wait for somebody stay.
pub async fn prune(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    // Ids are in the order of opening, so this reads from the oldest.
    let pruned = sqlx::query!(
        "with gone as materialized (
             select digest.digest_id
             from digests as digest
             left join notifications as notification on notification.id = digest.notification_id
             where digest.digest_id < $1
               and digest.status in ('told', 'cancelled')
               and digest.closed_at < $2
               and notification.id is null
             order by digest.digest_id
             limit $3
         ), items as (
             delete from digest_items as item
             using gone
             where item.digest_id = gone.digest_id
         )
         delete from digests as digest
         using gone
         where digest.digest_id = gone.digest_id",
        first_id(before),
        before,
        PRUNED_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("remove old digests"))?;
    Ok(pruned.rows_affected())
}

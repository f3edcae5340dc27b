//! Keys that make a submission unique for longer than its partition is kept, or shorter.
//!
//! A key is claimed in the transaction that inserts what it belongs to. Of two transactions that
//! claim one key, the second waits for the first and then learns of its row.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;

/// Claims `event_id` for an event: unique per tenant and producer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    pub tenant_id: TenantId,
    pub producer: String,
    pub event_id: String,
    /// The row that the key is claimed for.
    pub id: Uuid,
    pub expires_at: DateTime<Utc>,
}

/// Claims `dedupe_key` for an event or a direct send: unique per tenant and type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DedupeKey {
    pub tenant_id: TenantId,
    /// The event type; for a direct send, `notification`.
    pub kind: String,
    pub dedupe_key: String,
    /// The row that the key is claimed for.
    pub id: Uuid,
    pub expires_at: DateTime<Utc>,
}

/// How a claim went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClaim {
    /// The key was free, or had expired; it is taken now.
    Fresh,
    /// The key belongs to another row, which stands for this one too.
    DuplicateOf(Uuid),
}

/// Finds the event that a producer knows by this name.
pub async fn find_event_key(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    producer: &str,
    event_id: &str,
) -> Result<Option<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select id from event_keys where tenant_id = $1 and producer = $2 and event_id = $3",
        tenant_id.as_str(),
        producer,
        event_id,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find an event by its key"))
}

/// Finds the event or the direct send of a type that has this key.
pub async fn find_dedupe_key(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    kind: &str,
    dedupe_key: &str,
) -> Result<Option<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select id from dedupe_keys where tenant_id = $1 and type = $2 and dedupe_key = $3",
        tenant_id.as_str(),
        kind,
        dedupe_key,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find what has a dedupe key"))
}

/// Claims event keys; the answers are in the order of `keys`.
///
/// Keys must be sorted, so that two transactions lock them in one order, and name each key once.
pub async fn claim_event_keys(
    connection: &mut PgConnection,
    keys: &[EventKey],
    now: DateTime<Utc>,
) -> Result<Vec<KeyClaim>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<_> = keys.iter().map(|key| key.tenant_id.as_str()).collect();
    let producers: Vec<_> = keys.iter().map(|key| key.producer.as_str()).collect();
    let event_ids: Vec<_> = keys.iter().map(|key| key.event_id.as_str()).collect();
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    let expiries: Vec<_> = keys.iter().map(|key| key.expires_at).collect();
    let fresh = sqlx::query_scalar!(
        r#"
        insert into event_keys as known (tenant_id, producer, event_id, id, expires_at)
        select *
        from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[])
        on conflict (tenant_id, producer, event_id) do update
        set id = excluded.id, expires_at = excluded.expires_at
        where known.expires_at <= $6
        returning id
        "#,
        &tenants as &[&str],
        &producers as &[&str],
        &event_ids as &[&str],
        &ids,
        &expiries,
        now,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("claim event keys"))?;
    if fresh.len() == keys.len() {
        return Ok(vec![KeyClaim::Fresh; keys.len()]);
    }

    let owners = sqlx::query!(
        r#"
        select claimed.id as "claimed_id!", known.id
        from unnest(
                $1::text[], $2::text[], $3::text[], $4::uuid[]
            ) as claimed (tenant_id, producer, event_id, id)
        join event_keys as known using (tenant_id, producer, event_id)
        "#,
        &tenants as &[&str],
        &producers as &[&str],
        &event_ids as &[&str],
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read event keys"))?;
    let owners = owners
        .into_iter()
        .map(|row| (row.claimed_id, row.id))
        .collect();
    Ok(claims(&ids, &owners))
}

/// Claims dedupe keys; the answers are in the order of `keys`.
///
/// Keys must be sorted, so that two transactions lock them in one order, and name each key once.
pub async fn claim_dedupe_keys(
    connection: &mut PgConnection,
    keys: &[DedupeKey],
    now: DateTime<Utc>,
) -> Result<Vec<KeyClaim>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<_> = keys.iter().map(|key| key.tenant_id.as_str()).collect();
    let kinds: Vec<_> = keys.iter().map(|key| key.kind.as_str()).collect();
    let dedupe_keys: Vec<_> = keys.iter().map(|key| key.dedupe_key.as_str()).collect();
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    let expiries: Vec<_> = keys.iter().map(|key| key.expires_at).collect();
    let fresh = sqlx::query_scalar!(
        r#"
        insert into dedupe_keys as known (tenant_id, type, dedupe_key, id, expires_at)
        select *
        from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[])
        on conflict (tenant_id, type, dedupe_key) do update
        set id = excluded.id, expires_at = excluded.expires_at
        where known.expires_at <= $6
        returning id
        "#,
        &tenants as &[&str],
        &kinds as &[&str],
        &dedupe_keys as &[&str],
        &ids,
        &expiries,
        now,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("claim dedupe keys"))?;
    if fresh.len() == keys.len() {
        return Ok(vec![KeyClaim::Fresh; keys.len()]);
    }

    let owners = sqlx::query!(
        r#"
        select claimed.id as "claimed_id!", known.id
        from unnest(
                $1::text[], $2::text[], $3::text[], $4::uuid[]
            ) as claimed (tenant_id, type, dedupe_key, id)
        join dedupe_keys as known using (tenant_id, type, dedupe_key)
        "#,
        &tenants as &[&str],
        &kinds as &[&str],
        &dedupe_keys as &[&str],
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read dedupe keys"))?;
    let owners = owners
        .into_iter()
        .map(|row| (row.claimed_id, row.id))
        .collect();
    Ok(claims(&ids, &owners))
}

/// A key whose owner is the row it was claimed for is fresh.
fn claims(ids: &[Uuid], owners: &HashMap<Uuid, Uuid>) -> Vec<KeyClaim> {
    ids.iter()
        .map(|id| match owners.get(id) {
            Some(owner) if owner != id => KeyClaim::DuplicateOf(*owner),
            _ => KeyClaim::Fresh,
        })
        .collect()
}

/// Most keys of each table one call removes, so that it holds no lock for long.
const PRUNED_MAX: i64 = 10_000;

/// Removes keys that have expired, those of repeated requests with their answers, and answers how
/// many. Ask again while it answers any.
///
/// An expired key means nothing: a fresh claim takes it over. Pruning only keeps the tables small.
pub async fn prune_expired(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let events = sqlx::query!(
        "with expired as materialized (
             select tenant_id, producer, event_id from event_keys
             where expires_at <= $1 order by expires_at limit $2 for update skip locked
         )
         delete from event_keys as key using expired
         where key.tenant_id = expired.tenant_id and key.producer = expired.producer
           and key.event_id = expired.event_id",
        now,
        PRUNED_MAX,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("prune event keys"))?;
    let dedupes = sqlx::query!(
        "with expired as materialized (
             select tenant_id, type, dedupe_key from dedupe_keys
             where expires_at <= $1 order by expires_at limit $2 for update skip locked
         )
         delete from dedupe_keys as key using expired
         where key.tenant_id = expired.tenant_id and key.type = expired.type
           and key.dedupe_key = expired.dedupe_key",
        now,
        PRUNED_MAX,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("prune dedupe keys"))?;
    let answers = sqlx::query!(
        "with expired as materialized (
             select tenant_id, request from idempotency_keys
             where expires_at <= $1 order by expires_at limit $2 for update skip locked
         )
         delete from idempotency_keys as key using expired
         where key.tenant_id = expired.tenant_id and key.request = expired.request",
        now,
        PRUNED_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("prune first answers"))?;
    Ok(events.rows_affected() + dedupes.rows_affected() + answers.rows_affected())
}

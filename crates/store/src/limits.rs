//! Rate limits: those of tenants, and the slots that were taken of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    Channel, Claim, Counter, Limit, LimitOf, Room, Scope, TenantId, WhenUnavailable, decide,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{during, unknown_word};
use crate::revisions::{Kept, raise_revision};
use crate::{Store, StoreError};

/// Limits that a tenant may have: every send is held against each of them.
pub const LIMITS_MAX: usize = 100;

/// Limits that a process reads of all tenants.
const ROWS_MAX: i64 = 1_000_000;

/// Counters removed in one transaction.
const PRUNE_ROWS: i64 = 5000;

/// How often slots are asked for when counters are removed between making and locking them.
const TRIES: usize = 4;

/// Lists the limits of every tenant, for the copy of a process.
pub async fn list_all_limits(
    connection: &mut PgConnection,
) -> Result<BTreeMap<TenantId, Vec<Limit>>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select limit_id, tenant_id, name, scope, channel, category, event_type, provider, max,
               window_seconds, when_unavailable, enabled, created_at, updated_at
        from limits
        order by tenant_id, name
        limit $1
        "#,
        ROWS_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the limits of all"))?;
    let mut tenants: BTreeMap<TenantId, Vec<Limit>> = BTreeMap::new();
    for row in rows {
        let tenant_id = TenantId::from(row.tenant_id.as_str());
        tenants.entry(tenant_id).or_default().push(row.read()?);
    }
    Ok(tenants)
}

/// Lists a tenant's limits by name.
pub async fn list_limits(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
) -> Result<Vec<Limit>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select limit_id, tenant_id, name, scope, channel, category, event_type, provider, max,
               window_seconds, when_unavailable, enabled, created_at, updated_at
        from limits
        where tenant_id = $1
        order by name
        limit $2
        "#,
        tenant_id.as_str(),
        LIMITS_MAX as i64,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list limits"))?;
    rows.into_iter().map(Row::read).collect()
}

/// Lets one change of a tenant's limits at a time through, until the transaction ends, and lists
/// them. Raises the revision first: its row is what the others wait for.
pub async fn lock_limits(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
) -> Result<Vec<Limit>, StoreError> {
    raise_revision(connection, Kept::Limits).await?;
    list_limits(connection, tenant_id).await
}

/// Stores a limit under its id: a new one, or as it is from now on. After [`lock_limits`], which
/// also tells whether the name is free.
pub async fn upsert_limit(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    limit: &Limit,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into limits (limit_id, tenant_id, name, scope, channel, category, event_type,
                            provider, max, window_seconds, when_unavailable, enabled, created_at,
                            updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        on conflict (limit_id) do update
        set name = excluded.name, scope = excluded.scope, channel = excluded.channel,
            category = excluded.category, event_type = excluded.event_type,
            provider = excluded.provider, max = excluded.max,
            window_seconds = excluded.window_seconds,
            when_unavailable = excluded.when_unavailable, enabled = excluded.enabled,
            updated_at = excluded.updated_at
        "#,
        limit.id,
        tenant_id.as_str(),
        limit.name,
        limit.scope.as_str(),
        limit.of.channel.map(Channel::as_str),
        limit.of.category,
        limit.of.event_type,
        limit.of.provider,
        i32::try_from(limit.max).unwrap_or(i32::MAX),
        i32::try_from(limit.window.as_secs()).unwrap_or(i32::MAX),
        limit.when_unavailable.map(WhenUnavailable::as_str),
        limit.enabled,
        limit.created_at,
        limit.updated_at,
    )
    .execute(connection)
    .await
    .map_err(during("store a limit"))?;
    Ok(())
}

/// Deletes a limit; answers whether it was there.
pub async fn delete_limit(
    connection: &mut PgConnection,
    limit_id: Uuid,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!("delete from limits where limit_id = $1", limit_id)
        .execute(connection)
        .await
        .map_err(during("delete a limit"))?;
    Ok(deleted.rows_affected() == 1)
}

/// Takes slots for `sends` in their order, and commits: what it answers holds whatever becomes of
/// the sends.
///
/// The one write outside the settlement: a slot must be gone before its message is. Counters are
/// locked in the order of their keys, so that claims of several nodes wait for each other and never
/// in a circle. Without `now` the database clock decides, which all nodes share.
pub async fn reserve(
    store: &Store,
    now: Option<DateTime<Utc>>,
    sends: &[Vec<Claim>],
) -> Result<Vec<Room>, StoreError> {
    let keys: BTreeSet<_> = sends.iter().flatten().map(|claim| claim.key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    if keys.is_empty() {
        return Ok(vec![Room::Taken; sends.len()]);
    }
    for _ in 0..TRIES {
        let mut tx = store.begin().await?;
        let (moment, mut counters) = lock(&mut tx, now, &keys).await?;
        let missing = keys.iter().filter(|key| !counters.contains_key(key));
        let missing: Vec<_> = missing.copied().collect();
        if missing.is_empty() {
            let (rooms, changed) = decide(moment, &mut counters, sends);
            write(&mut tx, &counters, &changed).await?;
            tx.commit().await?;
            return Ok(rooms);
        }
        // Made in a transaction of their own: one that holds locks must not wait for another that
        // makes the same.
        tx.rollback().await?;
        let mut tx = store.begin().await?;
        insert(&mut tx, &missing, now).await?;
        tx.commit().await?;
    }
    Err(StoreError::Inconsistent {
        table: "limit_counters",
        detail: "its rows do not stay".to_owned(),
    })
}

/// Locks the counters that are there; answers with them what time it is.
async fn lock(
    connection: &mut PgConnection,
    now: Option<DateTime<Utc>>,
    keys: &[Uuid],
) -> Result<(DateTime<Utc>, BTreeMap<Uuid, Counter>), StoreError> {
    // The clock is read outside the subquery, so after its rows are locked: a moment from before a
    // long wait would let slots go too early.
    let rows = sqlx::query!(
        r#"
        select key as "key!", state as "state!", coalesce($2, clock_timestamp()) as "now!"
        from (
            select key, state
            from limit_counters
            where key = any($1::uuid[])
            order by key
            for update
        ) as locked
        "#,
        keys,
        now,
    )
    .fetch_all(connection)
    .await
    .map_err(during("lock the counters of limits"))?;
    let moment = rows.iter().map(|row| row.now).max().unwrap_or_default();
    let counters = rows.into_iter().map(|row| {
        let counter = Counter::from_bytes(&row.state);
        let counter = counter.ok_or_else(|| StoreError::Inconsistent {
            table: "limit_counters",
            detail: "a state was cut short".to_owned(),
        });
        Ok((row.key, counter?))
    });
    Ok((moment, counters.collect::<Result<_, StoreError>>()?))
}

/// Makes counters of which nothing is taken. Sorted, so that two who make the same wait in order.
async fn insert(
    connection: &mut PgConnection,
    keys: &[Uuid],
    now: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into limit_counters (key, expires_at, state)
        select key, coalesce($2, clock_timestamp()) + interval '1 minute', ''
        from unnest($1::uuid[]) as missing (key)
        order by key
        on conflict (key) do nothing
        "#,
        keys,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("make counters of limits"))?;
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    counters: &BTreeMap<Uuid, Counter>,
    changed: &BTreeMap<Uuid, DateTime<Utc>>,
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = changed.keys().copied().collect();
    let expiries: Vec<_> = changed.values().copied().collect();
    let states = keys.iter().filter_map(|key| counters.get(key));
    let states: Vec<_> = states.map(Counter::to_bytes).collect();
    sqlx::query!(
        r#"
        update limit_counters as counter
        set state = taken.state, expires_at = taken.expires_at
        from unnest($1::uuid[], $2::bytea[], $3::timestamptz[]) as taken (key, state, expires_at)
        where counter.key = taken.key
        "#,
        &keys,
        &states,
        &expiries,
    )
    .execute(connection)
    .await
    .map_err(during("take slots"))?;
    Ok(())
}

/// Removes some counters of which nothing counts any more; answers how many. One that is in use is
/// left for the next time.
pub async fn prune_counters(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let pruned = sqlx::query!(
        r#"
        delete from limit_counters
        where key = any(array(
            select key from limit_counters where expires_at < $1 limit $2 for update skip locked
        ))
        "#,
        now,
        PRUNE_ROWS,
    )
    .execute(connection)
    .await
    .map_err(during("prune the counters of limits"))?;
    Ok(pruned.rows_affected())
}

/// A row of `limits`.
struct Row {
    limit_id: Uuid,
    tenant_id: String,
    name: String,
    scope: String,
    channel: Option<String>,
    category: Option<String>,
    event_type: Option<String>,
    provider: Option<String>,
    max: i32,
    window_seconds: i32,
    when_unavailable: Option<String>,
    enabled: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn read(self) -> Result<Limit, StoreError> {
        let unknown = |word: &str| unknown_word("limits", word);
        let channel = self
            .channel
            .map(|word| Channel::parse(&word).ok_or_else(|| unknown(&word)));
        let choice = self
            .when_unavailable
            .map(|word| WhenUnavailable::parse(&word).ok_or_else(|| unknown(&word)));
        Ok(Limit {
            id: self.limit_id,
            name: self.name,
            scope: Scope::parse(&self.scope).ok_or_else(|| unknown(&self.scope))?,
            of: LimitOf {
                channel: channel.transpose()?,
                category: self.category,
                event_type: self.event_type,
                provider: self.provider,
            },
            max: self.max.unsigned_abs(),
            window: Duration::from_secs(self.window_seconds.unsigned_abs().into()),
            when_unavailable: choice.transpose()?,
            enabled: self.enabled,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

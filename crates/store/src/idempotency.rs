//! First answers, by `Idempotency-Key`: a repeat of a request gets the answer of the first.
//!
//! Whoever carries a request out holds the advisory lock of its key until the transaction ends, so
//! no two do so at once. The answer is written in the transaction of the work: either both are
//! there or neither.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// How long a first answer is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// SQLSTATE of a lock that was not to be had within `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What makes a request the same as another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    pub tenant_id: TenantId,
    /// SHA-256 over who asked, the method, the path and the `Idempotency-Key`.
    pub request: [u8; 32],
}

impl RequestKey {
    /// The advisory lock that stands for it. Two keys that share one wait for each other in vain,
    /// which harms nobody.
    fn lock(&self) -> i64 {
        let mut number = 0_u64;
        for byte in self.request.iter().take(8) {
            number = number << 8 | u64::from(*byte);
        }
        number.cast_signed()
    }
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// SHA-256 over the query and the body that it answers.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    pub body: Vec<u8>,
}

/// Takes the lock of `key` for this transaction, waiting for whoever holds it at most `wait`.
/// Answers whether it was to be had; if not, the transaction is lost.
pub async fn lock(
    connection: &mut PgConnection,
    key: &RequestKey,
    wait: Duration,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        "select set_config('lock_timeout', $1, true)",
        wait.as_millis().to_string()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(during("set a time to wait"))?;
    let locked = sqlx::query_scalar!("select pg_advisory_xact_lock($1)::text", key.lock())
        .fetch_one(&mut *connection)
        .await;
    if let Err(sqlx::Error::Database(error)) = &locked
        && error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)
    {
        return Ok(false);
    }
    locked.map_err(during("lock a request"))?;
    // The work itself may wait as long as it usually does.
    sqlx::query_scalar!("select set_config('lock_timeout', '0', true)")
        .fetch_one(connection)
        .await
        .map_err(during("set a time to wait"))?;
    Ok(true)
}

/// Takes the locks of `keys` that are to be had at once, for this transaction, and answers for
/// each whether it was.
pub async fn try_lock(
    connection: &mut PgConnection,
    keys: &[&RequestKey],
) -> Result<Vec<bool>, StoreError> {
    let locks: Vec<_> = keys.iter().map(|key| key.lock()).collect();
    sqlx::query_scalar!(
        r#"
        select pg_try_advisory_xact_lock(lock) as "locked!"
        from unnest($1::bigint[]) with ordinality as wanted (lock, position)
        order by position
        "#,
        &locks,
    )
    .fetch_all(connection)
    .await
    .map_err(during("lock requests"))
}

/// Finds first answers that are still kept. Lock the keys before, in an earlier statement.
pub async fn find(
    connection: &mut PgConnection,
    keys: &[&RequestKey],
    now: DateTime<Utc>,
) -> Result<HashMap<RequestKey, FirstAnswer>, StoreError> {
    let tenants: Vec<_> = keys.iter().map(|key| key.tenant_id.as_str()).collect();
    let requests: Vec<_> = keys.iter().map(|key| key.request.to_vec()).collect();
    // Whether a row has expired is looked at here: as a condition it lets the planner read by the
    // index of expiries, all of it, and 2 900 keyed requests a second were all there were.
    let rows = sqlx::query!(
        r#"
        select tenant_id, request, fingerprint, expires_at, status, answer
        from idempotency_keys
        join unnest($1::text[], $2::bytea[]) as wanted (tenant_id, request)
            using (tenant_id, request)
        "#,
        &tenants as &[&str],
        &requests,
    )
    .fetch_all(connection)
    .await
    .map_err(during("look for first answers"))?;
    rows.into_iter()
        .filter(|row| row.expires_at > now)
        .map(|row| {
            let key = RequestKey {
                tenant_id: row.tenant_id.into(),
                request: digest(row.request)?,
            };
            let answer = FirstAnswer {
                fingerprint: digest(row.fingerprint)?,
                status: row.status.cast_unsigned(),
                body: row.answer,
            };
            Ok((key, answer))
        })
        .collect()
}

/// Keeps first answers for 24 hours; what is there must have expired.
pub async fn keep(
    connection: &mut PgConnection,
    answers: &[(&RequestKey, FirstAnswer)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let tenants: Vec<_> = answers
        .iter()
        .map(|(key, _)| key.tenant_id.as_str())
        .collect();
    let requests: Vec<_> = answers
        .iter()
        .map(|(key, _)| key.request.to_vec())
        .collect();
    let fingerprints: Vec<_> = answers
        .iter()
        .map(|(_, answer)| answer.fingerprint.to_vec())
        .collect();
    let statuses: Vec<_> = answers
        .iter()
        .map(|(_, answer)| answer.status.cast_signed())
        .collect();
    let bodies: Vec<_> = answers
        .iter()
        .map(|(_, answer)| answer.body.as_slice())
        .collect();
    sqlx::query!(
        r#"
        insert into idempotency_keys (tenant_id, request, fingerprint, expires_at, status, answer)
        select tenant_id, request, fingerprint, $6, status, answer
        from unnest($1::text[], $2::bytea[], $3::bytea[], $4::smallint[], $5::bytea[])
            as given (tenant_id, request, fingerprint, status, answer)
        on conflict (tenant_id, request) do update
        set fingerprint = excluded.fingerprint,
            expires_at = excluded.expires_at,
            status = excluded.status,
            answer = excluded.answer
        "#,
        &tenants as &[&str],
        &requests,
        &fingerprints,
        &statuses,
        &bodies as &[&[u8]],
        now + KEPT,
    )
    .execute(connection)
    .await
    .map_err(during("keep first answers"))?;
    Ok(())
}

/// Notes that the answer kept under `key` repeats what is known of a user: it is erased with them.
pub async fn note_user(
    connection: &mut PgConnection,
    key: &RequestKey,
    user_id: &UserId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update idempotency_keys set user_id = $3 where tenant_id = $1 and request = $2",
        key.tenant_id.as_str(),
        &key.request[..],
        user_id.as_str(),
    )
    .execute(connection)
    .await
    .map_err(during("note whom an answer is about"))?;
    Ok(())
}

fn digest(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| StoreError::Inconsistent {
            table: "idempotency_keys",
            detail: format!("a digest of {} bytes", bytes.len()),
        })
}

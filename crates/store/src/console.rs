//! Who is signed in to the console.
//!
//! A session is found by the hash of its cookie, in every process alike. It ends with its time, with
//! the key that it was opened with, and when its operator signs out.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;

/// Sessions removed in one statement at most.
const PRUNED_MAX: i64 = 1000;

/// How exactly it is noted when a session was last used.
const SEEN_EXACTNESS: TimeDelta = TimeDelta::minutes(1);

/// An operator who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    pub session_hash: [u8; 32],
    pub tenant_id: TenantId,
    /// The key that was shown, or
    pub api_key_id: Option<Uuid>,
    /// the user whose token it was.
    pub user_id: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// An operator who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSession {
    pub tenant_id: TenantId,
    pub api_key_id: Option<Uuid>,
    /// The readable beginning of that key.
    pub key_prefix: Option<String>,
    pub user_id: Option<UserId>,
    pub expires_at: DateTime<Utc>,
}

/// Opens a session.
pub async fn insert_session(
    connection: &mut PgConnection,
    session: &NewSession,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into console_sessions
            (session_hash, tenant_id, api_key_id, user_id, created_at, last_seen_at, expires_at)
        values ($1, $2, $3, $4, $5, $5, $6)
        "#,
        session.session_hash.as_slice(),
        session.tenant_id.as_str(),
        session.api_key_id,
        session.user_id.as_ref().map(UserId::as_str),
        session.created_at,
        session.expires_at,
    )
    .execute(connection)
    .await
    .map_err(during("open a session"))?;
    Ok(())
}

/// Finds the session with this hash, if it and the key it was opened with are valid at `now`.
pub async fn find_session(
    connection: &mut PgConnection,
    session_hash: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<ConsoleSession>, StoreError> {
    let row = sqlx::query!(
        r#"
        select session.tenant_id, session.api_key_id, session.user_id, session.last_seen_at,
               least(session.expires_at, key.expires_at) as "expires_at!",
               nullif(key.prefix, '') as "prefix?"
        from console_sessions as session
        left join api_keys as key on key.api_key_id = session.api_key_id
        where session.session_hash = $1
          and session.expires_at > $2
          and (session.api_key_id is null
               or key.revoked_at is null and (key.expires_at is null or key.expires_at > $2))
        "#,
        session_hash.as_slice(),
        now,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(during("find a session"))?;
    let Some(row) = row else { return Ok(None) };
    if row.last_seen_at < now - SEEN_EXACTNESS {
        sqlx::query!(
            "update console_sessions set last_seen_at = $2 where session_hash = $1",
            session_hash.as_slice(),
            now,
        )
        .execute(connection)
        .await
        .map_err(during("note the use of a session"))?;
    }
    Ok(Some(ConsoleSession {
        tenant_id: TenantId::from(row.tenant_id),
        api_key_id: row.api_key_id,
        key_prefix: row.prefix,
        user_id: row.user_id.map(UserId::from),
        expires_at: row.expires_at,
    }))
}

/// Ends a session; answers whether there was one.
pub async fn delete_session(
    connection: &mut PgConnection,
    session_hash: &[u8; 32],
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "delete from console_sessions where session_hash = $1",
        session_hash.as_slice(),
    )
    .execute(connection)
    .await
    .map_err(during("end a session"))?;
    Ok(deleted.rows_affected() == 1)
}

/// Removes sessions that are over, and answers how many. Ask again while it answers any.
pub async fn prune_sessions(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let pruned = sqlx::query!(
        "with past as materialized (
             select session_hash from console_sessions
             where expires_at < $1 order by expires_at limit $2 for update skip locked
         )
         delete from console_sessions as known using past
         where known.session_hash = past.session_hash",
        now,
        PRUNED_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("prune sessions"))?;
    Ok(pruned.rows_affected())
}

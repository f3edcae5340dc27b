//! What people want to be told, and how: one document each.

use chrono::{DateTime, Utc};
use domain::{Preferences, TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::StoreError;
use crate::error::during;
use crate::json::Document;

/// Finds what a user said; `None` if nothing.
pub async fn find_preferences(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Option<Preferences>, StoreError> {
    let body = sqlx::query_scalar!(
        r#"
        select body as "body: Document<Value>"
        from preferences
        where tenant_id = $1 and user_id = $2
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read preferences"))?;
    Ok(body.map(|body| Preferences::of_stored(body.0)))
}

/// Reads what a user said and keeps others from changing it until the transaction ends: for a
/// change that depends on what is there. Who has said nothing is given the default to lock.
pub async fn lock_preferences(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
) -> Result<Preferences, StoreError> {
    // The update of a conflict changes nothing, but locks the row and answers it.
    let body = sqlx::query_scalar!(
        r#"
        insert into preferences as said (tenant_id, user_id, body, version, created_at, updated_at)
        values ($1, $2, $3, 0, $4, $4)
        on conflict (tenant_id, user_id) do update
        set version = said.version
        returning body as "body: Document<Value>"
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        Json(&Preferences::default()) as _,
        now,
    )
    .fetch_one(connection)
    .await
    .map_err(during("lock preferences"))?;
    Ok(Preferences::of_stored(body.0))
}

/// Replaces what a user said.
pub async fn upsert_preferences(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    preferences: &Preferences,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into preferences as said (tenant_id, user_id, body, created_at, updated_at)
        values ($1, $2, $3, $4, $4)
        on conflict (tenant_id, user_id) do update
        set body = excluded.body, version = said.version + 1, updated_at = excluded.updated_at
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        Json(preferences) as _,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("write preferences"))?;
    Ok(())
}

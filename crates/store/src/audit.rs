//! Who changed what: an entry per change, in the transaction of the change.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::TenantId;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;
use crate::partitions::first_id;

/// Entries on one page at most.
const PAGE_ROWS_MAX: i64 = 1001;

/// One change that an operator or an admin made.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub audit_id: Uuid,
    pub at: DateTime<Utc>,
    pub tenant_id: TenantId,
    /// `key:<prefix>`, `user:<id>` or `cli:<user of the system>`.
    pub actor: String,
    /// What was done, such as `queue.paused`.
    pub action: String,
    /// To what: an id or a name, never an address.
    pub subject: String,
    /// What else is worth knowing; no secret and no personal datum.
    pub detail: Option<Value>,
}

/// Notes changes.
pub async fn record(
    connection: &mut PgConnection,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    let ids: Vec<_> = entries.iter().map(|entry| entry.audit_id).collect();
    let times: Vec<_> = entries.iter().map(|entry| entry.at).collect();
    let tenants: Vec<_> = entries.iter().map(|each| each.tenant_id.as_str()).collect();
    let actors: Vec<_> = entries.iter().map(|entry| entry.actor.as_str()).collect();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    let subjects: Vec<_> = entries.iter().map(|entry| entry.subject.as_str()).collect();
    let details: Vec<_> = entries.iter().map(|entry| entry.detail.as_ref()).collect();
    sqlx::query!(
        r#"
        insert into audit (audit_id, at, tenant_id, actor, action, subject, detail)
        select *
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::jsonb[]
        )
        "#,
        &ids,
        &times,
        &tenants as &[&str],
        &actors as &[&str],
        &actions as &[&str],
        &subjects as &[&str],
        &details as &[Option<&Value>],
    )
    .execute(connection)
    .await
    .map_err(during("note a change"))?;
    Ok(())
}

/// Which changes are meant. Empty means all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    /// Made at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this moment.
    pub until: Option<DateTime<Utc>>,
}

/// Lists a tenant's changes, newest first, from `before` on.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditEntry>, StoreError> {
    let entries = sqlx::query_as!(
        AuditEntry,
        r#"
        select audit_id, at, tenant_id, actor, action, subject, detail
        from audit
        where tenant_id = $1
          and ($2::uuid is null or audit_id < $2)
          and ($4::text is null or actor = $4)
          and ($5::text is null or action = $5)
          and ($6::text is null or subject = $6)
          and ($7::uuid is null or audit_id >= $7)
          and ($8::uuid is null or audit_id < $8)
        order by audit_id desc
        limit $3
        "#,
        tenant_id.as_str(),
        before,
        limit.clamp(0, PAGE_ROWS_MAX),
        filter.actor,
        filter.action,
        filter.subject,
        filter.since.map(first_id),
        filter.until.map(first_id),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list changes"))?;
    Ok(entries)
}

/// Who last did `action` to each of `subjects`; those to which nobody did are left out.
pub async fn last_actors(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    action: &str,
    subjects: &[&str],
) -> Result<HashMap<String, String>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select asked.subject as "subject!", last.actor
        from unnest($3::text[]) as asked (subject)
        cross join lateral (
            select actor
            from audit
            where tenant_id = $1 and subject = asked.subject and action = $2
            order by audit_id desc
            limit 1
        ) as last
        "#,
        tenant_id.as_str(),
        action,
        subjects as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("see who last changed something"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.subject, row.actor))
        .collect())
}

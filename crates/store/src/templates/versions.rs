//! Versions of templates: written once, loaded by those who pinned one, pruned when nobody can.

use chrono::{DateTime, Utc};
use domain::TenantId;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::PAGE_ROWS_MAX;
use crate::StoreError;
use crate::error::during;
use crate::json::Document;

/// Versions pruned at once.
const PRUNED_AT_ONCE: i64 = 500;

/// A version that somebody pinned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionRef {
    pub tenant_id: TenantId,
    /// See [`domain::template_key`].
    pub key: String,
    pub version: u32,
}

/// A pinned version's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinned {
    pub wanted: VersionRef,
    pub body: Value,
}

/// A row of `template_versions`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateVersion {
    pub version: u32,
    pub body: Value,
    pub created_at: DateTime<Utc>,
    pub actor: String,
}

/// Loads versions, of templates that may be removed by now. Those that are gone are left out.
pub async fn load_versions(
    connection: &mut PgConnection,
    wanted: &[VersionRef],
) -> Result<Vec<Pinned>, StoreError> {
    let tenants: Vec<_> = wanted.iter().map(|it| it.tenant_id.as_str()).collect();
    let keys: Vec<_> = wanted.iter().map(|it| it.key.as_str()).collect();
    let versions: Vec<i32> = wanted.iter().map(|it| it.version as i32).collect();
    let rows = sqlx::query!(
        r#"
        select template.tenant_id, template.key, pinned.version,
               pinned.body as "body: Document<Value>"
        from unnest($1::text[], $2::text[], $3::integer[]) as wanted (tenant_id, key, version)
        join templates as template
            on template.tenant_id = wanted.tenant_id and template.key = wanted.key
        join template_versions as pinned
            on pinned.template_id = template.template_id and pinned.version = wanted.version
        "#,
        &tenants as &[&str],
        &keys as &[&str],
        &versions,
    )
    .fetch_all(connection)
    .await
    .map_err(during("load versions of templates"))?;
    let pinned = rows.into_iter().map(|row| Pinned {
        wanted: VersionRef {
            tenant_id: row.tenant_id.into(),
            key: row.key,
            version: row.version as u32,
        },
        body: row.body.0,
    });
    Ok(pinned.collect())
}

/// Lists a template's versions, newest first, from before the version `before`.
pub async fn list_versions(
    connection: &mut PgConnection,
    template_id: Uuid,
    before: Option<u32>,
    limit: i64,
) -> Result<Vec<TemplateVersion>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select version, body as "body: Document<Value>", created_at, actor
        from template_versions
        where template_id = $1 and ($2::integer is null or version < $2)
        order by version desc
        limit $3
        "#,
        template_id,
        before.map(|version| version as i32),
        limit.clamp(0, PAGE_ROWS_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list versions of a template"))?;
    let versions = rows.into_iter().map(|row| TemplateVersion {
        version: row.version as u32,
        body: row.body.0,
        created_at: row.created_at,
        actor: row.actor,
    });
    Ok(versions.collect())
}

/// Deletes some of the versions that another one followed, or that were removed, before `cutoff`;
/// answers how many. What is pinned after that is younger.
pub async fn prune_versions(
    connection: &mut PgConnection,
    cutoff: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let pruned = sqlx::query!(
        r#"
        with old as (
            select version.template_id, version.version
            from template_versions as version
            join templates as template on template.template_id = version.template_id
            where version.created_at < $1
              and (
                  template.deleted_at < $1
                  or exists (
                      select
                      from template_versions as later
                      where later.template_id = version.template_id
                        and later.version > version.version
                        and later.created_at < $1
                  )
              )
            order by version.template_id, version.version
            limit $2
            for update of version skip locked
        )
        delete from template_versions as version
        using old
        where version.template_id = old.template_id and version.version = old.version
        "#,
        cutoff,
        PRUNED_AT_ONCE,
    )
    .execute(connection)
    .await
    .map_err(during("prune versions of templates"))?;
    Ok(pruned.rows_affected())
}

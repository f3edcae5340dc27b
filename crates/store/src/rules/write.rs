//! Changes of rules: one at a time by the API, many at once from files.

use chrono::{DateTime, Utc};
use domain::{RuleId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{RULES_MAX, Row, RuleRef, RuleSource, StoredRule};
use crate::StoreError;
use crate::error::during;
use crate::json::Document;
use crate::revisions::{Kept, raise_revision};

/// A rule to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRule {
    /// For one that is not there yet.
    pub rule_id: RuleId,
    pub name: String,
    pub enabled: bool,
    /// As the API takes it, its name included.
    pub body: Value,
}

/// What became of a rule to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    Done(Box<StoredRule>),
    /// Another rule has this name.
    NameTaken,
    /// The tenant has as many as it may.
    TooMany,
}

/// What applying did about a rule that was not there as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRule {
    pub rule_id: RuleId,
    pub name: String,
    pub version: i64,
}

/// Makes a rule that the API keeps.
pub async fn create_rule(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    new: NewRule,
    now: DateTime<Utc>,
) -> Result<Saved, StoreError> {
    let revision = raise_revision(connection, Kept::Rules).await?;
    // Exact, because whoever else would add one waits for the revision.
    if count_rules(connection, tenant_id).await? >= RULES_MAX {
        return Ok(Saved::TooMany);
    }
    let inserted = sqlx::query!(
        r#"
        insert into rules (
            rule_id, tenant_id, name, enabled, version, revision, source, body, created_at,
            updated_at
        )
        values ($1, $2, $3, $4, 1, $5, 'api', $6, $7, $7)
        on conflict (tenant_id, name) do nothing
        "#,
        new.rule_id.as_uuid(),
        tenant_id.as_str(),
        new.name,
        new.enabled,
        revision,
        Json(&new.body) as _,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("insert a rule"))?;
    if inserted.rows_affected() == 0 {
        return Ok(Saved::NameTaken);
    }
    Ok(Saved::Done(Box::new(StoredRule {
        rule_id: new.rule_id,
        version: 1,
        source: RuleSource::Api,
        body: new.body,
        created_at: now,
        updated_at: now,
    })))
}

/// Gives a rule another body, and maybe another name; the API keeps it from now on. `None` if there
/// is no such rule. If the name is taken, the transaction is lost.
pub async fn replace_rule(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    rule: &RuleRef,
    new: NewRule,
    now: DateTime<Utc>,
) -> Result<Option<Saved>, StoreError> {
    let revision = raise_revision(connection, Kept::Rules).await?;
    let (id, name) = rule.parts();
    let updated = sqlx::query_as!(
        Row,
        r#"
        update rules
        set name = $4, enabled = $5, body = $6, version = version + 1, revision = $7,
            source = 'api', updated_at = $8
        where tenant_id = $1 and (rule_id = $2 or name = $3)
        returning rule_id, version, source, body as "body: Document<Value>", created_at,
                  updated_at
        "#,
        tenant_id.as_str(),
        id,
        name,
        new.name,
        new.enabled,
        Json(&new.body) as _,
        revision,
        now,
    )
    .fetch_optional(connection)
    .await;
    match updated {
        Ok(Some(row)) => Ok(Some(Saved::Done(Box::new(row.rule()?)))),
        Ok(None) => Ok(None),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("rules_name_unique") => {
            Ok(Some(Saved::NameTaken))
        }
        Err(error) => Err(during("change a rule")(error)),
    }
}

/// Removes a rule; answers its id and name if it was there.
pub async fn remove_rule(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    rule: &RuleRef,
) -> Result<Option<(RuleId, String)>, StoreError> {
    raise_revision(connection, Kept::Rules).await?;
    let (id, name) = rule.parts();
    let removed = sqlx::query!(
        r#"
        delete from rules
        where tenant_id = $1 and (rule_id = $2 or name = $3)
        returning rule_id, name
        "#,
        tenant_id.as_str(),
        id,
        name,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("remove a rule"))?;
    Ok(removed.map(|row| (row.rule_id.into(), row.name)))
}

/// Makes or changes rules by name; files keep them from now on. Answers those that were not there
/// like this: one of version 1 is made, any other changed. `None` if there would be too many; then
/// the transaction is to be given up.
pub async fn apply_rules(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    rules: &[NewRule],
    now: DateTime<Utc>,
) -> Result<Option<Vec<AppliedRule>>, StoreError> {
    let revision = raise_revision(connection, Kept::Rules).await?;
    let ids: Vec<Uuid> = rules.iter().map(|rule| rule.rule_id.as_uuid()).collect();
    let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let enabled: Vec<_> = rules.iter().map(|rule| rule.enabled).collect();
    let bodies: Vec<_> = rules.iter().map(|rule| &rule.body).collect();
    // In the order of names, so that the answer can be read.
    let rows = sqlx::query!(
        r#"
        with applied as (
            insert into rules (
                rule_id, tenant_id, name, enabled, version, revision, source, body, created_at,
                updated_at
            )
            select rule_id, $1, name, enabled, 1, $2, 'file', body, $3, $3
            from unnest($4::uuid[], $5::text[], $6::boolean[], $7::jsonb[])
                as given (rule_id, name, enabled, body)
            order by name
            on conflict (tenant_id, name) do update
            set enabled = excluded.enabled, version = rules.version + 1,
                revision = excluded.revision, source = excluded.source, body = excluded.body,
                updated_at = excluded.updated_at
            where rules.body is distinct from excluded.body or rules.source <> excluded.source
            returning rule_id, name, version
        )
        select rule_id as "rule_id!", name as "name!", version as "version!"
        from applied
        order by name
        "#,
        tenant_id.as_str(),
        revision,
        now,
        &ids,
        &names as &[&str],
        &enabled,
        &bodies as &[&Value],
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("apply rules"))?;
    if count_rules(connection, tenant_id).await? > RULES_MAX {
        return Ok(None);
    }
    let applied = rows.into_iter().map(|row| AppliedRule {
        rule_id: row.rule_id.into(),
        name: row.name,
        version: row.version,
    });
    Ok(Some(applied.collect()))
}

/// Removes the rules that files keep but for those of `names`; answers what went, by name.
pub async fn prune_rules(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    names: &[&str],
) -> Result<Vec<(RuleId, String)>, StoreError> {
    raise_revision(connection, Kept::Rules).await?;
    let rows = sqlx::query!(
        r#"
        with removed as (
            delete from rules
            where tenant_id = $1 and source = 'file' and name <> all ($2::text[])
            returning rule_id, name
        )
        select rule_id as "rule_id!", name as "name!" from removed order by name
        "#,
        tenant_id.as_str(),
        names as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("prune rules"))?;
    let removed = rows.into_iter().map(|row| (row.rule_id.into(), row.name));
    Ok(removed.collect())
}

async fn count_rules(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from rules where tenant_id = $1"#,
        tenant_id.as_str(),
    )
    .fetch_one(connection)
    .await
    .map_err(during("count rules"))
}

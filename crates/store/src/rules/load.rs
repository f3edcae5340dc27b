//! What a process needs to keep its copy of the rules of all tenants.

use domain::{RuleId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;
use crate::json::Document;

/// Rules read in one statement.
const LOADED_AT_ONCE: i64 = 2000;

/// A rule that there is.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownRule {
    pub tenant_id: TenantId,
    pub rule_id: RuleId,
    pub version: i64,
    /// `None` where it has not changed since the revision that the caller knows.
    pub body: Option<Value>,
}

/// Lists all rules of all tenants, with the bodies of those that changed after `revision`.
///
/// What is not listed is gone. Revisions are to be read before: what changes meanwhile may be
/// missing or here already, and is listed again with the next look.
pub async fn load_changed(
    connection: &mut PgConnection,
    revision: i64,
) -> Result<Vec<KnownRule>, StoreError> {
    let mut rules = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let rows = sqlx::query!(
            r#"
            select tenant_id, rule_id, version,
                   case when revision > $1 then body end as "body: Document<Value>"
            from rules
            where rule_id > $2
            order by rule_id
            limit $3
            "#,
            revision,
            after,
            LOADED_AT_ONCE,
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(during("load rules"))?;
        let is_last = (rows.len() as i64) < LOADED_AT_ONCE;
        if let Some(last) = rows.last() {
            after = last.rule_id;
        }
        rules.extend(rows.into_iter().map(|row| KnownRule {
            tenant_id: row.tenant_id.into(),
            rule_id: row.rule_id.into(),
            version: row.version,
            body: row.body.map(|body| body.0),
        }));
        if is_last {
            return Ok(rules);
        }
    }
}

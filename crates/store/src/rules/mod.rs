//! Rules: what operators have said about who hears of which events, and how.
//!
//! A change raises [`Kept::Rules`](crate::revisions::Kept) first, whose row it holds until the
//! transaction ends: changes follow one another, and a reader that asks for what came after the
//! revision it knows misses none.

mod load;
mod write;

use chrono::{DateTime, Utc};
use domain::{RuleId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::load::{KnownRule, load_changed};
pub use self::write::{
    AppliedRule, NewRule, Saved, apply_rules, create_rule, prune_rules, remove_rule, replace_rule,
};

use crate::StoreError;
use crate::error::{during, unknown_word};
use crate::json::Document;

/// Rows on one page at most, and one more that says whether there is another page.
const PAGE_ROWS_MAX: i64 = 1001;

/// Most rules of one tenant. Every process keeps each of them, compiled.
pub const RULES_MAX: i64 = 10_000;

/// Who keeps a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleSource {
    Api,
    File,
}

impl RuleSource {
    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "api" => Some(Self::Api),
            "file" => Some(Self::File),
            _ => None,
        }
    }
}

/// A row of `rules`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRule {
    pub rule_id: RuleId,
    /// From 1.
    pub version: i64,
    pub source: RuleSource,
    /// As the API takes it, its name included.
    pub body: Value,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// How a rule is meant: by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleRef {
    Id(Uuid),
    Name(String),
}

impl RuleRef {
    /// A name never looks like an id.
    pub fn parse(text: &str) -> Self {
        Uuid::parse_str(text).map_or_else(|_not_an_id| Self::Name(text.to_owned()), Self::Id)
    }

    fn parts(&self) -> (Option<Uuid>, Option<&str>) {
        match self {
            Self::Id(id) => (Some(*id), None),
            Self::Name(name) => (None, Some(name)),
        }
    }
}

/// The columns of a rule, as they are read.
struct Row {
    rule_id: Uuid,
    version: i64,
    source: String,
    body: Document<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn rule(self) -> Result<StoredRule, StoreError> {
        let source = RuleSource::parse(&self.source);
        Ok(StoredRule {
            rule_id: self.rule_id.into(),
            version: self.version,
            source: source.ok_or_else(|| unknown_word("rules", &self.source))?,
            body: self.body.0,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Finds a tenant's rule.
pub async fn find_rule(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    rule: &RuleRef,
) -> Result<Option<StoredRule>, StoreError> {
    let (id, name) = rule.parts();
    let row = sqlx::query_as!(
        Row,
        r#"
        select rule_id, version, source, body as "body: Document<Value>", created_at, updated_at
        from rules
        where tenant_id = $1 and (rule_id = $2 or name = $3)
        "#,
        tenant_id.as_str(),
        id,
        name,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find a rule"))?;
    row.map(Row::rule).transpose()
}

/// Lists a tenant's rules, newest first, from before the rule `before`.
pub async fn list_rules(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<StoredRule>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select rule_id, version, source, body as "body: Document<Value>", created_at, updated_at
        from rules
        where tenant_id = $1 and ($2::uuid is null or rule_id < $2)
        order by rule_id desc
        limit $3
        "#,
        tenant_id.as_str(),
        before,
        limit.clamp(0, PAGE_ROWS_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list rules"))?;
    rows.into_iter().map(Row::rule).collect()
}

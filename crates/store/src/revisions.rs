//! Revisions: how a process learns that its copy of rules, templates or limits is old.

use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// What processes keep copies of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Rules,
    Templates,
    Limits,
}

impl Kept {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Templates => "templates",
            Self::Limits => "limits",
        }
    }
}

/// How often each was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revisions {
    pub rules: i64,
    pub templates: i64,
    pub limits: i64,
}

/// Reads where the tables stand, in one statement over three rows.
pub async fn read_revisions(connection: &mut PgConnection) -> Result<Revisions, StoreError> {
    let rows = sqlx::query!("select kind, revision from revisions")
        .fetch_all(connection)
        .await
        .map_err(during("read revisions"))?;
    let mut revisions = Revisions::default();
    for row in rows {
        match row.kind.as_str() {
            "rules" => revisions.rules = row.revision,
            "templates" => revisions.templates = row.revision,
            "limits" => revisions.limits = row.revision,
            _ => {}
        }
    }
    Ok(revisions)
}

/// Says that something changed, in the transaction of the change. Holds its row until then, so that
/// changes become visible in the order of their revisions.
pub async fn raise_revision(connection: &mut PgConnection, kept: Kept) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        "update revisions set revision = revision + 1 where kind = $1 returning revision",
        kept.as_str(),
    )
    .fetch_one(connection)
    .await
    .map_err(during("raise a revision"))
}

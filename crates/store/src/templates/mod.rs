//! Templates written at run time, and every version of each.
//!
//! A change raises [`Kept::Templates`](crate::revisions::Kept) first, whose row it holds until the
//! transaction ends: changes follow one another, and a reader that asks for what came after the
//! revision it knows misses none.

mod versions;
mod write;

use chrono::{DateTime, Utc};
use domain::{Channel, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::versions::{
    Pinned, TemplateVersion, VersionRef, list_versions, load_versions, prune_versions,
};
pub use self::write::{NewTemplate, Saved, create_template, remove_template, replace_template};

use crate::StoreError;
use crate::error::{during, unknown_word};
use crate::json::Document;

/// Rows on one page at most, and one more that says whether there is another page.
const PAGE_ROWS_MAX: i64 = 1001;

/// Changes read at once.
pub const CHANGES_MAX: usize = 1000;

/// A row of `templates`: everything but the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateHead {
    pub template_id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub category: Option<String>,
    /// Those it has a text for.
    pub channels: Vec<Channel>,
    /// Its languages beside the default one.
    pub locales: Vec<String>,
    pub tags: Vec<String>,
    pub enabled: bool,
    /// From 1.
    pub version: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A template with the text of its current version.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTemplate {
    pub head: TemplateHead,
    /// As the API takes it.
    pub body: Value,
}

/// How a template is meant: by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateRef {
    Id(Uuid),
    Name(String),
}

impl TemplateRef {
    /// A name never looks like an id.
    pub fn parse(text: &str) -> Self {
        Uuid::parse_str(text).map_or_else(|_not_an_id| Self::Name(text.to_owned()), Self::Id)
    }

    fn parts(&self) -> (Option<Uuid>, Option<String>) {
        match self {
            Self::Id(id) => (Some(*id), None),
            Self::Name(name) => (None, Some(domain::template_key(name))),
        }
    }
}

/// Which templates a list shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateFilter {
    pub tag: Option<String>,
    pub category: Option<String>,
    pub enabled: Option<bool>,
}

/// What became of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateChange {
    pub tenant_id: TenantId,
    pub head: TemplateHead,
    pub is_removed: bool,
    pub revision: i64,
}

/// The columns of a head, as they are read.
struct Row {
    template_id: Uuid,
    name: String,
    description: Option<String>,
    category: Option<String>,
    channels: Vec<String>,
    locales: Vec<String>,
    tags: Vec<String>,
    enabled: bool,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn head(self) -> Result<TemplateHead, StoreError> {
        let channels = self
            .channels
            .iter()
            .map(|word| Channel::parse(word).ok_or_else(|| unknown_word("templates", word)));
        Ok(TemplateHead {
            channels: channels.collect::<Result<_, _>>()?,
            template_id: self.template_id,
            name: self.name,
            description: self.description,
            category: self.category,
            locales: self.locales,
            tags: self.tags,
            enabled: self.enabled,
            version: self.version as u32,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Finds a tenant's template with its text.
pub async fn find_template(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    template: &TemplateRef,
) -> Result<Option<StoredTemplate>, StoreError> {
    let (id, key) = template.parts();
    let row = sqlx::query!(
        r#"
        select template.template_id, template.name, template.description, template.category,
               template.channels, template.locales, template.tags, template.enabled,
               template.version, template.created_at, template.updated_at,
               current.body as "body: Document<Value>"
        from templates as template
        join template_versions as current
            on current.template_id = template.template_id and current.version = template.version
        where template.tenant_id = $1
          and (template.template_id = $2 or template.key = $3)
          and template.deleted_at is null
        "#,
        tenant_id.as_str(),
        id,
        key,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read a template"))?;
    row.map(|row| {
        let head = Row {
            template_id: row.template_id,
            name: row.name,
            description: row.description,
            category: row.category,
            channels: row.channels,
            locales: row.locales,
            tags: row.tags,
            enabled: row.enabled,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Ok(StoredTemplate {
            head: head.head()?,
            body: row.body.0,
        })
    })
    .transpose()
}

/// Lists a tenant's templates by key, from after the key `after`.
pub async fn list_templates(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &TemplateFilter,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<TemplateHead>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select template_id, name, description, category, channels, locales, tags, enabled,
               version, created_at, updated_at
        from templates
        where tenant_id = $1
          and deleted_at is null
          and ($2::text is null or key > $2)
          and ($3::text is null or $3 = any (tags))
          and ($4::text is null or category = $4)
          and ($5::boolean is null or enabled = $5)
        order by key
        limit $6
        "#,
        tenant_id.as_str(),
        after,
        filter.tag,
        filter.category,
        filter.enabled,
        limit.clamp(0, PAGE_ROWS_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list templates"))?;
    rows.into_iter().map(Row::head).collect()
}

/// Which of `keys` a tenant has a template for, enabled or not.
pub async fn list_taken(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    keys: &[String],
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!(
        r#"
        select key
        from templates
        where tenant_id = $1 and key = any ($2) and deleted_at is null
        "#,
        tenant_id.as_str(),
        keys,
    )
    .fetch_all(connection)
    .await
    .map_err(during("see which templates there are"))
}

/// Lists what changed after `revision`, of all tenants, in the order of the changes, and at most
/// [`CHANGES_MAX`]. A template that changed twice is listed as it is now.
pub async fn list_changes(
    connection: &mut PgConnection,
    revision: i64,
) -> Result<Vec<TemplateChange>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select tenant_id, revision, deleted_at is not null as "is_removed!",
               template_id, name, description, category, channels, locales, tags, enabled,
               version, created_at, updated_at
        from templates
        where revision > $1
        order by revision
        limit $2
        "#,
        revision,
        CHANGES_MAX as i64,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list changes of templates"))?;
    rows.into_iter()
        .map(|row| {
            let head = Row {
                template_id: row.template_id,
                name: row.name,
                description: row.description,
                category: row.category,
                channels: row.channels,
                locales: row.locales,
                tags: row.tags,
                enabled: row.enabled,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            };
            Ok(TemplateChange {
                tenant_id: row.tenant_id.into(),
                head: head.head()?,
                is_removed: row.is_removed,
                revision: row.revision,
            })
        })
        .collect()
}

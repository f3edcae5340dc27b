//! Changes of templates: made, replaced, removed; each is a version or the end of them.

use chrono::{DateTime, Utc};
use domain::{Channel, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{StoredTemplate, TemplateHead, TemplateRef};
use crate::StoreError;
use crate::error::during;
use crate::revisions::{Kept, raise_revision};

/// Most templates of one tenant. Every process keeps what is known of each.
const TEMPLATES_MAX: i64 = 5000;

/// A template to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTemplate {
    pub name: String,
    pub description: Option<String>,
    pub category: Option<String>,
    pub channels: Vec<Channel>,
    pub locales: Vec<String>,
    pub tags: Vec<String>,
    pub enabled: bool,
    /// As the API takes it.
    pub body: Value,
    /// Who writes it, as in `audit`.
    pub actor: String,
    pub at: DateTime<Utc>,
}

/// What became of a template to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    Done(Box<StoredTemplate>),
    /// Another template answers to this name.
    NameTaken,
    /// The tenant has as many as it may.
    TooMany,
}

/// Makes a template. One that was removed comes back under its old id, with the version after its
/// last; `template_id` is for one that never was.
pub async fn create_template(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    template_id: Uuid,
    new: NewTemplate,
) -> Result<Saved, StoreError> {
    let revision = raise_revision(connection, Kept::Templates).await?;
    // Exact, because whoever else would add one waits for the revision.
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from templates
        where tenant_id = $1 and deleted_at is null
        "#,
        tenant_id.as_str(),
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(during("count templates"))?;
    if count >= TEMPLATES_MAX {
        return Ok(Saved::TooMany);
    }
    let columns = Columns::of(&new);
    let row = sqlx::query!(
        r#"
        insert into templates (
            template_id, tenant_id, name, key, description, category, channels, locales, tags,
            enabled, version, revision, created_at, updated_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12, $12)
        on conflict (tenant_id, key) do update
        set name = excluded.name, description = excluded.description,
            category = excluded.category, channels = excluded.channels,
            locales = excluded.locales, tags = excluded.tags, enabled = excluded.enabled,
            version = templates.version + 1, revision = excluded.revision,
            created_at = excluded.created_at, updated_at = excluded.updated_at, deleted_at = null
        where templates.deleted_at is not null
        returning template_id, version
        "#,
        template_id,
        tenant_id.as_str(),
        new.name,
        columns.key,
        new.description,
        new.category,
        &columns.channels as &[&str],
        &new.locales,
        &new.tags,
        new.enabled,
        revision,
        new.at,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(during("insert a template"))?;
    let Some(row) = row else {
        return Ok(Saved::NameTaken);
    };
    insert_version(connection, row.template_id, row.version, &new).await?;
    let at = new.at;
    let stored = stored(row.template_id, row.version, at, new);
    Ok(Saved::Done(Box::new(stored)))
}

/// Gives a template a new version, and answers it; `None` if there is no such template. Its name is
/// written as the new version has it, but must have the same key.
pub async fn replace_template(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    template: &TemplateRef,
    new: NewTemplate,
) -> Result<Option<StoredTemplate>, StoreError> {
    let revision = raise_revision(connection, Kept::Templates).await?;
    let (id, key) = template.parts();
    let columns = Columns::of(&new);
    let row = sqlx::query!(
        r#"
        update templates
        set name = $4, description = $6, category = $7, channels = $8, locales = $9, tags = $10,
            enabled = $11, version = version + 1, revision = $12, updated_at = $13
        where tenant_id = $1
          and (template_id = $2 or key = $3)
          and key = $5
          and deleted_at is null
        returning template_id, version, created_at
        "#,
        tenant_id.as_str(),
        id,
        key,
        new.name,
        columns.key,
        new.description,
        new.category,
        &columns.channels as &[&str],
        &new.locales,
        &new.tags,
        new.enabled,
        revision,
        new.at,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(during("change a template"))?;
    let Some(row) = row else { return Ok(None) };
    insert_version(connection, row.template_id, row.version, &new).await?;
    Ok(Some(stored(
        row.template_id,
        row.version,
        row.created_at,
        new,
    )))
}

/// Removes a template, and answers its id and name. Its versions stay for those who pinned one.
pub async fn remove_template(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    template: &TemplateRef,
    at: DateTime<Utc>,
) -> Result<Option<(Uuid, String)>, StoreError> {
    let revision = raise_revision(connection, Kept::Templates).await?;
    let (id, key) = template.parts();
    let row = sqlx::query!(
        r#"
        update templates
        set deleted_at = $4, revision = $5
        where tenant_id = $1 and (template_id = $2 or key = $3) and deleted_at is null
        returning template_id, name
        "#,
        tenant_id.as_str(),
        id,
        key,
        at,
        revision,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("remove a template"))?;
    Ok(row.map(|row| (row.template_id, row.name)))
}

async fn insert_version(
    connection: &mut PgConnection,
    template_id: Uuid,
    version: i32,
    new: &NewTemplate,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into template_versions (template_id, version, body, created_at, actor)
        values ($1, $2, $3, $4, $5)
        "#,
        template_id,
        version,
        Json(&new.body) as _,
        new.at,
        new.actor,
    )
    .execute(connection)
    .await
    .map_err(during("insert a version of a template"))?;
    Ok(())
}

/// What is written of a template beside what it has.
struct Columns {
    key: String,
    channels: Vec<&'static str>,
}

impl Columns {
    fn of(new: &NewTemplate) -> Self {
        Self {
            key: domain::template_key(&new.name),
            channels: new.channels.iter().map(|it| it.as_str()).collect(),
        }
    }
}

fn stored(
    template_id: Uuid,
    version: i32,
    created_at: DateTime<Utc>,
    new: NewTemplate,
) -> StoredTemplate {
    StoredTemplate {
        head: TemplateHead {
            template_id,
            version: version as u32,
            created_at,
            name: new.name,
            description: new.description,
            category: new.category,
            channels: new.channels,
            locales: new.locales,
            tags: new.tags,
            enabled: new.enabled,
            updated_at: new.at,
        },
        body: new.body,
    }
}

//! Consents: every one given and withdrawn, and which of them stand.
//!
//! Records are added and never changed, but for the mark of the one that a later one replaces. So
//! the log says who had agreed to what at any time.

use chrono::{DateTime, Utc};
use domain::{Channel, ConsentRecord, TenantId, UserId};
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// Rows on one page at most, and one more that says whether there is another page.
const PAGE_ROWS_MAX: i64 = 1001;

/// A row of `consents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub consent_id: Uuid,
    pub at: DateTime<Utc>,
    /// When a later record took its place; `None` of the one that stands.
    pub superseded_at: Option<DateTime<Utc>>,
    pub user_id: UserId,
    pub category: String,
    /// `None` means every channel.
    pub channel: Option<Channel>,
    pub granted: bool,
    pub source: Option<String>,
    pub note: Option<String>,
    pub actor: String,
}

/// Adds a record in the place of the one that stood of the same user, category and channel.
pub async fn record_consent(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    consent: &Consent,
) -> Result<(), StoreError> {
    let channel = consent.channel.map(Channel::as_str);
    // Two records at once would both find none to replace.
    sqlx::query!(
        r#"
        select pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0)) as "locked: String"
        "#,
        tenant_id.as_str(),
        consent.user_id.as_str(),
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(during("lock the consents of a user"))?;
    sqlx::query!(
        r#"
        update consents
        set superseded_at = $5
        where tenant_id = $1 and user_id = $2 and category = $3
          and coalesce(channel, '') = coalesce($4, '') and superseded_at is null
        "#,
        tenant_id.as_str(),
        consent.user_id.as_str(),
        consent.category,
        channel,
        consent.at,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("replace a consent"))?;
    sqlx::query!(
        r#"
        insert into consents (consent_id, at, tenant_id, user_id, category, channel, granted,
                              source, note, actor)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        "#,
        consent.consent_id,
        consent.at,
        tenant_id.as_str(),
        consent.user_id.as_str(),
        consent.category,
        channel,
        consent.granted,
        consent.source,
        consent.note,
        consent.actor,
    )
    .execute(connection)
    .await
    .map_err(during("record a consent"))?;
    Ok(())
}

/// Finds a tenant's record.
pub async fn find_consent(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    consent_id: Uuid,
) -> Result<Option<Consent>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select consent_id, at, superseded_at, user_id, category, channel, granted, source, note,
               actor
        from consents
        where tenant_id = $1 and consent_id = $2
        "#,
        tenant_id.as_str(),
        consent_id,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read a consent"))?;
    row.map(Row::read).transpose()
}

/// Lists a tenant's records, or a user's, newest first, from before the record `before`.
pub async fn list_consents(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: Option<&UserId>,
    category: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Consent>, StoreError> {
    let before = before.unwrap_or(Uuid::max());
    let limit = limit.clamp(0, PAGE_ROWS_MAX);
    // Each list goes by an index of its own.
    let rows = match (user_id, category) {
        (Some(user_id), category) => {
            sqlx::query_as!(
                Row,
                r#"
                select consent_id, at, superseded_at, user_id, category, channel, granted, source,
                       note, actor
                from consents
                where tenant_id = $1 and user_id = $2 and ($3::text is null or category = $3)
                  and consent_id < $4
                order by consent_id desc
                limit $5
                "#,
                tenant_id.as_str(),
                user_id.as_str(),
                category,
                before,
                limit,
            )
            .fetch_all(connection)
            .await
        }
        (None, Some(category)) => {
            sqlx::query_as!(
                Row,
                r#"
                select consent_id, at, superseded_at, user_id, category, channel, granted, source,
                       note, actor
                from consents
                where tenant_id = $1 and category = $2 and consent_id < $3
                order by consent_id desc
                limit $4
                "#,
                tenant_id.as_str(),
                category,
                before,
                limit,
            )
            .fetch_all(connection)
            .await
        }
        (None, None) => {
            sqlx::query_as!(
                Row,
                r#"
                select consent_id, at, superseded_at, user_id, category, channel, granted, source,
                       note, actor
                from consents
                where tenant_id = $1 and consent_id < $2
                order by consent_id desc
                limit $3
                "#,
                tenant_id.as_str(),
                before,
                limit,
            )
            .fetch_all(connection)
            .await
        }
    };
    let rows = rows.map_err(during("list consents"))?;
    rows.into_iter().map(Row::read).collect()
}

/// A record of `consents` as statements for whole claims bring it along.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Standing {
    category: String,
    channel: Option<String>,
    granted: bool,
}

impl Standing {
    pub(crate) fn read(self) -> Result<ConsentRecord, StoreError> {
        Ok(ConsentRecord {
            category: self.category,
            channel: channel(self.channel)?,
            is_granted: self.granted,
        })
    }
}

struct Row {
    consent_id: Uuid,
    at: DateTime<Utc>,
    superseded_at: Option<DateTime<Utc>>,
    user_id: String,
    category: String,
    channel: Option<String>,
    granted: bool,
    source: Option<String>,
    note: Option<String>,
    actor: String,
}

impl Row {
    fn read(self) -> Result<Consent, StoreError> {
        Ok(Consent {
            consent_id: self.consent_id,
            at: self.at,
            superseded_at: self.superseded_at,
            user_id: self.user_id.into(),
            category: self.category,
            channel: channel(self.channel)?,
            granted: self.granted,
            source: self.source,
            note: self.note,
            actor: self.actor,
        })
    }
}

fn channel(word: Option<String>) -> Result<Option<Channel>, StoreError> {
    let read = |word: String| Channel::parse(&word).ok_or_else(|| unknown_word("consents", &word));
    word.map(read).transpose()
}

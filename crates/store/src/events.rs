//! Events as they came in.

use chrono::{DateTime, Utc};
use domain::{EventId, Severity, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::StoreError;
use crate::error::{during, unknown_word};
use crate::json::Document;

/// A row of `events`.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub id: EventId,
    pub tenant_id: TenantId,
    pub created_at: DateTime<Utc>,
    pub occurred_at: Option<DateTime<Utc>>,
    /// The submitter's name for it, or the id as text.
    pub event_id: String,
    /// Empty where the submitter did not say.
    pub producer: String,
    /// The event's `type`.
    pub kind: String,
    pub severity: Option<Severity>,
    pub dedupe_key: Option<String>,
    pub payload: Value,
}

/// What routing needs of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub tenant_id: TenantId,
    pub created_at: DateTime<Utc>,
    pub event_id: String,
    pub producer: String,
    pub kind: String,
    pub severity: Option<Severity>,
    pub payload: Value,
}

/// Inserts events in one statement.
pub async fn insert_events<'a>(
    connection: &mut PgConnection,
    rows: impl IntoIterator<Item = &'a NewEvent>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = rows.into_iter().collect();
    insert_rows(connection, &rows)
        .await
        .map_err(during("insert events"))
}

/// Inserts events in one statement, with the driver's own error.
pub(crate) async fn insert_rows(
    connection: &mut PgConnection,
    rows: &[&NewEvent],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_uuid()).collect();
    let created: Vec<_> = rows.iter().map(|row| row.created_at).collect();
    let occurred: Vec<_> = rows.iter().map(|row| row.occurred_at).collect();
    let tenants: Vec<_> = rows.iter().map(|row| row.tenant_id.as_str()).collect();
    let event_ids: Vec<_> = rows.iter().map(|row| row.event_id.as_str()).collect();
    let producers: Vec<_> = rows.iter().map(|row| row.producer.as_str()).collect();
    let kinds: Vec<_> = rows.iter().map(|row| row.kind.as_str()).collect();
    let severities: Vec<_> = rows
        .iter()
        .map(|row| row.severity.map(Severity::as_str))
        .collect();
    let dedupe_keys: Vec<_> = rows.iter().map(|row| row.dedupe_key.as_deref()).collect();
    let payloads: Vec<_> = rows.iter().map(|row| Json(&row.payload)).collect();
    sqlx::query!(
        r#"
        insert into events (
            id, created_at, occurred_at, tenant_id, event_id, producer, type, severity, dedupe_key,
            payload
        )
        select *
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::jsonb[]
        )
        "#,
        &ids,
        &created,
        &occurred as &[Option<DateTime<Utc>>],
        &tenants as &[&str],
        &event_ids as &[&str],
        &producers as &[&str],
        &kinds as &[&str],
        &severities as &[Option<&str>],
        &dedupe_keys as &[Option<&str>],
        &payloads as &[Json<&Value>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds events by id, for a whole batch of jobs. Missing ones are left out.
pub async fn list_events_by_id(
    connection: &mut PgConnection,
    ids: &[EventId],
) -> Result<Vec<Event>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select event.id, event.tenant_id, event.created_at, event.event_id, event.producer,
               event.type as kind, event.severity, event.payload as "payload: Document<Value>"
        from unnest($1::uuid[]) as wanted (id)
        join events as event on event.id = wanted.id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read events"))?;

    let severity =
        |word: String| Severity::parse(&word).ok_or_else(|| unknown_word("events", &word));
    rows.into_iter()
        .map(|row| {
            Ok(Event {
                id: row.id.into(),
                tenant_id: row.tenant_id.into(),
                created_at: row.created_at,
                event_id: row.event_id,
                producer: row.producer,
                kind: row.kind,
                severity: row.severity.map(severity).transpose()?,
                payload: row.payload.0,
            })
        })
        .collect()
}

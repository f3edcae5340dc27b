//! Notifications: the decision to tell one user something.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{
    Channel, DigestId, EventId, NotificationId, Priority, RuleId, Status, TenantId, UserId,
};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::StoreError;
use crate::effect::{Decided, NewNotification};
use crate::error::{during, unknown_word};
use crate::json::Document;

/// A notification as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub id: NotificationId,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub send_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    /// `None` for a direct send.
    pub event_id: Option<EventId>,
    /// 0 until routed.
    pub delivery_count: u16,
    pub is_test: bool,
    pub bypass_quiet_hours: bool,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    pub category: Option<String>,
    pub priority: Priority,
    pub status: Status,
    pub template: Option<String>,
    pub locale: Option<String>,
    pub subject: Option<String>,
    pub content: Option<String>,
    /// What a direct send asked for; `None` lets routing choose.
    pub channels: Option<Vec<Channel>>,
    /// Variables of a direct send; an event's are its payload.
    pub data: Option<Value>,
    pub decided: Decided,
}

/// Inserts direct sends, in one statement.
pub async fn insert_notifications<'a>(
    connection: &mut PgConnection,
    rows: impl IntoIterator<Item = &'a NewNotification>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = rows.into_iter().collect();
    insert_rows(connection, &rows, &HashMap::new())
        .await
        .map_err(during("insert notifications"))
}

/// Finds a tenant's notification.
pub async fn find_notification(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    id: NotificationId,
) -> Result<Option<Notification>, StoreError> {
    let mut query = select();
    query.push(" where id = ").push_bind(id.as_uuid());
    query
        .push(" and tenant_id = ")
        .push_bind(tenant_id.as_str());
    let row = query
        .build_query_as::<Row>()
        .fetch_optional(connection)
        .await
        .map_err(during("read a notification"))?;
    row.map(Notification::try_from).transpose()
}

/// Finds notifications by id, for a whole batch of jobs. Missing ones are left out.
pub async fn list_notifications_by_id(
    connection: &mut PgConnection,
    ids: &[NotificationId],
) -> Result<Vec<Notification>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let mut query = select();
    query
        .push(" where id = any((select ")
        .push_bind(ids)
        .push("::uuid[])::uuid[])");
    fetch(query, connection).await
}

/// Inserts notifications in one statement; some with another status than their own, to which they
/// have come meanwhile.
pub(crate) async fn insert_rows(
    connection: &mut PgConnection,
    rows: &[&NewNotification],
    come_to: &HashMap<NotificationId, Status>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_uuid()).collect();
    let created: Vec<_> = rows.iter().map(|row| row.created_at).collect();
    let send: Vec<_> = rows.iter().map(|row| row.send_at).collect();
    let expires: Vec<_> = rows.iter().map(|row| row.expires_at).collect();
    let events: Vec<_> = rows
        .iter()
        .map(|row| row.event_id.map(EventId::as_uuid))
        .collect();
    let counts: Vec<_> = rows.iter().map(|row| row.delivery_count as i16).collect();
    let tests: Vec<_> = rows.iter().map(|row| row.is_test).collect();
    let bypasses: Vec<_> = rows.iter().map(|row| row.bypass_quiet_hours).collect();
    let tenants: Vec<_> = rows.iter().map(|row| row.tenant_id.as_str()).collect();
    let users: Vec<_> = rows.iter().map(|row| row.user_id.as_str()).collect();
    let kinds: Vec<_> = rows.iter().map(|row| row.kind.as_str()).collect();
    let categories: Vec<_> = rows.iter().map(|row| row.category.as_deref()).collect();
    let priorities: Vec<_> = rows.iter().map(|row| row.priority.as_str()).collect();
    let statuses: Vec<_> = rows
        .iter()
        .map(|row| come_to.get(&row.id).unwrap_or(&row.status).as_str())
        .collect();
    let templates: Vec<_> = rows.iter().map(|row| row.template.as_deref()).collect();
    let locales: Vec<_> = rows.iter().map(|row| row.locale.as_deref()).collect();
    let subjects: Vec<_> = rows.iter().map(|row| row.subject.as_deref()).collect();
    let contents: Vec<_> = rows.iter().map(|row| row.content.as_deref()).collect();
    let channels: Vec<_> = rows
        .iter()
        .map(|row| row.channels.as_deref().map(join))
        .collect();
    let data: Vec<_> = rows.iter().map(|row| row.data.as_ref()).collect();
    let decided = || rows.iter().map(|row| &row.decided);
    let rules: Vec<_> = decided()
        .map(|it| it.rule.map(|(id, _)| id.as_uuid()))
        .collect();
    let actions: Vec<_> = decided()
        .map(|it| it.rule.map(|(_, action)| action as i16))
        .collect();
    let variants: Vec<_> = decided().map(|it| it.variant.as_deref()).collect();
    let fallbacks: Vec<_> = decided()
        .map(|it| (!it.fallback.is_empty()).then(|| join(&it.fallback)))
        .collect();
    let versions: Vec<_> = decided()
        .map(|it| it.template_version.map(|version| version as i32))
        .collect();
    let digests: Vec<_> = decided()
        .map(|it| it.digest_id.map(DigestId::as_uuid))
        .collect();
    // `unnest` would flatten an array of arrays, so channels travel as one text per row.
    sqlx::query!(
        r#"
        insert into notifications (
            id, created_at, updated_at, send_at, expires_at, event_id, delivery_count, is_test,
            bypass_quiet_hours, tenant_id, user_id, type, category, priority, status, template,
            locale, subject, content, channels, data, rule_id, action, variant, fallback,
            template_version, digest_id
        )
        select id, created_at, created_at, send_at, expires_at, event_id, delivery_count, is_test,
               bypass_quiet_hours, tenant_id, user_id, type, category, priority, status, template,
               locale, subject, content, string_to_array(channels, ','), data,
               rule_id, action, variant, string_to_array(fallback, ','), template_version, digest_id
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::uuid[],
            $6::smallint[], $7::boolean[], $8::boolean[], $9::text[], $10::text[], $11::text[],
            $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::text[], $19::text[], $20::jsonb[], $21::uuid[], $22::smallint[], $23::text[],
            $24::text[], $25::integer[], $26::uuid[]
        ) as planned (
            id, created_at, send_at, expires_at, event_id, delivery_count, is_test,
            bypass_quiet_hours, tenant_id, user_id, type, category, priority, status, template,
            locale, subject, content, channels, data, rule_id, action, variant, fallback,
            template_version, digest_id
        )
        "#,
        &ids,
        &created,
        &send as &[Option<DateTime<Utc>>],
        &expires as &[Option<DateTime<Utc>>],
        &events as &[Option<Uuid>],
        &counts,
        &tests,
        &bypasses,
        &tenants as &[&str],
        &users as &[&str],
        &kinds as &[&str],
        &categories as &[Option<&str>],
        &priorities as &[&str],
        &statuses as &[&str],
        &templates as &[Option<&str>],
        &locales as &[Option<&str>],
        &subjects as &[Option<&str>],
        &contents as &[Option<&str>],
        &channels as &[Option<String>],
        &data as &[Option<&Value>],
        &rules as &[Option<Uuid>],
        &actions as &[Option<i16>],
        &variants as &[Option<&str>],
        &fallbacks as &[Option<String>],
        &versions as &[Option<i32>],
        &digests as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn join(channels: &[Channel]) -> String {
    let words: Vec<_> = channels.iter().map(|channel| channel.as_str()).collect();
    words.join(",")
}

/// One column list for every way of looking notifications up.
pub(crate) const COLUMNS: &str = "notification.id, notification.created_at, \
     notification.updated_at, notification.send_at, notification.expires_at, \
     notification.event_id, notification.delivery_count, notification.is_test, \
     notification.bypass_quiet_hours, notification.tenant_id, notification.user_id, \
     notification.type as kind, notification.category, notification.priority, \
     notification.status, notification.template, notification.locale, notification.subject, \
     notification.content, notification.channels, notification.data, notification.rule_id, \
     notification.action, notification.variant, notification.fallback, \
     notification.template_version, notification.digest_id";

fn select() -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select ");
    query
        .push(COLUMNS)
        .push(" from notifications as notification");
    query
}

async fn fetch(
    mut query: QueryBuilder<Postgres>,
    connection: &mut PgConnection,
) -> Result<Vec<Notification>, StoreError> {
    let rows = query
        .build_query_as::<Row>()
        .fetch_all(connection)
        .await
        .map_err(during("list notifications"))?;
    rows.into_iter().map(Notification::try_from).collect()
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    event_id: Option<Uuid>,
    delivery_count: i16,
    is_test: bool,
    bypass_quiet_hours: bool,
    tenant_id: String,
    user_id: String,
    kind: String,
    category: Option<String>,
    priority: String,
    status: String,
    template: Option<String>,
    locale: Option<String>,
    subject: Option<String>,
    content: Option<String>,
    channels: Option<Vec<String>>,
    data: Option<Document<Value>>,
    rule_id: Option<Uuid>,
    action: Option<i16>,
    variant: Option<String>,
    fallback: Option<Vec<String>>,
    template_version: Option<i32>,
    digest_id: Option<Uuid>,
}

impl TryFrom<Row> for Notification {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let unknown = |word: &str| unknown_word("notifications", word);
        let channel = |word: &String| Channel::parse(word).ok_or_else(|| unknown(word));
        let channels = row
            .channels
            .as_deref()
            .map(|words| words.iter().map(channel).collect());
        let fallback = row.fallback.as_deref().unwrap_or_default();
        let decided = Decided {
            rule: row
                .rule_id
                .map(RuleId::from)
                .zip(row.action.map(|action| action as u16)),
            variant: row.variant,
            fallback: fallback.iter().map(channel).collect::<Result<_, _>>()?,
            template_version: row.template_version.map(|version| version as u32),
            digest_id: row.digest_id.map(DigestId::from),
        };
        Ok(Self {
            decided,
            id: row.id.into(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            send_at: row.send_at,
            expires_at: row.expires_at,
            event_id: row.event_id.map(EventId::from),
            delivery_count: row.delivery_count as u16,
            is_test: row.is_test,
            bypass_quiet_hours: row.bypass_quiet_hours,
            tenant_id: row.tenant_id.into(),
            user_id: row.user_id.into(),
            kind: row.kind,
            category: row.category,
            priority: Priority::parse(&row.priority).ok_or_else(|| unknown(&row.priority))?,
            status: Status::parse(&row.status).ok_or_else(|| unknown(&row.status))?,
            template: row.template,
            locale: row.locale,
            subject: row.subject,
            content: row.content,
            channels: channels.transpose()?,
            data: row.data.map(|data| data.0),
        })
    }
}

//! Reads what a whole claim of jobs needs, in one statement for each kind.
//!
//! Rows that are gone are left out of the answer; the job that asked for one has nothing to do.
//!
//! Ids are joined rather than compared with `any`: that would look up each of them in every
//! partition, where the join looks only in the one that can have it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    Channel, ConsentCategories, Consents, DeliveryId, DigestId, EventId, Message, NotificationId,
    Preferences, Priority, Severity, Status, TenantId, UserId,
};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::StoreError;
use crate::consents::Standing;
use crate::digests::{DigestItems, list_items};
use crate::error::{during, unknown_word};
use crate::json::Document;
pub use crate::understudies::Understudy;
use crate::understudies::list_understudies;

/// What rendering needs to know of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct ToRender {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub status: Status,
    pub priority: Priority,
    pub category: Option<String>,
    /// The job that is to work on it.
    pub job_id: Option<Uuid>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    /// `None` for a plain message.
    pub template: Option<String>,
    /// The version that routing has pinned.
    pub template_version: Option<u32>,
    pub locale: Option<String>,
    pub subject: Option<String>,
    pub content: Option<String>,
    /// Where its provider will find the user; `None` in-app.
    pub address: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// The variables of a direct send.
    pub data: Option<Value>,
    /// The event that led to it, if one did.
    pub event: Option<RenderEvent>,
    pub is_test: bool,
    /// Of what has waited; what the user wanted when it came in has been heeded.
    pub wishes: Option<Wishes>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
    /// What it tells, if it tells a digest.
    pub digest: Option<Arc<DigestItems>>,
}

/// What a template may say of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderEvent {
    pub id: EventId,
    pub event_id: String,
    pub kind: String,
    pub created_at: DateTime<Utc>,
    pub payload: Value,
}

/// What a user wants by now of what has waited, and has agreed to. Nobody's who has said nothing,
/// unless consent is asked for; and no test's.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    pub preferences: Preferences,
    pub consents: Consents,
    /// Of the user's row.
    pub timezone: Option<String>,
    /// Of the event that led to it, if one did.
    pub severity: Option<Severity>,
    pub bypass_quiet_hours: bool,
}

/// Of which deliveries it is read again what their users want.
#[derive(Debug, Clone, Copy)]
pub struct AskAgain<'a> {
    /// Of what came in until then, and of sends that waited for their `send_at`.
    pub waited_since: DateTime<Utc>,
    /// What must have been agreed to.
    pub asked: &'a ConsentCategories,
}

/// What sending needs to know of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct ToDeliver {
    pub id: DeliveryId,
    pub notification_id: NotificationId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub channel: Channel,
    pub status: Status,
    /// Provider attempts so far.
    pub attempts: u16,
    pub provider: Option<String>,
    pub address: Option<String>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    pub priority: Priority,
    pub category: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub is_test: bool,
    /// Of what has waited.
    pub wishes: Option<Wishes>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
    pub is_rendered: bool,
    /// `None` in-app, where it stays in the row that the feed reads, but for tests; and until
    /// rendered.
    pub message: Option<Message>,
    /// How often the rate limits were changed by then.
    pub limits_revision: i64,
    /// What may stand in for it, should it fail for good.
    pub understudy: Option<Arc<Understudy>>,
}

/// Loads deliveries with their notification and event, for rendering.
///
/// What their users want is read again of what has waited.
pub async fn load_for_render(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
    again: AskAgain<'_>,
) -> Result<Vec<ToRender>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.user_id,
               delivery.channel, delivery.status, delivery.address, delivery.job_id,
               notification.priority,
               notification.category, notification.type as kind, notification.template,
               notification.template_version, notification.locale, notification.subject, notification.content,
               notification.created_at, notification.expires_at,
               notification.data as "data: Document<Value>",
               notification.delivery_count, notification.is_test, notification.digest_id,
               notification.bypass_quiet_hours, wish.body as "body?: Document<Value>",
               wish.timezone, agreed.records as "records?: Json<Vec<Standing>>", event.severity as "event_severity?",
               event.id as "event_row_id?",
               event.event_id as "event_id?", event.type as "event_kind?",
               event.created_at as "event_created_at?", event.payload as "payload?: Document<Value>"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        left join events as event on event.id = notification.event_id
        left join lateral (
            select said.body, known.timezone
            from preferences as said
            left join users as known
                on known.tenant_id = said.tenant_id and known.user_id = said.user_id
            where (notification.send_at is not null or notification.created_at <= $2)
              and not notification.is_test
              and said.tenant_id = delivery.tenant_id
              and said.user_id = delivery.user_id
            limit 1
        ) as wish on true
        left join lateral (
            select coalesce(jsonb_agg(
                jsonb_build_object(
                    'category', standing.category, 'channel', standing.channel,
                    'granted', standing.granted
                )
                order by standing.consent_id desc
            ), '[]') as records
            from consents as standing
            where standing.tenant_id = delivery.tenant_id
              and standing.user_id = delivery.user_id
              and standing.category = notification.category
              and standing.superseded_at is null
        ) as agreed on notification.category = any($3::text[])
            and (notification.send_at is not null or notification.created_at <= $2)
            and not notification.is_test
        "#,
        &ids,
        again.waited_since,
        &again.asked.names() as &[&str],
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("load deliveries to render"))?;
    let told = rows.iter().filter_map(|row| row.digest_id);
    let digests = list_told(connection, told.collect()).await?;

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
            let wishes = wishes(
                row.body,
                row.records,
                again.asked,
                row.timezone,
                row.event_severity.as_deref(),
                row.bypass_quiet_hours,
            )?;
            let event = match (
                row.event_row_id,
                row.event_id,
                row.event_kind,
                row.event_created_at,
            ) {
                (Some(id), Some(event_id), Some(kind), Some(created_at)) => Some(RenderEvent {
                    id: id.into(),
                    event_id,
                    kind,
                    created_at,
                    payload: row.payload.map(|payload| payload.0).unwrap_or_default(),
                }),
                _ => None,
            };
            Ok(ToRender {
                id: row.id.into(),
                notification_id: row.notification_id.into(),
                tenant_id: row.tenant_id.into(),
                user_id: row.user_id.into(),
                channel: words.channel,
                status: words.status,
                priority: words.priority,
                category: row.category,
                job_id: row.job_id,
                kind: row.kind,
                template: row.template,
                template_version: row.template_version.map(|version| version as u32),
                locale: row.locale,
                subject: row.subject,
                content: row.content,
                address: row.address,
                created_at: row.created_at,
                expires_at: row.expires_at,
                data: row.data.map(|data| data.0),
                event,
                is_test: row.is_test,
                wishes,
                is_sole: row.delivery_count == 1,
                digest: row
                    .digest_id
                    .map(|id| digests.get(&id.into()).cloned().unwrap_or_default()),
            })
        })
        .collect()
}

/// Reads what some digests have gathered, each once.
async fn list_told(
    connection: &mut PgConnection,
    ids: BTreeSet<Uuid>,
) -> Result<HashMap<DigestId, Arc<DigestItems>>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = ids.into_iter().map(DigestId::from).collect();
    let items = list_items(connection, &ids).await?.into_iter();
    Ok(items.map(|(id, items)| (id, Arc::new(items))).collect())
}

/// Loads deliveries with their notification, for sending.
///
/// What their users want is read again of what has waited; of nothing without `again`.
pub async fn load_for_deliver(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
    again: Option<AskAgain<'_>>,
) -> Result<Vec<ToDeliver>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    // An in-app message is not handed to anyone but the outbox, so it is not read either.
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.notification_id, delivery.tenant_id, delivery.user_id,
               delivery.channel, delivery.status, delivery.attempts, delivery.provider,
               delivery.address, notification.type as kind, notification.priority,
               notification.category, notification.created_at, notification.expires_at,
               notification.is_test, notification.delivery_count,
               notification.bypass_quiet_hours, wish.body as "body?: Document<Value>",
               wish.timezone, case when notification.category = any($3::text[])
                    and $2::timestamptz is not null
                    and (notification.send_at is not null or notification.created_at <= $2)
                    and not notification.is_test
               then (
                   select coalesce(jsonb_agg(
                       jsonb_build_object(
                           'category', standing.category, 'channel', standing.channel,
                           'granted', standing.granted
                       )
                       order by standing.consent_id desc
                   ), '[]')
                   from consents as standing
                   where standing.tenant_id = delivery.tenant_id
                     and standing.user_id = delivery.user_id
                     and standing.category = notification.category
                     and standing.superseded_at is null
               ) end as "records?: Json<Vec<Standing>>", case when wish.body is not null then (
                   select event.severity
                   from events as event
                   where event.id = notification.event_id
               ) end as event_severity,
               delivery.message is not null as "is_rendered!",
               case when delivery.channel <> 'in_app' or notification.is_test
                    then delivery.message end
                   as "message: Document<Message>",
               notification.fallback is not null as "has_fallback!",
               (select revision from revisions where kind = 'limits') as "limits_revision!"
        from unnest($1::uuid[]) as wanted (id)
        join deliveries as delivery on delivery.id = wanted.id
        join notifications as notification on notification.id = delivery.notification_id
        left join lateral (
            select said.body, known.timezone
            from preferences as said
            left join users as known
                on known.tenant_id = said.tenant_id and known.user_id = said.user_id
            where $2::timestamptz is not null
              and (notification.send_at is not null or notification.created_at <= $2)
              and not notification.is_test
              and said.tenant_id = delivery.tenant_id
              and said.user_id = delivery.user_id
            limit 1
        ) as wish on true
        "#,
        &ids,
        again.map(|again| again.waited_since),
        &again.map(|again| again.asked.names()).unwrap_or_default() as &[&str],
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("load deliveries to send"))?;
    let asked = again.map_or_else(ConsentCategories::none, |again| again.asked.clone());
    let replaceable = rows.iter().filter(|row| row.has_fallback && !row.is_test);
    let replaceable: Vec<_> = replaceable.map(|row| row.notification_id.into()).collect();
    let understudies = list_understudies(connection, &replaceable, &asked).await?;

    rows.into_iter()
        .map(|row| {
            let words = Words::read(&row.channel, &row.status, &row.priority)?;
            let wishes = wishes(
                row.body,
                row.records,
                &asked,
                row.timezone,
                row.event_severity.as_deref(),
                row.bypass_quiet_hours,
            )?;
            Ok(ToDeliver {
                id: row.id.into(),
                notification_id: row.notification_id.into(),
                tenant_id: row.tenant_id.into(),
                user_id: row.user_id.into(),
                channel: words.channel,
                status: words.status,
                attempts: row.attempts as u16,
                provider: row.provider,
                address: row.address,
                kind: row.kind,
                priority: words.priority,
                category: row.category,
                created_at: row.created_at,
                expires_at: row.expires_at,
                is_test: row.is_test,
                wishes,
                is_sole: row.delivery_count == 1,
                is_rendered: row.is_rendered,
                message: row.message.map(|message| message.0),
                limits_revision: row.limits_revision,
                understudy: understudies
                    .get(&row.notification_id.into())
                    .map(Arc::clone),
            })
        })
        .collect()
}

/// The wishes of a joined row, if they were read and there are any.
fn wishes(
    body: Option<Document<Value>>,
    records: Option<Json<Vec<Standing>>>,
    asked: &ConsentCategories,
    timezone: Option<String>,
    severity: Option<&str>,
    bypass_quiet_hours: bool,
) -> Result<Option<Wishes>, StoreError> {
    let read = |word| Severity::parse(word).ok_or_else(|| unknown_word("events", word));
    let severity = severity.map(read).transpose()?;
    if body.is_none() && records.is_none() {
        return Ok(None);
    }
    // What was not asked of this one is asked of none of its records.
    let asked = match &records {
        Some(_) => asked.clone(),
        None => ConsentCategories::none(),
    };
    let records = records.map(|records| records.0).unwrap_or_default();
    let records = records.into_iter().map(Standing::read);
    Ok(Some(Wishes {
        preferences: body
            .map(|body| Preferences::of_stored(body.0))
            .unwrap_or_default(),
        consents: Consents::new(asked, records.collect::<Result<_, _>>()?),
        timezone,
        severity,
        bypass_quiet_hours,
    }))
}

/// The words of a joined row, as values.
struct Words {
    channel: Channel,
    status: Status,
    priority: Priority,
}

impl Words {
    fn read(channel: &str, status: &str, priority: &str) -> Result<Self, StoreError> {
        Ok(Self {
            channel: Channel::parse(channel).ok_or_else(|| unknown_word("deliveries", channel))?,
            status: Status::parse(status).ok_or_else(|| unknown_word("deliveries", status))?,
            priority: Priority::parse(priority)
                .ok_or_else(|| unknown_word("notifications", priority))?,
        })
    }
}

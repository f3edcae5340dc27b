//! What quiet hours hold back for a digest: deliveries that wait to be told with others.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{
    Channel, DeliveryId, DigestId, EventId, NotificationId, Priority, Severity, TenantId, UserId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::digests::{Digest, urgency_of};
use crate::error::{during, unknown_word};

/// A delivery that quiet hours held back and that a digest is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub digest_id: DigestId,
    pub delivery_id: DeliveryId,
    pub notification_id: NotificationId,
    pub address: Option<String>,
    pub about: About,
    /// The event that led to it, if one did.
    pub event_id: Option<EventId>,
    /// Event type; for a direct send the template's name or `notification`.
    pub kind: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it is its notification's only delivery.
    pub is_sole: bool,
}

/// What a held delivery is about, as far as wishes ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub category: Option<String>,
    pub priority: Priority,
    /// Of the event; `None` for a direct send.
    pub severity: Option<Severity>,
    pub bypass_quiet_hours: bool,
}

impl About {
    fn read(
        category: Option<String>,
        priority: &str,
        severity: Option<&str>,
        bypass_quiet_hours: bool,
    ) -> Result<Self, StoreError> {
        let severity_of = |word| Severity::parse(word).ok_or_else(|| unknown_word("events", word));
        Ok(Self {
            category,
            priority: Priority::parse(priority)
                .ok_or_else(|| unknown_word("notifications", priority))?,
            severity: severity.map(severity_of).transpose()?,
            bypass_quiet_hours,
        })
    }
}

/// The deliveries that quiet hours held back for these digests and that still wait.
pub(crate) async fn list_held(
    connection: &mut PgConnection,
    digests: &[Digest],
) -> Result<Vec<Held>, StoreError> {
    let of_quiet_hours = digests.iter().filter(|digest| digest.key.rule_id.is_none());
    let ids: Vec<_> = of_quiet_hours.map(|digest| digest.id.as_uuid()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        select item.digest_id, held.id, held.notification_id, held.address, sent.expires_at,
               sent.delivery_count, sent.event_id, sent.type as kind, sent.category, sent.priority,
               sent.bypass_quiet_hours, event.severity as "severity?"
        from unnest($1::uuid[]) as wanted (digest_id)
        join digest_items as item on item.digest_id = wanted.digest_id
        join deliveries as held on held.id = item.source_id
        join notifications as sent on sent.id = held.notification_id
        left join events as event on event.id = sent.event_id
        where held.status = 'pending'
        order by held.id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read what quiet hours hold back"))?;
    let held = rows.into_iter().map(|row| {
        let about = About::read(
            row.category,
            &row.priority,
            row.severity.as_deref(),
            row.bypass_quiet_hours,
        )?;
        Ok(Held {
            digest_id: row.digest_id.into(),
            delivery_id: row.id.into(),
            notification_id: row.notification_id.into(),
            address: row.address,
            about,
            event_id: row.event_id.map(EventId::from),
            kind: row.kind,
            expires_at: row.expires_at,
            is_sole: row.delivery_count == 1,
        })
    });
    held.collect()
}

/// What the deliveries are about that quiet hours hold back for these digests, each kind of them
/// once: a night of a thousand deliveries is of a few kinds.
pub async fn list_held_kinds(
    connection: &mut PgConnection,
    ids: &[DigestId],
) -> Result<HashMap<DigestId, Vec<About>>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select distinct item.digest_id, sent.category, sent.priority, sent.bypass_quiet_hours,
               event.severity as "severity?"
        from unnest($1::uuid[]) as wanted (digest_id)
        join digest_items as item on item.digest_id = wanted.digest_id
        join deliveries as held on held.id = item.source_id
        join notifications as sent on sent.id = held.notification_id
        left join events as event on event.id = sent.event_id
        where held.status = 'pending'
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read what quiet hours hold back"))?;
    let mut kinds: HashMap<DigestId, Vec<About>> = HashMap::new();
    for row in rows {
        let about = About::read(
            row.category,
            &row.priority,
            row.severity.as_deref(),
            row.bypass_quiet_hours,
        )?;
        kinds.entry(row.digest_id.into()).or_default().push(about);
    }
    Ok(kinds)
}

/// The open digests of what quiet hours hold back from a user: one for each channel at most.
pub async fn list_quiet_digests(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Vec<(DigestId, Priority)>, StoreError> {
    let rows = sqlx::query!(
        "select digest_id, urgency
         from digests
         where tenant_id = $1 and user_id = $2 and rule_id = $3 and status = 'open'
         order by digest_id
         limit $4",
        tenant_id.as_str(),
        user_id.as_str(),
        Uuid::nil(),
        Channel::ALL.len() as i64,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list what quiet hours gather for a user"))?;
    let digests = rows.into_iter().map(|row| {
        let priority = urgency_of(row.urgency).map_err(during("read digests"))?;
        Ok((row.digest_id.into(), priority))
    });
    digests.collect()
}

//! Understudies: what is to be known of a notification before something stands in for a channel of
//! it that has failed.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Channel, ConsentCategories, NotificationId, Recipient, Severity, TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::{during, unknown_word};
use crate::json::Document;
use crate::recipients::list_recipients;

/// What may stand in for a failed channel of a notification, and what that is decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Understudy {
    /// Channels, in order.
    pub fallback: Vec<Channel>,
    /// Channels it has deliveries on.
    pub used: Vec<Channel>,
    /// Deliveries so far.
    pub delivery_count: u16,
    /// Of the event that led to it, if one did.
    pub severity: Option<Severity>,
    pub bypass_quiet_hours: bool,
    /// What a rule has added to the template's variables.
    pub data: Option<Value>,
    /// What is known of its user.
    pub recipient: Option<Recipient>,
}

/// Loads understudies for a whole claim of jobs, in one statement and one for the people.
/// Notifications without a fallback are left out.
pub(crate) async fn list_understudies(
    connection: &mut PgConnection,
    ids: &[NotificationId],
    asked: &ConsentCategories,
) -> Result<HashMap<NotificationId, Arc<Understudy>>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"
        select notification.id, notification.tenant_id, notification.user_id,
               notification.fallback as "fallback!", notification.delivery_count,
               notification.bypass_quiet_hours, notification.data as "data: Document<Value>",
               array(
                   select delivery.channel
                   from deliveries as delivery
                   where delivery.notification_id = notification.id
               ) as "used!",
               event.severity as "severity?"
        from unnest($1::uuid[]) as wanted (id)
        join notifications as notification on notification.id = wanted.id
        left join events as event on event.id = notification.event_id
        where notification.fallback is not null
        "#,
        &ids,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("load what may stand in"))?;

    let users: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                TenantId::from(row.tenant_id.as_str()),
                UserId::from(row.user_id.as_str()),
            )
        })
        .collect();
    let wanted: Vec<_> = users.iter().map(|(tenant, user)| (tenant, user)).collect();
    let people: HashMap<_, _> = list_recipients(connection, &wanted, asked)
        .await?
        .into_iter()
        .map(|known| {
            let key = (known.tenant_id, known.recipient.user_id.clone());
            (key, known.recipient)
        })
        .collect();
    let channel =
        |word: &String| Channel::parse(word).ok_or_else(|| unknown_word("notifications", word));
    let severity = |word: &str| Severity::parse(word).ok_or_else(|| unknown_word("events", word));
    rows.into_iter()
        .zip(users)
        .map(|(row, user)| {
            let understudy = Understudy {
                fallback: row.fallback.iter().map(channel).collect::<Result<_, _>>()?,
                used: row.used.iter().map(channel).collect::<Result<_, _>>()?,
                delivery_count: row.delivery_count as u16,
                severity: row.severity.as_deref().map(severity).transpose()?,
                bypass_quiet_hours: row.bypass_quiet_hours,
                data: row.data.map(|data| data.0),
                recipient: people.get(&user).cloned(),
            };
            Ok((row.id.into(), Arc::new(understudy)))
        })
        .collect()
}

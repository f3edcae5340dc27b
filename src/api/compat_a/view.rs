//! A notification as system A shows it: one channel, flat.

use domain::{Channel, NotificationId, Priority, Status, UserId};
use serde::Serialize;
use serde_json::Value;
use store::deliveries::Delivery;
use store::notifications::Notification;
use utoipa::ToSchema;

use crate::api::openapi::words::{ChannelWord, PriorityWord, StatusWord, any_object};
use crate::api::view::Moment;

/// A notification as system A shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotificationOfA)]
pub(super) struct NotificationOfA {
    #[schema(value_type = String)]
    id: NotificationId,
    #[schema(value_type = String)]
    user_id: UserId,
    /// The channel of its first delivery.
    #[schema(value_type = ChannelWord)]
    r#type: Channel,
    #[schema(required)]
    template: Option<String>,
    #[schema(required)]
    subject: Option<String>,
    #[schema(required)]
    content: Option<String>,
    /// The variables it was sent with.
    #[schema(schema_with = any_object)]
    metadata: Value,
    #[schema(value_type = StatusWord)]
    status: Status,
    #[schema(value_type = PriorityWord)]
    priority: Priority,
    created_at: Moment,
    #[schema(required)]
    sent_at: Option<Moment>,
    /// Attempts after the first.
    retry_count: u16,
    #[schema(required)]
    error_message: Option<String>,
}

impl NotificationOfA {
    /// What A would show of a notification and its first delivery.
    pub(super) fn of(row: Notification, delivery: Option<Delivery>) -> Self {
        let asked_for = row.channels.as_ref().and_then(|channels| channels.first());
        let channel = delivery.as_ref().map(|delivery| delivery.channel);
        let is_sent =
            |delivery: &&Delivery| matches!(delivery.status, Status::Sent | Status::Delivered);
        let sent = delivery.as_ref().filter(is_sent);
        let sent_at = sent.map(|delivery| Moment(delivery.updated_at));
        let attempts = delivery.as_ref().map_or(0, |delivery| delivery.attempts);
        let (error, message) = delivery.map_or((None, None), |row| (row.error, row.message));
        let (subject, body) = message.map_or((None, None), |message| {
            (message.subject, Some(message.body))
        });
        Self {
            id: row.id,
            user_id: row.user_id,
            r#type: channel.or(asked_for.copied()).unwrap_or(Channel::InApp),
            template: row.template,
            subject: subject.or(row.subject),
            content: body.or(row.content),
            metadata: row
                .data
                .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            status: row.status,
            priority: row.priority,
            created_at: Moment(row.created_at),
            sent_at,
            retry_count: attempts.saturating_sub(1),
            error_message: error,
        }
    }
}

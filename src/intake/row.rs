//! A submission as the rows it becomes: everything decided that needs no database.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    EventId, EventSubmission, NotificationId, NotificationSubmission, Severity, Status, TenantId,
};
use queue::{JobId, NewJob};
use serde_json::Value;
use store::effect::NewNotification;
use store::events::NewEvent;
use store::keys::{DedupeKey, EventKey};
use uuid::Uuid;
use workers::Route;

use super::lane;
use crate::config::IntakeConfig;

/// The type of a direct send without a template.
const NOTIFICATION_TYPE: &str = "notification";

/// Names the dedupe keys of direct sends: no event has this type, so none stands for a send.
const SENDS: &str = "";

/// Names the dedupe keys of test sends: a test must not stand for the real thing. The character is
/// one that nobody types.
const TEST_SENDS: &str = "\u{7f}";

/// How long the keys of a submission stay taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    event_id: TimeDelta,
    dedupe: TimeDelta,
}

impl Windows {
    pub(crate) fn of(config: &IntakeConfig) -> Self {
        let window = |length| TimeDelta::from_std(length).unwrap_or(TimeDelta::zero());
        Self {
            event_id: window(config.event_id_window),
            dedupe: window(config.dedupe_window),
        }
    }
}

/// What is inserted.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Event(Box<NewEvent>),
    Notification(Box<NewNotification>),
}

/// One submission, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(super) id: Uuid,
    pub(super) event_key: Option<EventKey>,
    pub(super) dedupe_key: Option<DedupeKey>,
    pub(super) content: Content,
    pub(super) job: NewJob,
}

impl Row {
    /// The row of an event and the job that routes it.
    pub(crate) fn of_event(
        tenant_id: &TenantId,
        event: EventSubmission,
        windows: Windows,
        now: DateTime<Utc>,
    ) -> Self {
        let id = EventId::at(now);
        let producer = event.producer.unwrap_or_default();
        let whom = event
            .payload
            .get("user_id")
            .and_then(Value::as_str)
            .unwrap_or(&event.kind);
        let priority = event
            .severity
            .map(Severity::to_priority)
            .unwrap_or_default();
        let route = Route::Event { event_id: id };
        let job = NewJob::new(JobId::at(now), workers::queues::ROUTE, &route)
            .lane(lane(tenant_id, whom))
            .priority(workers::urgency(priority));
        let event_key = event.event_id.clone().map(|event_id| EventKey {
            tenant_id: tenant_id.clone(),
            producer: producer.clone(),
            event_id,
            id: id.as_uuid(),
            expires_at: now + windows.event_id,
        });
        let dedupe_key = event.dedupe_key.clone().map(|dedupe_key| DedupeKey {
            tenant_id: tenant_id.clone(),
            kind: event.kind.clone(),
            dedupe_key,
            id: id.as_uuid(),
            expires_at: now + windows.dedupe,
        });
        let content = Content::Event(Box::new(NewEvent {
            id,
            created_at: now,
            occurred_at: event.occurred_at,
            tenant_id: tenant_id.clone(),
            event_id: event.event_id.unwrap_or_else(|| id.to_string()),
            producer,
            kind: event.kind,
            severity: event.severity,
            dedupe_key: event.dedupe_key,
            payload: event.payload,
        }));
        Self {
            id: id.as_uuid(),
            event_key,
            dedupe_key,
            content,
            job,
        }
    }

    /// The row of a direct send and the job that routes it, now: a later `send_at` holds back the
    /// rendering, not the routing.
    pub(crate) fn of_notification(
        tenant_id: &TenantId,
        sent: NotificationSubmission,
        windows: Windows,
        now: DateTime<Utc>,
    ) -> Self {
        let id = NotificationId::at(now);
        let route = Route::Notification {
            notification_id: id,
        };
        // The job carries the id of what it routes: whoever takes the send back finds it by that.
        let job = NewJob::new(JobId(id.as_uuid()), workers::queues::ROUTE, &route)
            .lane(lane(tenant_id, sent.user_id.as_str()))
            .priority(workers::urgency(sent.priority));
        let dedupe_key = sent.dedupe_key.map(|dedupe_key| DedupeKey {
            tenant_id: tenant_id.clone(),
            kind: SENDS.to_owned(),
            dedupe_key,
            id: id.as_uuid(),
            expires_at: now + windows.dedupe,
        });
        let content = Content::Notification(Box::new(NewNotification {
            decided: store::effect::Decided::default(),
            id,
            tenant_id: tenant_id.clone(),
            user_id: sent.user_id,
            event_id: None,
            created_at: now,
            send_at: sent.send_at,
            expires_at: sent.expires_at,
            kind: sent
                .template
                .clone()
                .unwrap_or_else(|| NOTIFICATION_TYPE.to_owned()),
            category: sent.category,
            priority: sent.priority,
            status: Status::Pending,
            template: sent.template,
            locale: sent.locale,
            subject: sent.subject,
            content: sent.content,
            channels: sent.channels,
            data: sent.data,
            delivery_count: 0,
            is_test: false,
            bypass_quiet_hours: sent.bypass_quiet_hours,
        }));
        Self {
            id: id.as_uuid(),
            event_key: None,
            dedupe_key,
            content,
            job,
        }
    }

    /// Marks a direct send as a test: all of it goes to the outbox, and it is not counted.
    pub(crate) fn into_test(mut self) -> Self {
        if let Content::Notification(sent) = &mut self.content {
            sent.is_test = true;
        }
        if let Some(key) = &mut self.dedupe_key {
            TEST_SENDS.clone_into(&mut key.kind);
        }
        self
    }
}

//! What a template can see.
//!
//! The event's payload, or the `data` of a direct send, at top level and as `data`; beside it
//! `event`, `user`, `notification` and `locale`. Those names win over a payload key of the same
//! name, which stays reachable as `data.<key>`: a sender cannot replace what Postrider says.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{NotificationId, Priority, UserId};
use minijinja::Value;
use minijinja::value::{Object, Serde};
use serde::Serialize;

/// The variables of one message.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    /// The event's payload, or a direct send's `data`: an object, or null for none.
    pub data: &'a serde_json::Value,
    /// `None` for a direct send.
    pub event: Option<EventVars<'a>>,
    pub user: UserVars<'a>,
    pub notification: NotificationVars<'a>,
    /// A BCP 47 tag.
    pub locale: &'a str,
}

/// `event` in a template. Its payload is there too, as `event.data`.
#[derive(Debug, Clone, Copy)]
pub struct EventVars<'a> {
    /// The submitter's name for it.
    pub id: &'a str,
    /// `event.type`.
    pub kind: &'a str,
    pub created_at: DateTime<Utc>,
}

/// `user` in a template.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct UserVars<'a> {
    pub id: &'a UserId,
}

/// `notification` in a template.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NotificationVars<'a> {
    pub id: NotificationId,
    /// The event type; for a direct send the template's name or `notification`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub category: Option<&'a str>,
    pub priority: Priority,
    pub created_at: DateTime<Utc>,
}

/// [`EventVars`] with the payload, which is shared with `data` and not converted again.
#[derive(Serialize)]
struct EventWithData<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    created_at: DateTime<Utc>,
    data: &'a Value,
}

/// [`Vars`] as the engine reads them: converted once, shared by the fields of a message.
#[derive(Debug)]
struct Scope {
    data: Value,
    event: Value,
    user: Value,
    notification: Value,
    locale: Value,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "data" => Some(self.data.clone()),
            "event" => Some(self.event.clone()),
            "user" => Some(self.user.clone()),
            "notification" => Some(self.notification.clone()),
            "locale" => Some(self.locale.clone()),
            name => self
                .data
                .get_attr(name)
                .ok()
                .filter(|value| !value.is_undefined()),
        }
    }
}

impl Vars<'_> {
    pub(crate) fn to_scope(self) -> Value {
        let data = match self.data {
            serde_json::Value::Null => Value::from(BTreeMap::<String, Value>::new()),
            data => Value::from(Serde(data)),
        };
        let event = self.event.map_or_else(Value::default, |event| {
            Value::from(Serde(EventWithData {
                id: event.id,
                kind: event.kind,
                created_at: event.created_at,
                data: &data,
            }))
        });
        Value::from_object(Scope {
            event,
            user: Value::from(Serde(self.user)),
            notification: Value::from(Serde(self.notification)),
            locale: Value::from(self.locale),
            data,
        })
    }
}

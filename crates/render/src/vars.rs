//! What a template can see.
//!
//! The event's payload, or the `data` of a direct send, at top level and as `data`; beside it
//! `event`, `user`, `notification`, `brand`, `locale` and `dir`, and in a digest `items`, `count`,
//! `first` and `last`. Those names win over a payload key of the same name, which stays reachable
//! as `data.<key>`: a sender cannot replace what Postrider says.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{NotificationId, Priority, UserId};
use minijinja::Value;
use minijinja::value::{Object, Serde};
use serde::Serialize;

use crate::Brand;
use crate::language::Speech;

/// The variables of one message.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    /// The event's payload, or a direct send's `data`: an object, or null for none. In a digest,
    /// what its last item has is seen instead.
    pub data: &'a serde_json::Value,
    /// What a digest gathered; `None` for a message about one event.
    pub items: Option<Gathered<'a>>,
    /// `None` for a direct send.
    pub event: Option<EventVars<'a>>,
    pub user: UserVars<'a>,
    pub notification: NotificationVars<'a>,
    pub brand: &'a Brand,
    /// The language asked for, as a BCP 47 tag; the template answers in the nearest it has.
    pub locale: &'a str,
}

/// What a digest gathered: `items`, `count`, `first` and `last` in a template.
#[derive(Debug, Clone, Copy)]
pub struct Gathered<'a> {
    /// The payloads that are shown, in order.
    pub items: &'a [serde_json::Value],
    /// How many there are, shown or not.
    pub count: i64,
    /// The last of all; `None` is the last of those shown.
    pub last: Option<&'a serde_json::Value>,
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
    /// What the user speaks, if it is known.
    pub locale: Option<&'a str>,
    /// An IANA name, such as `Europe/Berlin`. Dates and times are shown in it, else in UTC.
    pub timezone: Option<&'a str>,
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

/// The names of [`Vars`] that a template uses. What it does not use is not converted for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    event: bool,
    user: bool,
    notification: bool,
    brand: bool,
    /// Whether a text depends on who reads it: it names the user or shows a time in their zone.
    pub(crate) reader: bool,
}

impl Needs {
    pub(crate) fn add(&mut self, names: &HashSet<String>) {
        self.event |= names.contains("event");
        self.user |= names.contains("user");
        self.notification |= names.contains("notification");
        self.brand |= names.contains("brand");
    }
}

/// [`Vars`] as the engine reads them: converted once, shared by the fields of a message.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    data: Value,
    items: Option<Items>,
    event: Value,
    user: Value,
    notification: Value,
    brand: Value,
}

#[derive(Debug, Clone)]
struct Items {
    all: Value,
    count: i64,
    first: Value,
    last: Value,
}

/// The name of the scope that a filter finds [`Speech`] under. No template can say it.
pub(crate) const SPEECH: &str = "\0speech";

/// What one field sees: [`Facts`], and the language of its text.
#[derive(Debug)]
struct Scope {
    facts: Facts,
    locale: Value,
    dir: Value,
    speech: Value,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let facts = &self.facts;
        match name {
            "data" => return Some(facts.data.clone()),
            "event" => return Some(facts.event.clone()),
            "user" => return Some(facts.user.clone()),
            "notification" => return Some(facts.notification.clone()),
            "brand" => return Some(facts.brand.clone()),
            "locale" => return Some(self.locale.clone()),
            "dir" => return Some(self.dir.clone()),
            SPEECH => return Some(self.speech.clone()),
            _ => {}
        }
        if let Some(items) = &facts.items {
            match name {
                "items" => return Some(items.all.clone()),
                "count" => return Some(Value::from(items.count)),
                "first" => return Some(items.first.clone()),
                "last" => return Some(items.last.clone()),
                _ => {}
            }
        }
        facts
            .data
            .get_attr(name)
            .ok()
            .filter(|value| !value.is_undefined())
    }
}

/// How many values a payload has, in all its depth.
fn count(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        serde_json::Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

impl<'a> Gathered<'a> {
    /// All of a digest that is shown whole.
    pub fn all(items: &'a [serde_json::Value]) -> Self {
        Self {
            items,
            count: items.len() as i64,
            last: None,
        }
    }
}

impl Vars<'_> {
    /// How many values a template can reach.
    pub(crate) fn count(&self) -> usize {
        let items = self.items.map_or(&[][..], |gathered| gathered.items);
        count(self.data) + items.iter().map(count).sum::<usize>()
    }

    pub(crate) fn to_facts(self, needs: Needs) -> Facts {
        let items = self.items.map(|gathered| {
            let items: Vec<Value> = gathered.items.iter().map(object).collect();
            let last = gathered.last.map(object).or_else(|| items.last().cloned());
            Items {
                count: gathered.count,
                first: items.first().cloned().unwrap_or_else(empty),
                last: last.unwrap_or_else(empty),
                all: Value::from(items),
            }
        });
        let data = match &items {
            Some(items) => items.last.clone(),
            None => object(self.data),
        };
        let event = self.event.filter(|_| needs.event);
        Facts {
            event: event.map_or_else(Value::default, |event| {
                Value::from(Serde(EventWithData {
                    id: event.id,
                    kind: event.kind,
                    created_at: event.created_at,
                    data: &data,
                }))
            }),
            user: if_needed(needs.user, self.user),
            notification: if_needed(needs.notification, self.notification),
            brand: if_needed(needs.brand, self.brand),
            items,
            data,
        }
    }
}

impl Facts {
    /// The variables of a field that is written in the language of `speech`.
    pub(crate) fn to_scope(&self, speech: Speech) -> Value {
        Value::from_object(Scope {
            facts: self.clone(),
            locale: Value::from(speech.tag()),
            dir: Value::from(speech.dir()),
            speech: Value::from_object(speech),
        })
    }
}

fn object(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => empty(),
        value => Value::from(Serde(value)),
    }
}

fn empty() -> Value {
    Value::from(BTreeMap::<String, Value>::new())
}

fn if_needed(is_needed: bool, value: impl Serialize) -> Value {
    if is_needed {
        Value::from(Serde(value))
    } else {
        Value::default()
    }
}

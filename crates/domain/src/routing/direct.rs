//! A direct send: the sender has said who hears of it, and perhaps where.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::channel::{Crossed, Crossing};
use super::{PlannedDelivery, PlannedNotification, STEP, TemplateNames};
use crate::{Channel, Matter, Priority, Recipient, Status, TraceStep, UserId};

/// What routing looks at in a direct send.
#[derive(Debug, Clone, Copy)]
pub struct DirectFacts<'a> {
    pub user_id: &'a UserId,
    /// What was asked for; `None` lets routing choose.
    pub channels: Option<&'a [Channel]>,
    pub template: Option<&'a str>,
    pub priority: Priority,
    /// `None` is the template's.
    pub category: Option<&'a str>,
    /// Its `email`, `phone`, `slack` and `webhook` are addresses for this send only.
    pub data: Option<&'a Value>,
    /// A test reaches nobody, so it heeds no preferences.
    pub is_test: bool,
    /// `None` is the user's.
    pub locale: Option<&'a str>,
    pub send_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub bypass_quiet_hours: bool,
}

/// Plans a direct send over the channels it asked for, or in-app.
///
/// A channel that the user does not want, or on which they have no address, ends there; the others
/// go on. What waits for its `send_at` is asked about quiet hours when it has come.
pub fn route_direct(
    send: DirectFacts<'_>,
    templates: &TemplateNames,
    recipient: Option<&Recipient>,
    now: DateTime<Utc>,
) -> PlannedNotification {
    let mut steps = Vec::new();
    let channels = send.channels.unwrap_or(&[Channel::InApp]);
    let reason = match send.channels {
        Some(_) => "the request names its channels",
        None => "the request names no channel, so it goes in-app",
    };
    steps.push(TraceStep::new(STEP, "channels", reason).with_detail(json!({"channels": channels})));

    let template = send.template.and_then(|name| templates.find(name));
    let of_template = template.and_then(|known| known.category.as_deref());
    let category = send.category.or(of_template);
    let is_expired = send.expires_at.is_some_and(|expires_at| expires_at <= now);
    let crossed = if is_expired {
        expired(channels, send.expires_at)
    } else {
        let crossing = Crossing {
            user_id: send.user_id,
            recipient,
            matter: Matter {
                category,
                priority: send.priority,
                severity: None,
            },
            data: send.data,
            bypass_quiet_hours: send.bypass_quiet_hours,
            is_test: send.is_test,
            at: send
                .send_at
                .is_none_or(|send_at| send_at <= now)
                .then_some(now),
        };
        crossing.plan(channels, &[])
    };
    steps.extend(crossed.steps);

    let language = recipient.and_then(Recipient::language);
    let statuses = crossed.deliveries.iter().map(|delivery| delivery.status);
    PlannedNotification {
        user_id: send.user_id.clone(),
        rule: None,
        variant: None,
        template: send.template.map(str::to_owned),
        template_version: template.map(|known| known.version),
        vars: Map::new(),
        category: category.map(str::to_owned),
        priority: send.priority,
        locale: send.locale.or(language).map(str::to_owned),
        expires_at: send.expires_at,
        bypass_quiet_hours: send.bypass_quiet_hours,
        fallback: Vec::new(),
        status: Status::aggregate(statuses),
        deliveries: crossed.deliveries,
        steps,
    }
}

fn expired(channels: &[Channel], expires_at: Option<DateTime<Utc>>) -> Crossed {
    let reason = "it expired before it was routed";
    let step =
        TraceStep::new(STEP, "expired", reason).with_detail(json!({"expires_at": expires_at}));
    let error = "expired before it was routed";
    let ended = |&channel| PlannedDelivery::ended(channel, Status::Expired, error.to_owned());
    Crossed {
        deliveries: channels.iter().map(ended).collect(),
        fallback: Vec::new(),
        steps: vec![step],
    }
}

//! Who hears of an event, and how: facts in, plan out.
//!
//! A plan is data, with the reason for each decision beside it. The route worker turns it into
//! rows; a dry run shows it. Neither decides anything itself.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{Channel, NAME_CHARS_MAX, Priority, Recipient, Severity, Status, TraceStep, UserId};

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// The names of the templates there are, found by event type.
#[derive(Debug, Clone, Default)]
pub struct TemplateNames {
    by_type: HashMap<String, String>,
}

impl TemplateNames {
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into);
        Self {
            by_type: names.map(|name| (type_key(&name), name)).collect(),
        }
    }

    /// The template that an event type names: `ORDER_FILLED` finds `order.filled`.
    pub fn of_type(&self, event_type: &str) -> Option<&str> {
        self.by_type.get(&type_key(event_type)).map(String::as_str)
    }
}

/// Types are compared in lower case, with `_` equal to `.`.
fn type_key(name: &str) -> String {
    name.to_lowercase().replace('_', ".")
}

/// What routing looks at in an event.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    /// The event's `type`.
    pub kind: &'a str,
    pub severity: Option<Severity>,
    pub payload: &'a Value,
}

impl EventFacts<'_> {
    /// The user whom the payload names, when no rule says otherwise.
    ///
    /// A number is taken as its digits: some systems count their users.
    pub fn user_id(&self) -> Option<UserId> {
        let named = self.payload.get("user_id")?;
        let text = match named {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Number(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Object(_) => return None,
        };
        let is_name = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
        is_name.then(|| UserId::from(text))
    }
}

/// What routing looks at in a direct send.
#[derive(Debug, Clone, Copy)]
pub struct DirectFacts<'a> {
    pub user_id: &'a UserId,
    /// What was asked for; `None` lets routing choose.
    pub channels: Option<&'a [Channel]>,
    pub template: Option<&'a str>,
    pub priority: Priority,
    /// Its `email`, `phone`, `slack` and `webhook` are addresses for this send only.
    pub data: Option<&'a Value>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// What an event leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub notifications: Vec<PlannedNotification>,
    /// The decisions about the event itself; the whole answer when it leads to nothing.
    pub steps: Vec<TraceStep>,
}

/// One user is told one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedNotification {
    pub user_id: UserId,
    /// `None` for a plain message.
    pub template: Option<String>,
    pub priority: Priority,
    /// The sum of its deliveries.
    pub status: Status,
    /// In their order; never empty.
    pub deliveries: Vec<PlannedDelivery>,
    /// The decisions about this notification.
    pub steps: Vec<TraceStep>,
}

/// One message over one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedDelivery {
    pub channel: Channel,
    /// `None` where the channel needs none, or where there is none.
    pub address: Option<String>,
    /// `queued`, unless it cannot be sent.
    pub status: Status,
    /// Why it cannot be sent.
    pub error: Option<String>,
}

impl PlannedDelivery {
    fn queued(channel: Channel, address: Option<String>) -> Self {
        Self {
            channel,
            address,
            status: Status::Queued,
            error: None,
        }
    }

    fn ended(channel: Channel, status: Status, error: String) -> Self {
        Self {
            channel,
            address: None,
            status,
            error: Some(error),
        }
    }
}

/// Plans an event that no rule speaks of: the user in its payload hears of it in-app.
pub fn route_event(event: EventFacts<'_>, templates: &TemplateNames) -> Plan {
    let Some(user_id) = event.user_id() else {
        let reason = "no rule matches and the payload has no usable user_id";
        return Plan {
            notifications: Vec::new(),
            steps: vec![TraceStep::new(STEP, "no_recipient", reason)],
        };
    };
    let recipient_step = TraceStep::new(
        STEP,
        "default_recipient",
        "no rule matches, so the user in the payload hears of it in-app",
    )
    .with_detail(json!({"user_id": user_id, "channel": Channel::InApp}));

    let template = templates.of_type(event.kind);
    let template_step = match template {
        Some(_) => TraceStep::new(STEP, "template", "the event type names a template"),
        None => TraceStep::new(STEP, "plain", "no template is named by the event type"),
    }
    .with_detail(json!({"type": event.kind, "template": template}));

    let notification = PlannedNotification {
        user_id,
        template: template.map(str::to_owned),
        priority: event
            .severity
            .map(Severity::to_priority)
            .unwrap_or_default(),
        status: Status::Queued,
        deliveries: vec![PlannedDelivery::queued(Channel::InApp, None)],
        steps: vec![recipient_step.clone(), template_step],
    };
    Plan {
        notifications: vec![notification],
        steps: vec![recipient_step],
    }
}

/// Plans a direct send over the channels it asked for, or in-app.
///
/// A channel on which the user has no address ends there; the others go on.
pub fn route_direct(
    send: DirectFacts<'_>,
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

    let is_expired = send.expires_at.is_some_and(|expires_at| expires_at <= now);
    let deliveries: Vec<_> = if is_expired {
        steps.push(
            TraceStep::new(STEP, "expired", "it expired before it was routed")
                .with_detail(json!({"expires_at": send.expires_at})),
        );
        let error = "expired before it was routed";
        let expired = |&channel| PlannedDelivery::ended(channel, Status::Expired, error.to_owned());
        channels.iter().map(expired).collect()
    } else {
        let plan = |&channel| plan_channel(channel, send.data, recipient, &mut steps);
        channels.iter().flat_map(plan).collect()
    };

    PlannedNotification {
        user_id: send.user_id.clone(),
        template: send.template.map(str::to_owned),
        priority: send.priority,
        status: Status::aggregate(deliveries.iter().map(|delivery| delivery.status)),
        deliveries,
        steps,
    }
}

/// Finds where the user is reached on `channel`: as the send says, else as the user's row says.
fn plan_channel(
    channel: Channel,
    data: Option<&Value>,
    recipient: Option<&Recipient>,
    steps: &mut Vec<TraceStep>,
) -> Vec<PlannedDelivery> {
    if matches!(channel, Channel::InApp | Channel::Pagerduty) {
        return vec![PlannedDelivery::queued(channel, None)];
    }
    let given = channel
        .address_key()
        .and_then(|key| data?.get(key)?.as_str());
    let (addresses, decision) = match given {
        Some(address) => (vec![address.to_owned()], "address_of_send"),
        None => (
            recipient
                .map(|known| known.addresses.on(channel))
                .unwrap_or_default(),
            "address_of_user",
        ),
    };
    if addresses.is_empty() {
        let reason = format!("the user has no {channel} address");
        steps.push(
            TraceStep::new(STEP, "no_address", &reason).with_detail(json!({"channel": channel})),
        );
        return vec![PlannedDelivery::ended(channel, Status::Failed, reason)];
    }
    // The address itself is a person's data and stays out of the trace.
    steps.push(
        TraceStep::new(STEP, decision, format!("{channel} goes to a known address"))
            .with_detail(json!({"channel": channel, "addresses": addresses.len()})),
    );
    let queued = |address| PlannedDelivery::queued(channel, Some(address));
    addresses.into_iter().map(queued).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addresses;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn event<'a>(kind: &'a str, payload: &'a Value) -> EventFacts<'a> {
        EventFacts {
            kind,
            severity: None,
            payload,
        }
    }

    fn direct<'a>(user_id: &'a UserId, channels: Option<&'a [Channel]>) -> DirectFacts<'a> {
        DirectFacts {
            user_id,
            channels,
            template: None,
            priority: Priority::Normal,
            data: None,
            expires_at: None,
        }
    }

    fn ada() -> Recipient {
        Recipient {
            user_id: "ada".into(),
            addresses: Addresses {
                email: Some("ada@example.com".into()),
                ..Default::default()
            },
            locale: None,
            timezone: None,
        }
    }

    #[test]
    fn an_event_type_finds_its_template_in_any_spelling() {
        let templates = TemplateNames::new(["order.filled"]);

        assert_eq!(templates.of_type("ORDER_FILLED"), Some("order.filled"));
        assert_eq!(templates.of_type("order.filled"), Some("order.filled"));
        assert_eq!(templates.of_type("order.cancelled"), None);
    }

    #[test]
    fn the_user_in_the_payload_hears_of_the_event_in_app() {
        let payload = json!({"user_id": "ada"});
        let facts = EventFacts {
            severity: Some(Severity::High),
            ..event("ORDER_FILLED", &payload)
        };

        let plan = route_event(facts, &TemplateNames::new(["order.filled"]));

        let notification = &plan.notifications[0];
        assert_eq!(notification.user_id, "ada".into());
        assert_eq!(notification.template.as_deref(), Some("order.filled"));
        assert_eq!(notification.priority, Priority::High);
        assert_eq!(
            notification.deliveries,
            [PlannedDelivery::queued(Channel::InApp, None)]
        );
    }

    #[test]
    fn an_event_without_a_template_is_told_plainly() {
        let payload = json!({"user_id": 42});

        let plan = route_event(event("cache.warm", &payload), &TemplateNames::default());

        assert_eq!(plan.notifications[0].user_id, "42".into());
        assert_eq!(plan.notifications[0].template, None);
        assert_eq!(plan.notifications[0].steps[1].decision, "plain");
    }

    #[test]
    fn an_event_that_names_nobody_leads_to_nothing_and_says_so() {
        let long = "u".repeat(NAME_CHARS_MAX + 1);
        for payload in [
            json!({}),
            json!({"user_id": ""}),
            json!({"user_id": 1.5}),
            json!({"user_id": long}),
        ] {
            let plan = route_event(event("x", &payload), &TemplateNames::default());

            assert!(plan.notifications.is_empty(), "{payload}");
            assert_eq!(plan.steps[0].decision, "no_recipient");
        }
    }

    #[test]
    fn a_direct_send_without_channels_goes_in_app() {
        let plan = route_direct(direct(&"ada".into(), None), None, now());

        assert_eq!(
            plan.deliveries,
            [PlannedDelivery::queued(Channel::InApp, None)]
        );
        assert_eq!(plan.status, Status::Queued);
    }

    #[test]
    fn the_address_of_a_send_wins_over_the_users_own() {
        let data = json!({"email": "other@example.com"});
        let user_id = "ada".into();
        let facts = DirectFacts {
            data: Some(&data),
            ..direct(&user_id, Some(&[Channel::Email]))
        };

        let plan = route_direct(facts, Some(&ada()), now());

        assert_eq!(
            plan.deliveries[0].address.as_deref(),
            Some("other@example.com")
        );
    }

    #[test]
    fn a_channel_without_an_address_fails_and_the_others_go_on() {
        let channels = [Channel::Sms, Channel::Email, Channel::InApp];

        let plan = route_direct(direct(&"ada".into(), Some(&channels)), Some(&ada()), now());

        let statuses: Vec<_> = plan
            .deliveries
            .iter()
            .map(|delivery| delivery.status)
            .collect();
        assert_eq!(statuses, [Status::Failed, Status::Queued, Status::Queued]);
        assert_eq!(
            plan.deliveries[0].error.as_deref(),
            Some("the user has no sms address")
        );
        assert_eq!(plan.status, Status::Queued);
    }

    #[test]
    fn a_send_nobody_can_receive_has_failed() {
        let plan = route_direct(direct(&"ada".into(), Some(&[Channel::Sms])), None, now());

        assert_eq!(plan.status, Status::Failed);
    }

    #[test]
    fn every_device_of_a_user_gets_its_own_delivery() {
        let mut phones = ada();
        phones.addresses.push = vec![json!({"token": "a"}), json!({"token": "b"})];

        let plan = route_direct(
            direct(&"ada".into(), Some(&[Channel::Push])),
            Some(&phones),
            now(),
        );

        assert_eq!(plan.deliveries.len(), 2);
    }

    #[test]
    fn what_expired_before_routing_is_not_sent() {
        let user_id = "ada".into();
        let facts = DirectFacts {
            expires_at: Some(now()),
            ..direct(&user_id, None)
        };

        let plan = route_direct(facts, None, now());

        assert_eq!(plan.status, Status::Expired);
        assert_eq!(plan.deliveries[0].status, Status::Expired);
    }

    #[test]
    fn no_address_is_written_into_a_trace() {
        let plan = route_direct(
            direct(&"ada".into(), Some(&[Channel::Email])),
            Some(&ada()),
            now(),
        );

        let trace = serde_json::to_string(&plan.steps).unwrap();
        assert!(!trace.contains("ada@example.com"), "{trace}");
    }
}

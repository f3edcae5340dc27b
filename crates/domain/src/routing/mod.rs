//! Who hears of an event, and how: facts in, plan out.
//!
//! A plan is data, with the reason for each decision beside it. The route worker turns it into
//! rows; a dry run shows it. Neither decides anything itself.
//!
//! What a user does not want is planned too, as a `suppressed` delivery that names the row of the
//! preferences which decided ([`preference`](crate::Preferences)), so that nothing goes missing in
//! silence.

mod templates;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    Channel, Matter, NAME_CHARS_MAX, Priority, Recipient, Severity, Status, Suppression, TraceStep,
    UserId, Verdict,
};

pub use templates::TemplateNames;
pub(crate) use templates::type_key;

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// What routing looks at in an event.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    /// The submitter's name for it.
    pub event_id: &'a str,
    /// Empty where the submitter did not say.
    pub producer: &'a str,
    pub created_at: DateTime<Utc>,
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
    /// `None` is the template's.
    pub category: Option<&'a str>,
    /// Its `email`, `phone`, `slack` and `webhook` are addresses for this send only.
    pub data: Option<&'a Value>,
    /// A test reaches nobody, so it heeds no preferences.
    pub is_test: bool,
    /// `None` is the user's.
    pub locale: Option<&'a str>,
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
    pub category: Option<String>,
    pub priority: Priority,
    /// `None` where neither the send nor the user names one.
    pub locale: Option<String>,
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
///
/// `recipient` is what is known of that user.
pub fn route_event(
    event: EventFacts<'_>,
    templates: &TemplateNames,
    recipient: Option<&Recipient>,
) -> Plan {
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

    let category = template.and_then(|name| templates.category_of(name));
    let priority = event
        .severity
        .map(Severity::to_priority)
        .unwrap_or_default();
    let matter = Matter {
        category,
        priority,
        severity: event.severity,
    };
    let mut steps = vec![recipient_step.clone(), template_step];
    let delivery = match verdict(Channel::InApp, &matter, recipient) {
        Verdict::Allowed => PlannedDelivery::queued(Channel::InApp, None),
        Verdict::Suppressed(suppression) => suppress(Channel::InApp, &suppression, &mut steps),
    };
    let notification = PlannedNotification {
        user_id,
        template: template.map(str::to_owned),
        category: category.map(str::to_owned),
        priority,
        locale: recipient.and_then(Recipient::language).map(str::to_owned),
        status: delivery.status,
        deliveries: vec![delivery],
        steps,
    };
    Plan {
        notifications: vec![notification],
        steps: vec![recipient_step],
    }
}

/// Plans a direct send over the channels it asked for, or in-app.
///
/// A channel that the user does not want, or on which they have no address, ends there; the others
/// go on.
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

    let of_template = || templates.category_of(send.template?);
    let category = send.category.or_else(of_template);
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
        let matter = Matter {
            category,
            priority: send.priority,
            severity: None,
        };
        let plan = |&channel| match verdict(channel, &matter, recipient) {
            Verdict::Suppressed(suppression) if !send.is_test => {
                vec![suppress(channel, &suppression, &mut steps)]
            }
            Verdict::Suppressed(suppression) => {
                steps.push(disregarded(channel, &suppression));
                plan_channel(channel, send.data, recipient, &mut steps)
            }
            Verdict::Allowed => plan_channel(channel, send.data, recipient, &mut steps),
        };
        channels.iter().flat_map(plan).collect()
    };

    let language = recipient.and_then(Recipient::language);
    PlannedNotification {
        user_id: send.user_id.clone(),
        template: send.template.map(str::to_owned),
        category: category.map(str::to_owned),
        priority: send.priority,
        locale: send.locale.or(language).map(str::to_owned),
        status: Status::aggregate(deliveries.iter().map(|delivery| delivery.status)),
        deliveries,
        steps,
    }
}

/// What the user says to it. Nobody who has said nothing misses anything.
fn verdict(channel: Channel, matter: &Matter<'_>, recipient: Option<&Recipient>) -> Verdict {
    recipient.map_or(Verdict::Allowed, |known| {
        known.preferences.decide(channel, matter)
    })
}

/// Ends a channel that the user does not want, and says which row of the preferences decided.
fn suppress(
    channel: Channel,
    suppression: &Suppression,
    steps: &mut Vec<TraceStep>,
) -> PlannedDelivery {
    steps.push(suppression.step(STEP, channel));
    PlannedDelivery::ended(channel, Status::Suppressed, suppression.to_string())
}

/// Says of a test what would have become of it in earnest.
fn disregarded(channel: Channel, suppression: &Suppression) -> TraceStep {
    let reason = "a test heeds no preferences; in earnest it would be suppressed";
    TraceStep::new(STEP, "preferences_disregarded", reason)
        .with_detail(json!({"channel": channel, "row": suppression.row}))
}

/// Finds where the user is reached on `channel`: as the send says, else as the user does.
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
                .map(|known| known.addresses_on(channel))
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

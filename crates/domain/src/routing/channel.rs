//! One channel of a notification: may it be used, where does it lead, and not now?

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{PlannedDelivery, STEP};
use crate::{
    Channel, Matter, Quiet, QuietMode, Recipient, Status, Suppression, TraceStep, UserId, Verdict,
};

/// What is the same for all channels of a notification.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing<'a> {
    pub(super) user_id: &'a UserId,
    pub(super) recipient: Option<&'a Recipient>,
    pub(super) matter: Matter<'a>,
    /// Addresses for this send only.
    pub(super) data: Option<&'a Value>,
    pub(super) bypass_quiet_hours: bool,
    /// A test reaches nobody, so it heeds no preferences.
    pub(super) is_test: bool,
    /// When it would be sent; `None` where that is asked again at the time.
    pub(super) at: Option<DateTime<Utc>>,
}

/// What becomes of the channels of a notification.
#[derive(Debug, Default)]
pub(super) struct Crossed {
    pub(super) deliveries: Vec<PlannedDelivery>,
    /// What is left of the fallback.
    pub(super) fallback: Vec<Channel>,
    pub(super) steps: Vec<TraceStep>,
}

impl Crossing<'_> {
    /// Plans `channels`, with stand-ins out of `fallback` for those without an address.
    pub(super) fn plan(&self, channels: &[Channel], fallback: &[Channel]) -> Crossed {
        let mut crossed = Crossed {
            fallback: fallback.to_vec(),
            ..Crossed::default()
        };
        crossed
            .fallback
            .retain(|channel| !channels.contains(channel));
        for &channel in channels {
            let planned = self.one(channel, &mut crossed.steps);
            let is_lost = planned.iter().all(|it| it.status == Status::Failed);
            crossed.deliveries.extend(planned);
            if is_lost {
                self.stand_in(channel, &mut crossed);
            }
        }
        crossed
    }

    /// Takes the first of the fallback that can be used, for `lost`.
    pub(super) fn stand_in(&self, lost: Channel, crossed: &mut Crossed) -> bool {
        while !crossed.fallback.is_empty() {
            let channel = crossed.fallback.remove(0);
            let mut steps = Vec::new();
            let planned = self.one(channel, &mut steps);
            let is_open =
                |it: &PlannedDelivery| matches!(it.status, Status::Queued | Status::Pending);
            if planned.iter().any(is_open) {
                let reason = format!("{channel} stands in for {lost}");
                crossed.steps.push(
                    TraceStep::new(STEP, "fallback", reason)
                        .with_detail(json!({"channel": channel, "for": lost})),
                );
                crossed.steps.append(&mut steps);
                crossed.deliveries.extend(planned);
                return true;
            }
            let why = planned.into_iter().find_map(|it| it.error);
            crossed.steps.push(
                TraceStep::new(STEP, "fallback_unusable", why.unwrap_or_default())
                    .with_detail(json!({"channel": channel, "for": lost})),
            );
        }
        false
    }

    /// Plans one channel: a delivery for each of its addresses, or one that says why not.
    fn one(&self, channel: Channel, steps: &mut Vec<TraceStep>) -> Vec<PlannedDelivery> {
        // Nobody who has said nothing misses anything.
        let verdict = self.recipient.map_or_else(
            || Verdict::Allowed,
            |known| known.decide(channel, &self.matter),
        );
        match verdict {
            Verdict::Suppressed(suppression) if !self.is_test => {
                return vec![suppress(channel, &suppression, steps)];
            }
            Verdict::Suppressed(suppression) => steps.push(disregarded(channel, &suppression)),
            Verdict::Allowed => {}
        }
        let planned = self.addressed(channel, steps);
        if let Some(quiet) = self.quiet(channel) {
            return planned
                .into_iter()
                .map(|delivery| held_back(delivery, &quiet, steps))
                .collect();
        }
        if planned.iter().any(|it| it.status == Status::Queued) {
            steps.extend(self.passed(channel));
        }
        planned
    }

    /// Finds where the user is reached on `channel`: as the send says, else as the user does.
    fn addressed(&self, channel: Channel, steps: &mut Vec<TraceStep>) -> Vec<PlannedDelivery> {
        if matches!(channel, Channel::InApp | Channel::Pagerduty) {
            return vec![PlannedDelivery::queued(channel, None)];
        }
        let given = channel
            .address_key()
            .and_then(|key| self.data?.get(key)?.as_str());
        let (mut addresses, decision) = match given {
            Some(address) => (vec![address.to_owned()], "address_of_send"),
            None => (
                self.recipient
                    .map(|known| known.addresses_on(channel))
                    .unwrap_or_default(),
                "address_of_user",
            ),
        };
        if addresses.is_empty() && channel == Channel::Slack && self.user_id.is_slack_channel() {
            addresses.push(self.user_id.as_str().to_owned());
        }
        if addresses.is_empty() {
            let reason = format!("the user has no {channel} address");
            steps.push(
                TraceStep::new(STEP, "no_address", reason.clone())
                    .with_detail(json!({"channel": channel})),
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

    /// Says why it goes out though it is quiet, if it is. A test reaches nobody.
    fn passed(&self, channel: Channel) -> Option<TraceStep> {
        let (known, at) = self.recipient.zip(self.at.filter(|_| !self.is_test))?;
        let (bypass, zone) = (self.bypass_quiet_hours, known.timezone.as_deref());
        let said = &known.preferences;
        said.passed(channel, &self.matter, bypass, zone, at)
    }

    fn quiet(&self, channel: Channel) -> Option<Quiet> {
        let (known, at) = self.recipient.zip(self.at)?;
        let zone = known.timezone.as_deref();
        let bypass = self.bypass_quiet_hours || self.is_test;
        known
            .preferences
            .quiet(channel, &self.matter, bypass, zone, at)
    }
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

/// Holds back what could be sent but for the hour.
fn held_back(
    mut delivery: PlannedDelivery,
    quiet: &Quiet,
    steps: &mut Vec<TraceStep>,
) -> PlannedDelivery {
    if delivery.status != Status::Queued {
        return delivery;
    }
    steps.push(quiet.step(STEP, delivery.channel));
    match quiet.mode {
        QuietMode::Deliver => return delivery,
        // Either can be taken back until then.
        QuietMode::Defer | QuietMode::Digest => delivery.status = Status::Pending,
        QuietMode::Drop => {
            delivery.status = Status::Suppressed;
            delivery.error = Some(format!("dropped in quiet hours: {}", quiet.row));
        }
    }
    delivery.quiet = Some(quiet.clone());
    delivery
}

//! What every step knows of the delivery it works on, and the ends a delivery can meet in any step.
//!
//! `render`, `deliver`, `retry` and `quiet_hours` load different rows; what they have in common is
//! [`DeliveryFacts`], so that "expired" and "failed" are the same change wherever they happen.

use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, NotificationId, Priority, Status, TenantId, TraceStep, UserId};
use queue::{Job, JobId, NewJob, Outcome};
use store::Effect;
use store::effect::DeliveryMove;

/// The dead letter's word for a text message or a call of which nobody knows whether it went out.
pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// A delivery in the middle of its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryFacts<'a> {
    pub(crate) id: DeliveryId,
    pub(crate) notification_id: NotificationId,
    pub(crate) tenant_id: &'a TenantId,
    pub(crate) user_id: &'a UserId,
    pub(crate) channel: Channel,
    pub(crate) address: Option<&'a str>,
    pub(crate) status: Status,
    pub(crate) priority: Priority,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// Whether it is its notification's only delivery.
    pub(crate) is_sole: bool,
}

impl DeliveryFacts<'_> {
    /// Whether nothing is left to send: a later run finds the work of an earlier one, or a
    /// cancellation.
    pub(crate) fn is_over(&self) -> bool {
        self.status.is_final() || self.status == Status::Sent
    }

    pub(crate) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The change to `status`, with no job left; callers add what else they know.
    pub(crate) fn moved(&self, status: Status, at: DateTime<Utc>) -> DeliveryMove {
        DeliveryMove {
            id: self.id,
            notification_id: Some(self.notification_id),
            status,
            provider: None,
            error: None,
            job_id: None,
            at,
            is_sole: self.is_sole,
        }
    }

    /// The end of a delivery whose time has passed. Counted, but nobody's failure.
    pub(crate) fn expired(&self, step: &'static str, now: DateTime<Utc>) -> Outcome<Effect> {
        let reason = "its expires_at has passed";
        let moved = DeliveryMove {
            error: Some(reason.to_owned()),
            ..self.moved(Status::Expired, now)
        };
        Outcome::completed()
            .with(Effect::DeliveryMoved(moved))
            .with(self.traced(now, TraceStep::new(step, "expired", reason)))
    }

    /// The end of a delivery that will not be tried again unless an operator replays the job.
    ///
    /// `reason` is the dead letter's stable word, `error` what happened.
    pub(crate) fn failed(
        &self,
        step: &'static str,
        reason: &str,
        error: &str,
        provider: Option<&str>,
        now: DateTime<Utc>,
    ) -> Outcome<Effect> {
        let moved = DeliveryMove {
            provider: provider.map(str::to_owned),
            error: Some(error.to_owned()),
            ..self.moved(Status::Failed, now)
        };
        Outcome::buried(reason, error)
            .with(Effect::DeliveryMoved(moved))
            .with(self.traced(
                now,
                TraceStep::new(step, reason.to_owned(), error.to_owned()),
            ))
    }

    /// A decision that names its channel, for the notification's trace.
    pub(crate) fn decided(&self, at: DateTime<Utc>, step: TraceStep) -> Effect {
        Effect::Traced {
            subject_id: self.notification_id.as_uuid(),
            at,
            steps: vec![step],
        }
    }

    pub(crate) fn traced(&self, at: DateTime<Utc>, step: TraceStep) -> Effect {
        let detail = serde_json::json!({"delivery_id": self.id, "channel": self.channel});
        let steps = vec![step.with_detail(detail)];
        Effect::Traced {
            subject_id: self.notification_id.as_uuid(),
            at,
            steps,
        }
    }

    /// The delivery's next job, with its urgency and in its lane.
    pub(crate) fn job<J: Job>(&self, queue: &str, job: &J, now: DateTime<Utc>) -> NewJob {
        NewJob::new(JobId::at(now), queue, job)
            .priority(urgency(self.priority))
            .lane(self.lane())
    }

    /// Jobs of one destination take turns with those of others.
    ///
    /// A mail's destination is the domain of its address and a webhook's the host of its URL, so that
    /// one slow server delays only its own; elsewhere it is the user.
    fn lane(&self) -> u8 {
        let host = match self.channel {
            Channel::Email => self.address.and_then(mail_domain),
            Channel::Webhook => self.address.and_then(url_authority),
            Channel::Sms
            | Channel::Voice
            | Channel::Push
            | Channel::WebPush
            | Channel::Slack
            | Channel::InApp
            | Channel::Pagerduty => None,
        };
        let destination = host.unwrap_or_else(|| self.user_id.as_str());
        queue::lane_of(&[self.tenant_id.as_str(), self.channel.as_str(), destination])
    }
}

fn mail_domain(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// Host and port of a URL.
fn url_authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

/// A notification's priority as its jobs' class.
pub fn urgency(priority: Priority) -> queue::Priority {
    match priority {
        Priority::Critical => queue::Priority::Critical,
        Priority::High => queue::Priority::High,
        Priority::Normal => queue::Priority::Normal,
        Priority::Low => queue::Priority::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(channel: Channel, user_id: &str, address: Option<&str>) -> u8 {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let facts = DeliveryFacts {
            id: DeliveryId::at(now),
            notification_id: NotificationId::at(now),
            tenant_id: &"default".into(),
            user_id: &user_id.into(),
            channel,
            address,
            status: Status::Queued,
            priority: Priority::Normal,
            expires_at: None,
            is_sole: true,
        };
        facts.lane()
    }

    #[test]
    fn messages_to_one_server_share_a_lane_and_feeds_go_by_user() {
        let mail = |user, address| lane(Channel::Email, user, Some(address));
        assert_eq!(
            mail("ada", "ada@slow.example"),
            mail("bob", "bob@slow.example")
        );
        assert_ne!(
            mail("ada", "ada@slow.example"),
            mail("ada", "ada@fast.example")
        );

        let hook = |user, url| lane(Channel::Webhook, user, Some(url));
        assert_eq!(
            hook("ada", "https://slow.example/a"),
            hook("bob", "https://slow.example?b")
        );
        assert_ne!(
            hook("ada", "https://slow.example/a"),
            hook("ada", "https://quick.example/a")
        );

        assert_ne!(
            lane(Channel::InApp, "ada", None),
            lane(Channel::InApp, "bob", None)
        );
    }
}

//! The settings of the channels: how often a send is tried, and who carries it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Channel, RetryPolicies, RetryPolicy};

use super::secret::Secret;
use super::tree::section;
use super::{Config, WorkConfig};

section! {
    /// When a send that failed is tried again, per channel: each wait is a random share of a
    /// ceiling that doubles.
    pub struct RetryConfig {
        /// Mail.
        pub email: ChannelRetry = ChannelRetry::of(Channel::Email),
        /// Text messages.
        pub sms: ChannelRetry = ChannelRetry::of(Channel::Sms),
        /// Calls.
        pub voice: ChannelRetry = ChannelRetry::of(Channel::Voice),
        /// Push to phones.
        pub push: ChannelRetry = ChannelRetry::of(Channel::Push),
        /// Push to browsers.
        pub web_push: ChannelRetry = ChannelRetry::of(Channel::WebPush),
        /// Slack.
        pub slack: ChannelRetry = ChannelRetry::of(Channel::Slack),
        /// Webhooks.
        pub webhook: ChannelRetry = ChannelRetry::of(Channel::Webhook),
        /// The feed.
        pub in_app: ChannelRetry = ChannelRetry::of(Channel::InApp),
        /// Incidents at `PagerDuty`.
        pub pagerduty: ChannelRetry = ChannelRetry::of(Channel::Pagerduty),
    }
}

section! {
    /// When a send of one channel is tried again.
    pub struct ChannelRetry {
        /// The ceiling of the first wait.
        pub first_wait: Duration = RetryPolicy::of(Channel::Email).base,
        /// The ceiling that no wait exceeds.
        pub longest_wait: Duration = RetryPolicy::of(Channel::Email).cap,
        /// Attempts of one delivery in all, across providers.
        pub attempts: u16 = RetryPolicy::of(Channel::Email).attempts_max,
    }
}

impl ChannelRetry {
    fn of(channel: Channel) -> Self {
        let policy = RetryPolicy::of(channel);
        Self {
            first_wait: policy.base,
            longest_wait: policy.cap,
            attempts: policy.attempts_max,
        }
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            base: self.first_wait,
            cap: self.longest_wait,
            attempts_max: self.attempts,
        }
    }
}

impl RetryConfig {
    /// Every channel with its settings.
    pub(super) fn each(&self) -> [(Channel, &ChannelRetry); 9] {
        [
            (Channel::Email, &self.email),
            (Channel::Sms, &self.sms),
            (Channel::Voice, &self.voice),
            (Channel::Push, &self.push),
            (Channel::WebPush, &self.web_push),
            (Channel::Slack, &self.slack),
            (Channel::Webhook, &self.webhook),
            (Channel::InApp, &self.in_app),
            (Channel::Pagerduty, &self.pagerduty),
        ]
    }
}

impl Config {
    /// When each channel's sends are tried again.
    pub fn retry_policies(&self) -> RetryPolicies {
        let each = self.retry.each();
        RetryPolicies::new(|channel| {
            let retry = each.iter().find(|(of, _)| *of == channel);
            retry.map_or_else(|| RetryPolicy::of(channel), |(_, retry)| retry.policy())
        })
    }
}

section! {
    /// Sends at once of single channels.
    pub struct WorkChannels {
        /// Mails at once. More than there are connections: while those send, others are loaded or
        /// have their outcome settled.
        pub email: Option<usize> = None,
        /// Text messages at once.
        pub sms: Option<usize> = None,
        /// Calls at once.
        pub voice: Option<usize> = None,
        /// Pushes to phones at once.
        pub push: Option<usize> = None,
        /// Pushes to browsers at once.
        pub web_push: Option<usize> = None,
        /// Slack messages at once.
        pub slack: Option<usize> = None,
        /// Webhooks at once.
        pub webhook: Option<usize> = None,
        /// `PagerDuty` events at once.
        pub pagerduty: Option<usize> = None,
    }
}

impl WorkConfig {
    /// The channels whose sends at once differ from `concurrency`.
    pub fn overrides(&self) -> BTreeMap<Channel, usize> {
        let channels = &self.channels;
        let each = [
            (Channel::Email, channels.email),
            (Channel::Sms, channels.sms),
            (Channel::Voice, channels.voice),
            (Channel::Push, channels.push),
            (Channel::WebPush, channels.web_push),
            (Channel::Slack, channels.slack),
            (Channel::Webhook, channels.webhook),
            (Channel::Pagerduty, channels.pagerduty),
        ];
        each.into_iter()
            .filter_map(|(channel, sends)| Some((channel, sends?)))
            .collect()
    }
}

section! {
    /// The mail server that carries `email`.
    pub struct SmtpConfig {
        /// `smtp://user:password@host:587`: STARTTLS when the server offers it; with
        /// `?tls=required` nothing is sent without, with `?tls=none` it is not used.
        /// `smtps://host:465` begins with TLS. Without it nobody carries mail.
        pub url: Option<Secret> = None => "SMTP_URL",
        /// Who mail is from.
        pub from: String = "postrider@localhost".to_owned() => "MAIL_FROM",
        /// Connections to the server in this process. Servers commonly refuse more than ten to
        /// twenty from one address.
        pub connections_max: usize = 10,
        /// How long the server may take to answer once it has the message, at most 11 seconds: one
        /// that scans mail takes its time.
        pub timeout: Duration = Duration::from_secs(11),
        /// What we call ourselves to the server; unset, the name of the host.
        pub hello: Option<String> = None,
    }
}

section! {
    /// Push to browsers.
    pub struct WebPushConfig {
        /// The public half of the server's VAPID key, in base64 for URLs: what browsers subscribe
        /// with. Without it pages cannot offer to be notified.
        pub public_key: Option<String> = None => "VAPID_PUBLIC_KEY",
    }
}

section! {
    /// How events are posted to the URLs of users and endpoints.
    pub struct WebhookConfig {
        /// Signs what has no secret of its own (`whsec_…`). During a rotation several, separated
        /// by spaces or commas: each signs.
        pub secret: Option<Secret> = None => "WEBHOOK_SECRET",
        /// Private, loopback and link-local networks that may be posted to, such as `10.0.0.0/8`.
        /// All others of these are refused.
        pub allow_cidrs: Vec<String> = Vec::new(),
        /// How long the receiver may take to answer.
        pub timeout: Duration = Duration::from_secs(10),
        /// Headers that are added to every request. In one text: `Name=value, Other=value`.
        pub headers: BTreeMap<String, Secret> = BTreeMap::new(),
        /// Sent as `Authorization: Bearer …`.
        pub bearer: Option<Secret> = None,
        /// Sent in the header that `webhook.api_key_header` names.
        pub api_key: Option<Secret> = None,
        /// The header of `webhook.api_key`.
        pub api_key_header: String = "X-Api-Key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_domain() {
        let policies = Config::default().retry_policies();

        assert_eq!(policies, RetryPolicies::default());
    }

    #[test]
    fn only_channels_that_differ_are_overridden() {
        let mut work = WorkConfig::default();
        work.channels.sms = Some(4);

        assert_eq!(work.overrides(), BTreeMap::from([(Channel::Sms, 4)]));
    }
}

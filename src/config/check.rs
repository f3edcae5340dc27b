//! What no single setting can know about itself: bounds, and settings that must fit each other.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use workers::providers::SmtpConfig;

use super::{Config, Secret};

/// What the stages before it leave of the longest time a send may take.
const SMTP_TIMEOUT_MAX: Duration = Duration::from_secs(11);

/// Categories that consent is asked for: each is looked up with every user that is told something.
const CONSENT_CATEGORIES_MAX: usize = 100;

/// Longest time that keys are kept: each is a row.
const WINDOW_MAX: Duration = Duration::from_hours(366 * 24);

/// A problem, and the path of the setting that has it.
pub(super) type Wrong = (&'static str, String);

impl Config {
    /// Everything that is wrong with the values together.
    pub(super) fn cross_check(&self) -> Vec<Wrong> {
        let mut wrong = self.not_positive();
        if self.intake.pending_rows_max < crate::intake::UNIT_ROWS_MAX {
            let problem = format!(
                "must hold one batch request: at least {}",
                crate::intake::UNIT_ROWS_MAX
            );
            wrong.push(("intake.pending_rows_max", problem));
        }
        for (path, window) in [
            ("intake.event_id_window", self.intake.event_id_window),
            ("intake.dedupe_window", self.intake.dedupe_window),
        ] {
            if !(Duration::from_secs(1)..=WINDOW_MAX).contains(&window) {
                wrong.push((path, "must be from 1s to 366days".to_owned()));
            }
        }
        for (path, url) in [
            ("database.url", &self.database.url),
            ("database.direct_url", &self.database.direct_url),
        ] {
            let is_postgres = |url: &Secret| {
                let (scheme, _) = url.reveal().split_once("://").unwrap_or_default();
                matches!(scheme, "postgres" | "postgresql")
            };
            if url.as_ref().is_some_and(|url| !is_postgres(url)) {
                let problem = "must be a URL such as postgres://user@host/database".to_owned();
                wrong.push((path, problem));
            }
        }
        self.check_words(&mut wrong);
        self.check_retries(&mut wrong);
        self.check_smtp(&mut wrong);
        self.check_web_push(&mut wrong);
        self.check_webhook(&mut wrong);
        self.check_edge(&mut wrong);
        self.check_retention(&mut wrong);
        self.check_brand(&mut wrong);
        self.check_consent(&mut wrong);
        wrong
    }

    /// Settings that would stop everything if they were zero.
    fn not_positive(&self) -> Vec<Wrong> {
        let channels = &self.work.channels;
        let sends = |sends: Option<usize>| sends.unwrap_or(1) as u64;
        let values: [(&str, u64); 17] = [
            (
                "database.connections_max",
                self.database.connections_max.into(),
            ),
            ("intake.group_rows", self.intake.group_rows as u64),
            ("intake.committers", self.intake.committers as u64),
            ("live.send_buffer", self.live.send_buffer as u64),
            (
                "live.poll_interval",
                self.live.poll_interval.as_millis() as u64,
            ),
            (
                "live.ping_interval",
                self.live.ping_interval.as_millis() as u64,
            ),
            ("work.concurrency", self.work.concurrency as u64),
            ("work.channels.email", sends(channels.email)),
            ("work.channels.sms", sends(channels.sms)),
            ("work.channels.voice", sends(channels.voice)),
            ("work.channels.push", sends(channels.push)),
            ("work.channels.web_push", sends(channels.web_push)),
            ("work.channels.slack", sends(channels.slack)),
            ("work.channels.webhook", sends(channels.webhook)),
            ("work.channels.pagerduty", sends(channels.pagerduty)),
            ("smtp.connections_max", self.smtp.connections_max as u64),
            ("smtp.timeout", self.smtp.timeout.as_millis() as u64),
        ];
        let zeros = values.into_iter().filter(|(_, value)| *value == 0);
        zeros
            .map(|(path, _)| (path, "must be at least 1".to_owned()))
            .collect()
    }

    fn check_consent(&self, wrong: &mut Vec<Wrong>) {
        let categories = &self.consent.categories;
        if categories.len() > CONSENT_CATEGORIES_MAX {
            let problem = format!("must have at most {CONSENT_CATEGORIES_MAX} names");
            wrong.push(("consent.categories", problem));
        }
        let is_name = |name: &String| {
            !name.contains('\0') && (1..=domain::NAME_CHARS_MAX).contains(&name.chars().count())
        };
        if !categories.iter().all(is_name) {
            let problem = "must be names of 1 to 255 characters".to_owned();
            wrong.push(("consent.categories", problem));
        }
    }

    fn check_web_push(&self, wrong: &mut Vec<Wrong>) {
        let key = self.web_push.public_key.as_deref();
        if key.is_some_and(|key| !domain::is_push_key(key)) {
            let problem = "must be a VAPID public key: 65 bytes in base64 for URLs".to_owned();
            wrong.push(("web_push.public_key", problem));
        }
    }

    fn check_words(&self, wrong: &mut Vec<Wrong>) {
        for queue in &self.work.queues {
            if workers::queues::all().all(|known| known != queue) {
                let known: Vec<_> = workers::queues::all().collect();
                let problem = format!("has `{queue}`; there are {}", known.join(", "));
                wrong.push(("work.queues", problem));
            }
        }
        if EnvFilter::try_new(&self.log.filter).is_err() {
            let problem = "is no log filter, such as info,postrider::live=debug".to_owned();
            wrong.push(("log.filter", problem));
        }
    }

    fn check_retries(&self, wrong: &mut Vec<Wrong>) {
        const PATHS: [(&str, &str); 9] = [
            ("retry.email.attempts", "retry.email.longest_wait"),
            ("retry.sms.attempts", "retry.sms.longest_wait"),
            ("retry.voice.attempts", "retry.voice.longest_wait"),
            ("retry.push.attempts", "retry.push.longest_wait"),
            ("retry.web_push.attempts", "retry.web_push.longest_wait"),
            ("retry.slack.attempts", "retry.slack.longest_wait"),
            ("retry.webhook.attempts", "retry.webhook.longest_wait"),
            ("retry.in_app.attempts", "retry.in_app.longest_wait"),
            ("retry.pagerduty.attempts", "retry.pagerduty.longest_wait"),
        ];
        for ((_, retry), (attempts, longest_wait)) in self.retry.each().into_iter().zip(PATHS) {
            if retry.attempts == 0 {
                wrong.push((attempts, "must be at least 1".to_owned()));
            }
            if retry.longest_wait < retry.first_wait {
                wrong.push((longest_wait, "must not be below first_wait".to_owned()));
            }
        }
    }

    fn check_smtp(&self, wrong: &mut Vec<Wrong>) {
        if let Some(url) = &self.smtp.url
            && let Err(problem) = SmtpConfig::parse(url.reveal())
        {
            wrong.push(("smtp.url", format!("cannot be used: {problem}")));
        }
        if self.smtp.timeout > SMTP_TIMEOUT_MAX {
            let problem = "must be at most 11s, so that a send ends within 30".to_owned();
            wrong.push(("smtp.timeout", problem));
        }
        if !self.smtp.from.contains('@') || self.smtp.from.contains(['\r', '\n']) {
            let problem = "must be an address, such as postrider@example.com".to_owned();
            wrong.push(("smtp.from", problem));
        }
    }

    fn check_webhook(&self, wrong: &mut Vec<Wrong>) {
        let webhook = &self.webhook;
        for cidr in &webhook.allow_cidrs {
            if cidr.parse::<IpNet>().is_err() {
                let problem = format!("has `{cidr}`, which is no network such as 10.0.0.0/8");
                wrong.push(("webhook.allow_cidrs", problem));
            }
        }
        if webhook.timeout.is_zero() {
            wrong.push(("webhook.timeout", "must be longer than 0s".to_owned()));
        }
        if !is_header_name(&webhook.api_key_header) {
            let problem = "must be the name of a header, such as X-Api-Key".to_owned();
            wrong.push(("webhook.api_key_header", problem));
        }
        for (name, value) in &webhook.headers {
            if !is_header_name(name) {
                let problem = format!("has `{name}`, which is no name of a header");
                wrong.push(("webhook.headers", problem));
            }
            if !is_header_value(value) {
                let problem = format!("has a value for `{name}` that a header cannot hold");
                wrong.push(("webhook.headers", problem));
            }
        }
        let credentials = [
            ("webhook.bearer", &webhook.bearer),
            ("webhook.api_key", &webhook.api_key),
        ];
        for (path, credential) in credentials {
            if credential
                .as_ref()
                .is_some_and(|value| !is_header_value(value))
            {
                wrong.push((path, "has characters that a header cannot hold".to_owned()));
            }
        }
    }
}

fn is_header_name(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn is_header_value(value: &Secret) -> bool {
    HeaderValue::from_str(value.reveal()).is_ok()
}

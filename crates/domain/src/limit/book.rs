//! Limit book: the limits of a tenant, and which of them a send must keep to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Claim, Limit, LimitOf, Scope};
use crate::{Channel, TenantId, UserId};

const HOUR: Duration = Duration::from_hours(1);

/// What limits ask of a send.
#[derive(Debug, Clone, Copy)]
pub struct SendFacts<'a> {
    pub tenant_id: &'a TenantId,
    pub user_id: &'a UserId,
    pub channel: Channel,
    pub category: Option<&'a str>,
    pub event_type: &'a str,
    /// `None` where nobody carries the channel.
    pub provider: Option<&'a str>,
    pub address: Option<&'a str>,
}

/// The limits of one tenant that are switched on, by channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitBook {
    by_channel: HashMap<Channel, Vec<Arc<Limit>>>,
}

impl Default for LimitBook {
    /// What holds where nothing was said.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl LimitBook {
    /// The defaults, with `stored` in the place of those of the same name and beside the others.
    pub fn new(stored: Vec<Limit>) -> Self {
        let mut by_channel: HashMap<_, Vec<_>> = HashMap::new();
        let limits = Self::with_defaults(stored);
        for limit in limits.into_iter().filter(|limit| limit.enabled) {
            let limit = Arc::new(limit);
            for channel in Channel::ALL
                .into_iter()
                .filter(|&channel| is_on(&limit, channel))
            {
                by_channel
                    .entry(channel)
                    .or_default()
                    .push(Arc::clone(&limit));
            }
        }
        Self { by_channel }
    }

    /// What is stored and the defaults that it does not replace, by name.
    pub fn with_defaults(stored: Vec<Limit>) -> Vec<Limit> {
        let mut limits = defaults();
        limits.retain(|default| stored.iter().all(|limit| limit.name != default.name));
        limits.extend(stored);
        limits.sort_by(|a, b| a.name.cmp(&b.name));
        limits
    }

    /// The limit that ships under this name, if one does.
    pub fn default_of(name: &str) -> Option<Limit> {
        defaults().into_iter().find(|limit| limit.name == name)
    }

    /// The limits that a send must keep to. A limit that asks for what the send has not, such as a
    /// category, says nothing of it.
    pub fn of(&self, send: &SendFacts<'_>) -> Vec<Claim> {
        let Some(limits) = self.by_channel.get(&send.channel) else {
            return Vec::new();
        };
        let claims = limits.iter().filter_map(|limit| {
            let subject = subject(limit, send)?;
            Some(Claim {
                key: key(send.tenant_id, limit, &subject),
                limit: Arc::clone(limit),
            })
        });
        claims.collect()
    }
}

impl Limit {
    /// The channels whose sends it may count.
    pub fn channels(&self) -> Vec<Channel> {
        let all = Channel::ALL.into_iter();
        all.filter(|&channel| is_on(self, channel)).collect()
    }

    /// Whether what waits for this limit may go out earlier once `after` stands in its place.
    pub fn is_loosened_by(&self, after: Option<&Self>) -> bool {
        let holds_on = |after: &Self| {
            after.enabled
                && (&after.name, after.scope, &after.of) == (&self.name, self.scope, &self.of)
                && after.max <= self.max
                && after.window >= self.window
        };
        self.enabled && !after.is_some_and(holds_on)
    }
}

/// Whether a limit may speak of a channel. What goes into a feed costs nothing and wakes nobody, so
/// it is meant only where it is named.
fn is_on(limit: &Limit, channel: Channel) -> bool {
    let is_of_slack = limit.scope != Scope::SlackChannel || channel == Channel::Slack;
    let is_meant = match limit.of.channel {
        Some(named) => named == channel,
        None => channel != Channel::InApp,
    };
    is_of_slack && is_meant
}

/// What a send is counted under; `None` if the limit does not speak of it.
fn subject<'a>(limit: &Limit, send: &SendFacts<'a>) -> Option<Vec<&'a str>> {
    let of = &limit.of;
    let is_named = |named: &Option<String>, is: Option<&str>| {
        named.as_deref().is_none_or(|named| is == Some(named))
    };
    let is_type = |named: &String| folded(named).eq(folded(send.event_type));
    let is_spoken_of = is_named(&of.category, send.category)
        && is_named(&of.provider, send.provider)
        && of.event_type.as_ref().is_none_or(is_type);
    if !is_spoken_of {
        return None;
    }
    let channel = send.channel.as_str();
    Some(match limit.scope {
        Scope::UserChannel => vec![send.user_id.as_str(), channel],
        Scope::Channel => vec![channel],
        Scope::UserCategory => vec![send.user_id.as_str(), send.category?],
        // One that names its type counts all that the name means.
        Scope::EventType if of.event_type.is_some() => Vec::new(),
        Scope::EventType => vec![send.event_type],
        Scope::Provider => vec![send.provider?],
        Scope::SlackChannel => vec![send.address?],
    })
}

/// A type as names of templates are compared.
fn folded(kind: &str) -> impl Iterator<Item = char> {
    let same = |char| if char == '_' { '.' } else { char };
    kind.chars().flat_map(char::to_lowercase).map(same)
}

/// Where slots are counted: a hash, so that no row names a user or an address.
fn key(tenant_id: &TenantId, limit: &Limit, subject: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    let named = [tenant_id.as_str(), &limit.name, limit.scope.as_str()];
    for part in named.iter().chain(subject) {
        // Lengths keep parts apart, whatever is in them.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// What holds unless a tenant says otherwise.
fn defaults() -> Vec<Limit> {
    let on = |channel| LimitOf {
        channel: Some(channel),
        ..LimitOf::default()
    };
    let about = |category: &str| LimitOf {
        category: Some(category.to_owned()),
        ..LimitOf::default()
    };
    let user = Scope::UserChannel;
    vec![
        default("email_per_user", user, on(Channel::Email), 100, HOUR),
        default("sms_per_user", user, on(Channel::Sms), 10, HOUR),
        default("push_per_user", user, on(Channel::Push), 50, HOUR),
        default(
            "email_total",
            Scope::Channel,
            on(Channel::Email),
            10_000,
            HOUR,
        ),
        default("sms_total", Scope::Channel, on(Channel::Sms), 1000, HOUR),
        default(
            "slack_total",
            Scope::Channel,
            on(Channel::Slack),
            100,
            HOUR / 60,
        ),
        default(
            "slack_per_channel",
            Scope::SlackChannel,
            on(Channel::Slack),
            1,
            HOUR / 3600,
        ),
        default(
            "marketing_per_user",
            Scope::UserCategory,
            about("marketing"),
            5,
            HOUR * 24,
        ),
        default(
            "transactional_per_user",
            Scope::UserCategory,
            about("transactional"),
            1000,
            HOUR,
        ),
    ]
}

fn default(name: &str, scope: Scope, of: LimitOf, max: u32, window: Duration) -> Limit {
    Limit {
        id: Uuid::nil(),
        name: name.to_owned(),
        scope,
        of,
        max,
        window,
        when_unavailable: None,
        enabled: true,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
    }
}

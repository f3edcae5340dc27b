//! The media people can be reached through.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A medium. Which provider carries it is configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    Email,
    Sms,
    Voice,
    Push,
    WebPush,
    Slack,
    Webhook,
    InApp,
    Pagerduty,
}

impl Channel {
    pub const ALL: [Self; 9] = [
        Self::Email,
        Self::Sms,
        Self::Voice,
        Self::Push,
        Self::WebPush,
        Self::Slack,
        Self::Webhook,
        Self::InApp,
        Self::Pagerduty,
    ];

    /// The word stored in rows and shown outside; also the name of the channel's queue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::Push => "push",
            Self::WebPush => "web_push",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::InApp => "in_app",
            Self::Pagerduty => "pagerduty",
        }
    }

    /// Reads a channel in any case, under its own name or one the source systems used.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        match word.as_str() {
            "inapp" | "websocket" => Some(Self::InApp),
            "browser" | "browser_push" => Some(Self::WebPush),
            word => Self::ALL
                .into_iter()
                .find(|channel| channel.as_str() == word),
        }
    }

    /// The key of `addresses` and of a direct send's `data` that holds where this channel
    /// reaches someone. `None` where no address is needed or one line of text cannot hold it.
    pub const fn address_key(self) -> Option<&'static str> {
        match self {
            Self::Email => Some("email"),
            Self::Sms | Self::Voice => Some("phone"),
            Self::Slack => Some("slack"),
            Self::Webhook => Some("webhook"),
            Self::Push | Self::WebPush | Self::InApp | Self::Pagerduty => None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format_args!("unknown channel {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_reads_back_from_its_word_in_any_case() {
        for channel in Channel::ALL {
            assert_eq!(Channel::parse(channel.as_str()), Some(channel));
            assert_eq!(
                Channel::parse(&channel.as_str().to_uppercase()),
                Some(channel)
            );
        }
    }

    #[test]
    fn words_of_the_source_systems_are_understood() {
        assert_eq!(Channel::parse("inapp"), Some(Channel::InApp));
        assert_eq!(Channel::parse("WebSocket"), Some(Channel::InApp));
        assert_eq!(Channel::parse("browser"), Some(Channel::WebPush));
        assert_eq!(Channel::parse("BROWSER_PUSH"), Some(Channel::WebPush));
        assert_eq!(Channel::parse("pigeon"), None);
    }
}

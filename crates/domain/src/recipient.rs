//! A person who can be notified, and where.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{BrowserSubmission, Channel, Consents, Matter, Preferences, UserId, Verdict};

/// Where a person is reached; what `users.addresses` holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Devices: `{token, platform}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<Value>,
    /// Browsers: `{endpoint, keys}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub web_push: Vec<Value>,
}

impl Addresses {
    /// The addresses on `channel`; a person may carry several devices.
    ///
    /// A device or browser is written as JSON, because its provider needs all of it. In-app and
    /// pagerduty have none: the user, and the account, are the address.
    pub fn on(&self, channel: Channel) -> Vec<String> {
        let single = |address: &Option<String>| address.iter().cloned().collect();
        let several = |list: &[Value]| list.iter().map(Value::to_string).collect();
        match channel {
            Channel::Email => single(&self.email),
            Channel::Sms | Channel::Voice => single(&self.phone),
            Channel::Slack => single(&self.slack),
            Channel::Webhook => single(&self.webhook),
            Channel::Push => several(&self.push),
            Channel::WebPush => several(&self.web_push),
            Channel::InApp | Channel::Pagerduty => Vec::new(),
        }
    }
}

/// Browsers of one person that they have added themself. Old ones are never taken back by anybody,
/// so the oldest makes room.
const BROWSERS_MAX: usize = 20;

impl Addresses {
    /// Adds a browser; one with the same endpoint is the same browser with newer keys.
    pub fn add_browser(&mut self, browser: &BrowserSubmission) {
        self.remove_browser(&browser.endpoint);
        let excess = (self.web_push.len() + 1).saturating_sub(BROWSERS_MAX);
        self.web_push.drain(..excess);
        self.web_push.push(browser.to_value());
    }

    /// Takes a browser away; answers whether it was there.
    pub fn remove_browser(&mut self, endpoint: &str) -> bool {
        let before = self.web_push.len();
        self.web_push
            .retain(|browser| browser["endpoint"] != endpoint);
        self.web_push.len() < before
    }
}

/// What is known of a person before sending.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    pub user_id: UserId,
    pub addresses: Addresses,
    pub locale: Option<String>,
    /// An IANA name, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    pub preferences: Preferences,
    pub consents: Consents,
}

impl Recipient {
    /// Decides whether `matter` may go over `channel`.
    pub fn decide(&self, channel: Channel, matter: &Matter<'_>) -> Verdict {
        self.preferences.decide(channel, matter, &self.consents)
    }

    /// The addresses on `channel`: what the preferences say of it, else the user's own.
    pub fn addresses_on(&self, channel: Channel) -> Vec<String> {
        let preferred = self.preferences.channels.get(&channel);
        match preferred.and_then(|said| said.address.clone()) {
            Some(address) => vec![address],
            None => self.addresses.on(channel),
        }
    }

    /// The zone to show times in: as the preferences say, else as the user's row does.
    pub fn zone_name(&self) -> Option<&str> {
        match self.preferences.timezone {
            Some(zone) => Some(zone.name()),
            None => self.timezone.as_deref(),
        }
    }

    /// The language to speak: as the preferences say, else as the user's row does.
    pub fn language(&self) -> Option<&str> {
        self.preferences
            .locale
            .as_deref()
            .or(self.locale.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_found_by_channel() {
        let addresses: Addresses = serde_json::from_value(json!({
            "email": "ada@example.com", "phone": "+15551234567",
            "push": [{"token": "a", "platform": "ios"}, {"token": "b", "platform": "android"}],
        }))
        .unwrap();

        assert_eq!(addresses.on(Channel::Voice), ["+15551234567"]);
        assert_eq!(addresses.on(Channel::Push).len(), 2);
        assert!(addresses.on(Channel::Slack).is_empty());
    }
}

//! What is handed to a provider, once rendered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::MailParts;

/// The rendered content of one delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// An email's subject, an in-app notification's title; not every channel has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// Plain text.
    pub body: String,
    /// An email's HTML part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_html: Option<String>,
    /// What a program reads: the feed's `data`, a webhook's body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Value>,
    /// What only an email has: copies, a reply address, attachments.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mail: Option<MailParts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parts_are_not_stored() {
        let message = Message {
            subject: None,
            body: "Hi".into(),
            body_html: None,
            data: None,
            mail: None,
        };

        let stored = serde_json::to_value(&message).unwrap();

        assert_eq!(stored, serde_json::json!({"body": "Hi"}));
        assert_eq!(serde_json::from_value::<Message>(stored).unwrap(), message);
    }
}

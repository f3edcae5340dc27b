//! The body of `/templates/{id}/preview`: which text of a template is shown, and of what.

use serde_json::Value;

use super::FieldError;
use super::fields::Fields;
use crate::Channel;

/// What is to be previewed.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewSubmission {
    pub channel: Channel,
    /// `None` for the default language.
    pub locale: Option<String>,
    /// `None` for the template's first sample.
    pub data: Option<Value>,
}

impl PreviewSubmission {
    /// Reads a body, or tells everything that is wrong with it.
    pub fn parse(body: Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body)?;
        if !fields.has("channel") {
            fields.refuse("channel", "is required");
        }
        let channel = fields.word(
            "channel",
            Channel::parse,
            &Channel::ALL.map(Channel::as_str).join(", "),
        );
        let preview = Self {
            // Refused anyway where it is missing.
            channel: channel.unwrap_or(Channel::InApp),
            locale: fields.locale("locale"),
            data: fields.object("data"),
        };
        fields.finish(preview)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_channel_is_needed_and_the_rest_is_not() {
        let parsed = PreviewSubmission::parse(json!({"channel": "browser"})).unwrap();
        assert_eq!(parsed.channel, Channel::WebPush);
        assert_eq!((parsed.locale, parsed.data), (None, None));

        let pointers = |body: Value| -> Vec<String> {
            let errors = PreviewSubmission::parse(body).unwrap_err();
            errors.into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(pointers(json!({})), ["/channel"]);
        assert_eq!(
            pointers(json!({"channel": "pigeon", "locale": "?", "data": 7, "extra": 1})),
            ["/channel", "/locale", "/data", "/extra"]
        );
    }
}

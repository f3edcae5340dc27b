//! How a template is written: one YAML file per template, in the shape of the API's template body.
//!
//! ```yaml
//! name: order.filled
//! description: Order filled          # the subject where a channel needs one and has none
//! category: trading
//! channels:
//!   in_app:
//!     title: Order filled
//!     message: "{{ quantity }} {{ symbol }} filled."
//!   sms:
//!     body: "{{ symbol }} filled."
//! samples:
//!   - {symbol: AAPL, quantity: 10}
//! ```
//!
//! Each channel has the fields of [`Shape`]; an unknown one is an error. Unknown variables cannot
//! be found here: they show when a sample is rendered.

use std::collections::BTreeMap;

use domain::Channel;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::TemplateError;
use crate::section::Shape;

/// Longest template file, in bytes. Mail clients clip HTML at about 100 kilobytes.
const SOURCE_BYTES_MAX: usize = 128 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateFile {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) category: Option<String>,
    pub(crate) channels: BTreeMap<Channel, Map<String, Value>>,
    /// Variables to try it with.
    #[serde(default)]
    pub(crate) samples: Vec<Map<String, Value>>,
}

/// A template's text and where it came from, for errors that name a line.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn parse(self) -> Result<TemplateFile, TemplateError> {
        if self.text.len() > SOURCE_BYTES_MAX {
            return Err(self.error(1, format!("longer than {SOURCE_BYTES_MAX} bytes")));
        }
        let parsed: TemplateFile = yaml_serde::from_str(self.text).map_err(|error| {
            self.error(
                error.location().map_or(1, |at| at.line()),
                error.to_string(),
            )
        })?;
        for (&channel, section) in &parsed.channels {
            self.check_fields(channel, section)?;
        }
        Ok(parsed)
    }

    /// Refuses a field the channel does not have, and a text that is not one.
    fn check_fields(
        self,
        channel: Channel,
        section: &Map<String, Value>,
    ) -> Result<(), TemplateError> {
        let shape = Shape::of(channel);
        let fields = shape.fields();
        for (field, value) in section {
            let line = self.line_of(channel, field);
            if !fields.contains(&field.as_str()) {
                let known = fields.join(", ");
                return Err(self.error(
                    line,
                    format!("channels.{channel} has no field `{field}`, only {known}"),
                ));
            }
            if !shape.data_fields().contains(&field.as_str()) && !value.is_string() {
                return Err(self.error(line, format!("channels.{channel}.{field} must be a text")));
            }
        }
        Ok(())
    }

    pub(crate) fn error(self, line: usize, detail: impl Into<String>) -> TemplateError {
        TemplateError {
            file: self.file.to_owned(),
            line,
            detail: detail.into(),
        }
    }

    /// The line of `channels.<channel>.<field>`, counted from 1.
    pub(crate) fn line_of(self, channel: Channel, field: &str) -> usize {
        let is_key = |line: &str, key: &str| {
            line.trim_start()
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        let lines = self.text.lines().enumerate();
        lines
            .skip_while(|(_, line)| !is_key(line, "channels"))
            .skip_while(|(_, line)| !is_key(line, channel.as_str()))
            .find(|(_, line)| is_key(line, field))
            .map_or(1, |(index, _)| index + 1)
    }

    /// The line of a place within a field's text: below the key, where the text is a block.
    pub(crate) fn line_within(self, channel: Channel, field: &str, line: usize) -> usize {
        let key_line = self.line_of(channel, field);
        let key = self.text.lines().nth(key_line - 1).unwrap_or_default();
        let is_block = key
            .rsplit(':')
            .next()
            .is_some_and(|rest| rest.trim().starts_with(['|', '>']));
        if is_block { key_line + line } else { key_line }
    }
}

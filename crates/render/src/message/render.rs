//! Evaluates the fields of a section, borrows what is missing, and keeps within the limits.

use std::io;

use domain::{Channel, Message};
use minijinja::ErrorKind;
use serde_json::Value;

use crate::section::{DONORS, Shape};
use crate::templates::{Node, PLAIN, Template, Templates};
use crate::{RenderError, Vars};

/// Most bytes of one message, all its parts together. Above what any provider takes.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// The subject of a direct send that has none, on a channel that needs one.
const SUBJECT_FALLBACK: &str = "Notification";

/// Renders `template` for `channel`.
pub fn render(
    templates: &Templates,
    template: &str,
    channel: Channel,
    vars: &Vars<'_>,
) -> Result<Message, RenderError> {
    let unknown = || RenderError::UnknownTemplate {
        name: template.to_owned(),
    };
    let found = templates.get(template).ok_or_else(unknown)?;
    let mut rendering = Rendering {
        templates,
        scope: vars.to_scope(),
        bytes_left: MESSAGE_BYTES_MAX,
    };
    let mut message = if let Some(message) = rendering.message(found, channel)? {
        message
    } else {
        let plain = templates.get(PLAIN).ok_or_else(unknown)?;
        rendering.message(plain, channel)?.ok_or_else(unknown)?
    };
    if channel == Channel::Webhook && message.data.is_none() {
        message.data = Some(vars.data.clone());
    }
    Ok(message)
}

/// The message of a direct send that brings its own words. Nothing in them is evaluated.
pub fn literal(channel: Channel, subject: Option<&str>, content: &str) -> Message {
    let shape = Shape::of(channel);
    let needed = shape.needs_subject.then_some(SUBJECT_FALLBACK);
    Message {
        subject: shape
            .subject
            .and(subject.or(needed))
            .map(|text| one_line(text.to_owned())),
        body: content.to_owned(),
        body_html: None,
        data: None,
        mail: None,
    }
}

/// One message in the making.
struct Rendering<'a> {
    templates: &'a Templates,
    scope: minijinja::Value,
    bytes_left: usize,
}

impl Rendering<'_> {
    /// `None` if no section of the template has words for the channel.
    fn message(
        &mut self,
        template: &Template,
        channel: Channel,
    ) -> Result<Option<Message>, RenderError> {
        let shape = Shape::of(channel);
        let own = template.sections.get(&channel);
        if let Some(section) = own
            && shape.body.is_none()
        {
            let data = self.data(section.data.as_ref())?;
            return Ok(Some(Message {
                subject: None,
                body: String::new(),
                body_html: None,
                data,
                mail: None,
            }));
        }

        let mut subject = match shape.subject {
            Some(_) => self.text(own.and_then(|it| it.subject.as_deref()))?,
            None => None,
        };
        let mut body = self.text(own.and_then(|it| it.body.as_deref()))?;
        let body_html = self.text(own.and_then(|it| it.body_html.as_deref()))?;
        let data = self.data(own.and_then(|it| it.data.as_ref()))?;

        if body.is_none()
            && let Some((lent_subject, words)) = lent(template, channel)
        {
            body = Some(self.evaluate(words)?);
            if subject.is_none() && shape.subject.is_some() {
                subject = self.text(lent_subject)?;
            }
        }
        if subject.is_none() && shape.needs_subject {
            subject = Some(
                template
                    .description
                    .as_ref()
                    .unwrap_or(&template.name)
                    .clone(),
            );
        }
        let subject = subject.map(one_line);
        if body.is_none() && body_html.is_some() {
            body.clone_from(&subject);
        }
        Ok(body.map(|body| Message {
            subject,
            body,
            body_html,
            data,
            mail: None,
        }))
    }

    fn text(&mut self, entry: Option<&str>) -> Result<Option<String>, RenderError> {
        entry.map(|entry| self.evaluate(entry)).transpose()
    }

    fn data(&mut self, node: Option<&Node>) -> Result<Option<Value>, RenderError> {
        node.map(|node| self.node(node)).transpose()
    }

    fn node(&mut self, node: &Node) -> Result<Value, RenderError> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Text(entry) => self.evaluate(entry).map(Value::String),
            Node::Typed(entry) => {
                let json = self.evaluate(entry)?;
                // What the engine writes for a `json` target is JSON; text marked `safe` is not.
                Ok(serde_json::from_str(&json).unwrap_or(Value::String(json)))
            }
            Node::List(nodes) => nodes.iter().map(|node| self.node(node)).collect(),
            Node::Object(entries) => entries
                .iter()
                .map(|(key, node)| Ok((key.clone(), self.node(node)?)))
                .collect(),
        }
    }

    fn evaluate(&mut self, entry: &str) -> Result<String, RenderError> {
        let failed = |source: minijinja::Error| RenderError::Evaluation {
            place: entry.to_owned(),
            line: source.line().unwrap_or(1),
            source,
        };
        let compiled = self.templates.engine.get_template(entry).map_err(failed)?;
        let mut output = Capped {
            bytes: Vec::new(),
            left: self.bytes_left,
        };
        match compiled.render_captured_to(self.scope.clone(), &mut output) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WriteFailure => {
                let place = entry.to_owned();
                return Err(RenderError::TooLarge {
                    place,
                    bytes_max: MESSAGE_BYTES_MAX,
                });
            }
            Err(error) => return Err(failed(error)),
        }
        self.bytes_left = output.left;
        let mut text = String::from_utf8(output.bytes).expect("the engine writes whole strings");
        // A block ends with a line break of the file, not of the message.
        text.truncate(text.trim_end().len());
        if text.contains('\0') {
            // Postgres stores it in no text; mail servers and browsers refuse it too.
            text.retain(|c| c != '\0');
        }
        Ok(text)
    }
}

/// What another section lends to `channel`: its subject, if any, and its text.
fn lent(template: &Template, channel: Channel) -> Option<(Option<&str>, &str)> {
    let is_short = Shape::of(channel).subject.is_none();
    DONORS
        .into_iter()
        .filter(|&donor| donor != channel)
        .find_map(|donor| {
            let section = template.sections.get(&donor)?;
            let subject = section.subject.as_deref();
            let words = if is_short && donor == Channel::Email {
                subject
            } else {
                section.body.as_deref()
            };
            Some((subject, words?))
        })
}

/// A subject is one line: a line break from a variable would start a header of its own.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) && text.trim().len() == text.len() {
        return text;
    }
    let words: Vec<_> = text
        .split(|c: char| c.is_control())
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    words.join(" ")
}

/// Collects output up to a limit.
struct Capped {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("the message is too large"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

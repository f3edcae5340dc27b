//! Evaluates the fields of a section, borrows what is missing, and keeps within the limits.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use domain::{Channel, Message};
use minijinja::{Environment, ErrorKind};
use serde_json::Value;

use crate::builtin::plain;
use crate::compile::{Entry, Node, Section};
use crate::error::bare;
use crate::html::{self, Frame};
use crate::language::{Speech, dir};
use crate::section::{DONORS, Shape};
use crate::template::{Language, Template};
use crate::vars::Facts;
use crate::work::Work;
use crate::{Brand, RenderError, Vars, engine};

/// Most bytes of one message, all its parts together. Above what any provider takes.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// Work all fields of one message may cost, in engine instructions; each has its own bound too.
const MESSAGE_FUEL: u64 = 200_000;

/// The subject of a direct send that has none, on a channel that needs one.
const SUBJECT_FALLBACK: &str = "Notification";

/// A message, and how it came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub message: Message,
    /// The language it is in: the nearest to the one asked for that has a text of its own.
    pub locale: String,
}

impl Template {
    /// Renders the template for `channel`, in the language nearest to the one asked for.
    pub fn render(&self, channel: Channel, vars: &Vars<'_>) -> Result<Rendered, RenderError> {
        let mut rendered = match Rendering::new(self, vars).message(channel)? {
            Some(rendered) => rendered,
            None => Rendering::new(plain(), vars)
                .message(channel)?
                .ok_or_else(|| RenderError::UnknownTemplate {
                    name: plain().name().to_owned(),
                })?,
        };
        if channel == Channel::Webhook && rendered.message.data.is_none() {
            rendered.message.data = Some(vars.data.clone());
        }
        Ok(rendered)
    }
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
    template: &'a Template,
    engine: Cow<'a, Environment<'static>>,
    chain: Vec<&'a Language>,
    facts: Facts,
    brand: &'a Brand,
    locale: &'a str,
    timezone: Option<&'a str>,
    /// The language of the scope, and the scope: most messages are in one.
    scope: Option<(&'a str, minijinja::Value)>,
    /// How far down the chain the first text was found.
    found_at: Option<usize>,
    bytes_left: usize,
    fuel_left: u64,
    work: Arc<Work>,
}

/// A part of a section, and the language it was found in.
#[derive(Debug)]
struct Found<'a, T> {
    part: &'a T,
    level: usize,
}

impl<T> Clone for Found<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Found<'_, T> {}

impl<'a> Rendering<'a> {
    fn new(template: &'a Template, vars: &Vars<'a>) -> Self {
        Self {
            template,
            engine: match engine::fuel_for(vars.count()) {
                None => Cow::Borrowed(&template.engine),
                Some(fuel) => {
                    let mut engine = template.engine.clone();
                    engine.set_fuel(Some(fuel));
                    Cow::Owned(engine)
                }
            },
            chain: template.chain(vars.locale),
            facts: vars.to_facts(template.needs),
            brand: vars.brand,
            locale: vars.locale,
            timezone: vars.user.timezone,
            scope: None,
            found_at: None,
            bytes_left: MESSAGE_BYTES_MAX,
            fuel_left: MESSAGE_FUEL,
            work: Arc::default(),
        }
    }

    /// `None` if no section of the template has words for the channel.
    fn message(&mut self, channel: Channel) -> Result<Option<Rendered>, RenderError> {
        let shape = Shape::of(channel);
        let is_there = self.find(channel, Some).is_some();
        let data = match self.find(channel, |it| it.data.as_ref()) {
            Some(found) => Some(self.node(found)?),
            None => None,
        };
        if shape.body.is_none() && is_there {
            return Ok(Some(self.finish(None, String::new(), None, data)));
        }

        let own_subject = self.find(channel, |it| it.subject.as_ref());
        let mut subject = match shape.subject {
            Some(_) => self.text(own_subject)?,
            None => None,
        };
        let own_body = self.find(channel, |it| it.body.as_ref());
        let mut body = self.text(own_body)?;
        let own_html = self.find(channel, |it| it.body_html.as_ref());
        let fragment = self.text(own_html)?;
        if body.is_none()
            && let Some((html, entry)) = fragment.as_deref().zip(own_html)
        {
            let text = html::to_text(html);
            body = Some(text.map_err(|detail| entry.part.html_error(detail))?);
        }

        if body.is_none()
            && let Some((lent_subject, words)) = self.lent(channel)
        {
            body = Some(self.evaluate(words)?);
            if subject.is_none() && shape.subject.is_some() {
                subject = self.text(lent_subject)?;
            }
        }
        if subject.is_none() && shape.needs_subject {
            let said = self.template.body().description.as_deref();
            subject = Some(said.unwrap_or(self.template.name()).to_owned());
        }
        let subject = subject.map(one_line);
        let body_html = match fragment.as_deref().zip(own_html) {
            Some((fragment, entry)) => Some(self.mail(fragment, entry, subject.as_deref())?),
            None => None,
        };
        let body = body.map(|body| match channel {
            Channel::Sms | Channel::Voice => plain_spaces(body),
            _ => body,
        });
        Ok(body.map(|body| self.finish(subject, body, body_html, data)))
    }

    fn finish(
        &self,
        subject: Option<String>,
        body: String,
        body_html: Option<String>,
        data: Option<Value>,
    ) -> Rendered {
        let language = self.chain[self.found_at.unwrap_or(self.chain.len() - 1)];
        Rendered {
            message: Message {
                subject,
                body,
                body_html,
                data,
                mail: None,
            },
            locale: language.tag.clone(),
        }
    }

    /// The whole HTML of a mail around what its template has written.
    fn mail(
        &self,
        fragment: &str,
        entry: Found<'a, Entry>,
        subject: Option<&str>,
    ) -> Result<String, RenderError> {
        let tag = self.tag(entry.level);
        let frame = Frame {
            tag,
            dir: dir(tag),
            title: subject.unwrap_or_default(),
            brand: self.brand,
        };
        let html = html::finish(fragment, frame);
        let html = html.map_err(|detail| entry.part.html_error(detail))?;
        if html.len() > MESSAGE_BYTES_MAX {
            return Err(entry.part.too_large());
        }
        Ok(html)
    }

    /// The nearest language's part of a channel's section.
    fn find<T>(
        &self,
        channel: Channel,
        part: impl Fn(&'a Section) -> Option<&'a T>,
    ) -> Option<Found<'a, T>> {
        self.chain.iter().enumerate().find_map(|(level, language)| {
            let part = part(language.sections.get(&channel)?)?;
            Some(Found { part, level })
        })
    }

    fn text(&mut self, entry: Option<Found<'a, Entry>>) -> Result<Option<String>, RenderError> {
        entry.map(|entry| self.evaluate(entry)).transpose()
    }

    fn node(&mut self, node: Found<'a, Node>) -> Result<Value, RenderError> {
        let level = node.level;
        match node.part {
            Node::Literal(value) => Ok(value.clone()),
            Node::Text(part) => self.evaluate(Found { part, level }).map(Value::String),
            Node::Typed(part) => {
                let json = self.evaluate(Found { part, level })?;
                // What the engine writes for a `json` target is JSON; text marked `safe` is not.
                Ok(serde_json::from_str(&json).unwrap_or(Value::String(json)))
            }
            Node::List(nodes) => nodes
                .iter()
                .map(|part| self.node(Found { part, level }))
                .collect(),
            Node::Object(entries) => entries
                .iter()
                .map(|(key, part)| Ok((key.clone(), self.node(Found { part, level })?)))
                .collect(),
        }
    }

    fn evaluate(&mut self, entry: Found<'a, Entry>) -> Result<String, RenderError> {
        let Found { part, level } = entry;
        self.found_at = Some(self.found_at.map_or(level, |at| at.min(level)));
        let scope = self.scope(level);
        let failed = |source: minijinja::Error| RenderError::Evaluation {
            place: part.name.clone(),
            pointer: part.pointer.clone(),
            line: source.line().unwrap_or(1),
            source: bare(&source),
        };
        let compiled = self.engine.get_template(&part.name).map_err(failed)?;
        let mut output = Capped {
            bytes: Vec::new(),
            left: self.bytes_left,
        };
        match compiled.render_captured_to(scope, &mut output) {
            Ok(captured) => {
                let (burnt, _) = captured.state().fuel_levels().unwrap_or_default();
                let left = self.fuel_left.checked_sub(burnt);
                self.fuel_left = left.ok_or_else(|| failed(ErrorKind::OutOfFuel.into()))?;
            }
            Err(error) if error.kind() == ErrorKind::WriteFailure => {
                return Err(part.too_large());
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

    /// The language that a text at `level` of the chain is spoken in.
    fn tag(&self, level: usize) -> &'a str {
        // A reader of `en-GB` who gets `en` gets the dates of `en-GB`.
        let text = self.chain[level].tag.as_str();
        if is_same_language(text, self.locale) {
            self.locale
        } else {
            text
        }
    }

    /// The variables of a text at `level` of the chain.
    fn scope(&mut self, level: usize) -> minijinja::Value {
        let tag = self.tag(level);
        match &self.scope {
            Some((of, scope)) if *of == tag => scope.clone(),
            _ => {
                let scope =
                    self.facts
                        .to_scope(Speech::new(tag, self.timezone, Arc::clone(&self.work)));
                self.scope = Some((tag, scope.clone()));
                scope
            }
        }
    }

    /// What another section lends to `channel`: its subject, if any, and its text.
    fn lent(&self, channel: Channel) -> Option<(Option<Found<'a, Entry>>, Found<'a, Entry>)> {
        let is_short = Shape::of(channel).subject.is_none();
        DONORS
            .into_iter()
            .filter(|&donor| donor != channel)
            .find_map(|donor| {
                let subject = self.find(donor, |it| it.subject.as_ref());
                let body = self.find(donor, |it| it.body.as_ref());
                let words = match donor {
                    Channel::Email if is_short => subject,
                    Channel::Email => body.or(subject),
                    _ => body,
                };
                Some((subject, words?))
            })
    }
}

impl Entry {
    fn too_large(&self) -> RenderError {
        RenderError::TooLarge {
            place: self.name.clone(),
            pointer: self.pointer.clone(),
            bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    fn html_error(&self, detail: String) -> RenderError {
        RenderError::Html {
            place: self.name.clone(),
            pointer: self.pointer.clone(),
            detail,
        }
    }
}

/// Whether both tags name one language, however far each goes on.
fn is_same_language(one: &str, other: &str) -> bool {
    let language = |tag: &str| {
        tag.split('-')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    language(one) == language(other)
}

/// A typographic space would cost a text message more than half of its characters: the alphabet of
/// GSM has none, and one letter outside it turns the whole message into two-byte ones.
fn plain_spaces(text: String) -> String {
    if !text.contains(is_typographic_space) {
        return text;
    }
    text.replace(is_typographic_space, " ")
}

fn is_typographic_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{2009}' | '\u{202f}')
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

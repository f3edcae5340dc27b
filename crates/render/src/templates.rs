//! Templates, compiled: what is looked up and rendered for the rest of the process's life.
//!
//! A template's fields become entries of one minijinja environment, named
//! `<template>/<channel>.<field>.<target>`; the target (`html`, `json`, `txt`) decides how values
//! are escaped. Text inside structured data is compiled leaf by leaf and the result is put into a
//! parsed tree, so a quotation mark in a variable cannot break out of its string.

use std::collections::BTreeMap;

use domain::Channel;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::TemplateError;
use crate::builtin::BUILTINS;
use crate::file::Source;
use crate::section::{DataShape, Shape};

/// The template that shows any event, for types that have none of their own.
pub const PLAIN: &str = "plain";

/// Work one field may cost, in engine instructions. The longest template we ship needs under 300.
const FUEL: u64 = 50_000;

/// How deep macros and includes may nest.
const RECURSION_MAX: usize = 32;

/// Every template this process knows.
#[derive(Debug)]
pub struct Templates {
    pub(crate) engine: Environment<'static>,
    /// By canonical name, see [`canonical`].
    by_name: BTreeMap<String, Template>,
}

/// What can be said of a template in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline<'a> {
    pub name: &'a str,
    pub description: Option<&'a str>,
    /// What recipients can opt out of.
    pub category: Option<&'a str>,
    /// The channels it has a text for.
    pub channels: Vec<Channel>,
}

/// One template: its sections and what is said about it.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    category: Option<String>,
    pub(crate) sections: BTreeMap<Channel, Section>,
    samples: Vec<Map<String, Value>>,
}

/// One channel's part of a template: names of engine entries.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) subject: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) body_html: Option<String>,
    pub(crate) data: Option<Node>,
}

/// Structured data with templates at its leaves.
#[derive(Debug)]
pub(crate) enum Node {
    /// Has nothing to evaluate.
    Literal(Value),
    /// Evaluates to a string.
    Text(String),
    /// A lone `{{ expression }}`: evaluates to whatever the expression is.
    Typed(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Templates {
    /// Compiles the templates that ship with Postrider.
    pub fn builtin() -> Result<Self, TemplateError> {
        Self::compile(BUILTINS.iter().map(|it| Source {
            file: it.file,
            text: it.source,
        }))
    }

    pub(crate) fn compile<'a>(
        sources: impl Iterator<Item = Source<'a>>,
    ) -> Result<Self, TemplateError> {
        let mut templates = Self {
            engine: engine(),
            by_name: BTreeMap::new(),
        };
        for source in sources {
            templates.add(source)?;
        }
        Ok(templates)
    }

    fn add(&mut self, source: Source<'_>) -> Result<(), TemplateError> {
        let file = source.parse()?;
        let mut sections = BTreeMap::new();
        for (&channel, fields) in &file.channels {
            let mut compiler = Compiler {
                engine: &mut self.engine,
                source,
                template: &file.name,
                channel,
            };
            sections.insert(channel, compiler.section(fields)?);
        }
        let template = Template {
            sections,
            name: file.name,
            description: file.description,
            category: file.category,
            samples: file.samples,
        };
        let key = canonical(&template.name);
        if let Some(other) = self.by_name.get(&key) {
            return Err(source.error(
                1,
                format!("`{}` is taken by `{}`", template.name, other.name),
            ));
        }
        self.by_name.insert(key, template);
        Ok(())
    }

    /// The name of the template that answers to `name`: case does not matter and `_` equals `.`,
    /// so `ORDER_FILLED` finds `order.filled`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.get(name).map(|template| template.name.as_str())
    }

    /// What can be said of a template in a list.
    pub fn outline(&self, name: &str) -> Option<Outline<'_>> {
        let template = self.get(name)?;
        Some(Outline {
            name: &template.name,
            description: template.description.as_deref(),
            category: template.category.as_deref(),
            channels: template.sections.keys().copied().collect(),
        })
    }

    /// What recipients can opt out of, as the template says.
    pub fn category(&self, name: &str) -> Option<&str> {
        self.get(name)?.category.as_deref()
    }

    /// Variables to try the template with, from its file.
    pub fn samples(&self, name: &str) -> &[Map<String, Value>] {
        self.get(name).map_or(&[], |template| &template.samples)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.values().map(|template| template.name.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Template> {
        self.by_name.get(&canonical(name))
    }
}

fn canonical(name: &str) -> String {
    name.to_lowercase().replace('_', ".")
}

fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(RECURSION_MAX);
    // A `{% if %}` on a line of its own leaves no empty line in a mail.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    engine.set_syntax(syntax.expect("the delimiters are the default ones"));
    engine
}

/// Compiles the fields of one section.
struct Compiler<'a> {
    engine: &'a mut Environment<'static>,
    source: Source<'a>,
    template: &'a str,
    channel: Channel,
}

impl Compiler<'_> {
    fn section(&mut self, fields: &Map<String, Value>) -> Result<Section, TemplateError> {
        let shape = Shape::of(self.channel);
        Ok(Section {
            subject: self.text_field(fields, shape.subject, "txt")?,
            body: self.text_field(fields, shape.body, "txt")?,
            body_html: self.text_field(fields, shape.body_html, "html")?,
            data: self.data(fields, shape.data)?,
        })
    }

    fn text_field(
        &mut self,
        fields: &Map<String, Value>,
        field: Option<&str>,
        target: &str,
    ) -> Result<Option<String>, TemplateError> {
        let Some(field) = field else { return Ok(None) };
        let Some(text) = fields.get(field).and_then(Value::as_str) else {
            return Ok(None);
        };
        self.entry(field, field, target, text).map(Some)
    }

    fn data(
        &mut self,
        fields: &Map<String, Value>,
        shape: DataShape,
    ) -> Result<Option<Node>, TemplateError> {
        match shape {
            DataShape::None => Ok(None),
            DataShape::Whole(field) => fields
                .get(field)
                .map(|value| self.node(field, field, value))
                .transpose(),
            DataShape::Object(names) => {
                let present = names
                    .iter()
                    .filter_map(|&name| Some((name, fields.get(name)?)));
                let nodes = present
                    .map(|(name, value)| Ok((name.to_owned(), self.node(name, name, value)?)))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Some(nodes)
                    .filter(|nodes| !nodes.is_empty())
                    .map(Node::Object))
            }
        }
    }

    /// `field` is what the file calls it; `path` names the leaf within.
    fn node(&mut self, field: &str, path: &str, value: &Value) -> Result<Node, TemplateError> {
        match value {
            Value::String(text) if is_lone_expression(text) => {
                self.entry(field, path, "json", text).map(Node::Typed)
            }
            Value::String(text) if text.contains("{{") || text.contains("{%") => {
                self.entry(field, path, "txt", text).map(Node::Text)
            }
            Value::Array(items) => {
                let nodes = items.iter().enumerate();
                nodes
                    .map(|(index, item)| self.node(field, &format!("{path}.{index}"), item))
                    .collect::<Result<_, _>>()
                    .map(Node::List)
            }
            Value::Object(entries) => {
                let nodes = entries.iter().map(|(key, value)| {
                    Ok((
                        key.clone(),
                        self.node(field, &format!("{path}.{key}"), value)?,
                    ))
                });
                nodes.collect::<Result<_, _>>().map(Node::Object)
            }
            literal => Ok(Node::Literal(literal.clone())),
        }
    }

    fn entry(
        &mut self,
        field: &str,
        path: &str,
        target: &str,
        text: &str,
    ) -> Result<String, TemplateError> {
        let entry = format!("{}/{}.{path}.{target}", self.template, self.channel);
        match self
            .engine
            .add_template_owned(entry.clone(), text.to_owned())
        {
            Ok(()) => Ok(entry),
            Err(error) => {
                let within = error.line().unwrap_or(1);
                let line = self.source.line_within(self.channel, field, within);
                let detail = error.detail().unwrap_or("is not a template");
                Err(self
                    .source
                    .error(line, format!("channels.{}.{path}: {detail}", self.channel)))
            }
        }
    }
}

/// Whether the text is one `{{ expression }}` and nothing else, so that a number stays a number.
fn is_lone_expression(text: &str) -> bool {
    let inner = text
        .trim()
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"));
    inner.is_some_and(|inner| !["{{", "}}", "{%"].iter().any(|mark| inner.contains(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile_error(text: &str) -> String {
        let source = Source {
            file: "templates/x.yaml",
            text,
        };
        Templates::compile([source].into_iter())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_builtin_compiles_and_the_plain_one_is_among_them() {
        let templates = Templates::builtin().unwrap();

        assert_eq!(templates.names().count(), BUILTINS.len());
        assert_eq!(templates.find(PLAIN), Some("plain"));
    }

    #[test]
    fn a_type_finds_its_template_in_any_case_with_underscores_for_dots() {
        let templates = Templates::builtin().unwrap();

        assert_eq!(templates.find("ORDER_FILLED"), Some("order.filled"));
        assert_eq!(templates.find("Risk.Margin_Call"), Some("risk.margin_call"));
        assert_eq!(templates.find("order.cancelled"), None);
    }

    #[test]
    fn a_syntax_error_names_the_line_of_the_file() {
        let error = compile_error(
            "name: x\nchannels:\n  sms:\n    body: fine\n  email:\n    subject: s\n    body: |\n      \
             one\n      {{ two }\n",
        );

        assert!(
            error.starts_with("templates/x.yaml:9: channels.email.body: "),
            "{error}"
        );
    }

    #[test]
    fn a_field_the_channel_does_not_have_is_refused_with_those_it_has() {
        let error = compile_error("name: x\nchannels:\n  in_app:\n    titel: t\n    message: m\n");

        assert_eq!(
            error,
            "templates/x.yaml:4: channels.in_app has no field `titel`, only title, message, data"
        );
    }

    #[test]
    fn broken_yaml_and_an_unknown_channel_name_their_line() {
        assert!(compile_error("name: x\nchannels: [").starts_with("templates/x.yaml:"));

        let error = compile_error("name: x\nchannels:\n  pigeon:\n    body: coo\n");
        assert!(error.starts_with("templates/x.yaml:3: "), "{error}");
    }

    #[test]
    fn two_names_that_an_event_type_cannot_tell_apart_are_refused() {
        let sources =
            ["name: a.b\nchannels: {}\n", "name: A_B\nchannels: {}\n"].map(|text| Source {
                file: "templates/x.yaml",
                text,
            });

        let error = Templates::compile(sources.into_iter()).unwrap_err();

        assert_eq!(
            error.to_string(),
            "templates/x.yaml:1: `A_B` is taken by `a.b`"
        );
    }
}

//! Compiles the texts of a template, field by field and leaf by leaf.

use std::collections::BTreeMap;

use domain::{Channel, pointer_token};
use minijinja::Environment;
use serde_json::Value;

use crate::body::Fields;
use crate::error::detail;
use crate::section::{DataShape, Shape};
use crate::vars::Needs;
use crate::{TemplateIssue, engine, guard};

/// One channel's part of a template in one language.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) subject: Option<Entry>,
    pub(crate) body: Option<Entry>,
    pub(crate) body_html: Option<Entry>,
    pub(crate) data: Option<Node>,
}

/// One text.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in the engine.
    pub(crate) name: String,
    /// Where it stands in the template's body.
    pub(crate) pointer: String,
}

/// Structured data with templates at its leaves.
#[derive(Debug)]
pub(crate) enum Node {
    /// Has nothing to evaluate.
    Literal(Value),
    /// Evaluates to a string.
    Text(Entry),
    /// A lone `{{ expression }}`: evaluates to whatever the expression is.
    Typed(Entry),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Compiles the sections of one language; `tag` is `None` for the default one.
pub(crate) fn compile_sections(
    engine: &mut Environment<'static>,
    template: &str,
    tag: Option<&str>,
    channels: &BTreeMap<Channel, Fields>,
    needs: &mut Needs,
    issues: &mut Vec<TemplateIssue>,
) -> BTreeMap<Channel, Section> {
    let mut compiler = Compiler {
        engine,
        needs,
        issues,
        channel: Channel::InApp,
        place: String::new(),
        pointer: String::new(),
    };
    let mut sections = BTreeMap::new();
    for (&channel, fields) in channels {
        compiler.channel = channel;
        match tag {
            None => {
                compiler.place = format!("{template}/{channel}");
                compiler.pointer = format!("/channels/{channel}");
            }
            Some(tag) => {
                compiler.place = format!("{template}/{tag}.{channel}");
                compiler.pointer = format!("/translations/{tag}/{channel}");
            }
        }
        sections.insert(channel, compiler.section(channel, fields));
    }
    sections
}

struct Compiler<'a> {
    engine: &'a mut Environment<'static>,
    needs: &'a mut Needs,
    issues: &'a mut Vec<TemplateIssue>,
    channel: Channel,
    /// The names of the section's entries begin with it.
    place: String,
    /// Where the section stands in the body.
    pointer: String,
}

impl Compiler<'_> {
    fn section(&mut self, channel: Channel, fields: &Fields) -> Section {
        let shape = Shape::of(channel);
        let body_target = match channel {
            Channel::Slack => engine::SLACK,
            _ => "txt",
        };
        Section {
            subject: self.text_field(fields, shape.subject, "txt"),
            body: self.text_field(fields, shape.body, body_target),
            body_html: self.text_field(fields, shape.body_html, "html"),
            data: self.data(fields, shape.data),
        }
    }

    fn text_field(
        &mut self,
        fields: &Fields,
        field: Option<&'static str>,
        target: &str,
    ) -> Option<Entry> {
        let field = field?;
        let text = fields.get(field)?.as_str()?;
        Some(self.entry(&[field.to_owned()], target, text))
    }

    fn data(&mut self, fields: &Fields, shape: DataShape) -> Option<Node> {
        match shape {
            DataShape::None => None,
            DataShape::Whole(field) => {
                let value = fields.get(field)?;
                Some(self.node(&mut vec![field.to_owned()], value))
            }
            DataShape::Object(names) => {
                let present = names
                    .iter()
                    .filter_map(|&name| Some((name, fields.get(name)?)));
                let nodes: Vec<_> = present
                    .map(|(name, value)| {
                        let node = self.node(&mut vec![name.to_owned()], value);
                        (name.to_owned(), node)
                    })
                    .collect();
                Some(nodes)
                    .filter(|nodes| !nodes.is_empty())
                    .map(Node::Object)
            }
        }
    }

    /// `path` leads to the value within the section.
    fn node(&mut self, path: &mut Vec<String>, value: &Value) -> Node {
        match value {
            Value::String(text) if is_lone_expression(text) => {
                Node::Typed(self.entry(path, "json", text))
            }
            Value::String(text) if text.contains("{{") || text.contains("{%") => {
                Node::Text(self.entry(path, "txt", text))
            }
            Value::Array(items) => {
                let nodes = items.iter().enumerate();
                let nodes = nodes.map(|(index, item)| self.child(path, index.to_string(), item));
                Node::List(nodes.collect())
            }
            Value::Object(entries) => {
                let nodes = entries.iter().map(|(key, value)| {
                    let node = match value {
                        Value::String(text) if self.is_markup(entries, key) => {
                            path.push(key.clone());
                            let entry = self.entry(path, engine::SLACK, text);
                            path.pop();
                            Node::Text(entry)
                        }
                        value => self.child(path, key.clone(), value),
                    };
                    (key.clone(), node)
                });
                Node::Object(nodes.collect())
            }
            literal => Node::Literal(literal.clone()),
        }
    }

    /// Whether Slack reads markup in this text, so that a value must not bring any. A plain text and
    /// a link are taken as they are.
    fn is_markup(&self, object: &Fields, key: &str) -> bool {
        let kind = object.get("type");
        self.channel == Channel::Slack && key == "text" && kind.is_none_or(|kind| kind == "mrkdwn")
    }

    fn child(&mut self, path: &mut Vec<String>, token: String, value: &Value) -> Node {
        path.push(token);
        let node = self.node(path, value);
        path.pop();
        node
    }

    /// Compiles one text. A bad one is reported, and its entry is never asked for.
    fn entry(&mut self, path: &[String], target: &str, text: &str) -> Entry {
        let tokens: Vec<_> = path.iter().map(|token| pointer_token(token)).collect();
        let tokens = tokens.join("/");
        let entry = Entry {
            name: format!("{}.{tokens}.{target}", self.place),
            pointer: format!("{}/{tokens}", self.pointer),
        };
        match guard::check(text) {
            Ok(is_personal) => self.needs.reader |= is_personal,
            Err((line, detail)) => {
                self.issues.push(TemplateIssue {
                    pointer: entry.pointer.clone(),
                    line: Some(line),
                    detail,
                });
                return entry;
            }
        }
        let added = self
            .engine
            .add_template_owned(entry.name.clone(), text.to_owned())
            .and_then(|()| self.engine.get_template(&entry.name));
        match added {
            Ok(compiled) => self.needs.add(&compiled.undeclared_variables(false)),
            Err(error) => self.issues.push(TemplateIssue {
                pointer: entry.pointer.clone(),
                line: Some(error.line().unwrap_or(1)),
                detail: detail(&error),
            }),
        }
        entry
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

//! One template, compiled: what is kept and rendered for as long as somebody may need it.
//!
//! A template's texts become entries of its own minijinja environment, named
//! `<template>/<channel>.<field>.<target>`, with the language in front where it is a translation;
//! the target (`html`, `json`, `txt`) decides how values are escaped. Text inside structured data is
//! compiled leaf by leaf and the result is put into a parsed tree, so a quotation mark in a variable
//! cannot break out of its string.

use std::collections::BTreeMap;

use domain::{Channel, FieldError};
use minijinja::Environment;
use serde_json::Value;

use crate::compile::{Section, compile_sections};
use crate::language::fallbacks;
use crate::schema::{Schema, compile_schema};
use crate::vars::Needs;
use crate::{TemplateBody, TemplateIssue, engine};

/// One template, ready to render. `Send + Sync`, and needs nothing beside itself.
#[derive(Debug)]
pub struct Template {
    body: TemplateBody,
    schema: Option<Schema>,
    pub(crate) engine: Environment<'static>,
    pub(crate) needs: Needs,
    default: Language,
    /// By tag, in lower case.
    translations: BTreeMap<String, Language>,
}

/// The texts of a template in one language.
#[derive(Debug)]
pub(crate) struct Language {
    pub(crate) tag: String,
    pub(crate) sections: BTreeMap<Channel, Section>,
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

/// The language that `channels` is written in.
pub const DEFAULT_LOCALE: &str = "en";

impl Template {
    /// Compiles a body, and reports everything that does not.
    pub fn compile(body: &TemplateBody) -> Result<Self, Vec<TemplateIssue>> {
        let mut issues = Vec::new();
        let mut engine = engine::new();
        let mut needs = Needs::default();
        let mut compile = |tag: Option<&str>, channels| {
            let sections = compile_sections(
                &mut engine,
                &body.name,
                tag,
                channels,
                &mut needs,
                &mut issues,
            );
            Language {
                tag: tag.unwrap_or(DEFAULT_LOCALE).to_owned(),
                sections,
            }
        };
        let default = compile(None, &body.channels);
        let translations = body
            .translations
            .iter()
            .map(|(tag, channels)| (tag.to_ascii_lowercase(), compile(Some(tag), channels)))
            .collect();
        let schema = match body.variables.as_ref().map(compile_schema).transpose() {
            Ok(schema) => schema,
            Err(issue) => {
                issues.push(issue);
                None
            }
        };
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(Self {
            body: body.clone(),
            schema,
            engine,
            needs,
            default,
            translations,
        })
    }

    pub fn name(&self) -> &str {
        &self.body.name
    }

    /// As it was written.
    pub fn body(&self) -> &TemplateBody {
        &self.body
    }

    /// What can be said of it in a list.
    pub fn outline(&self) -> Outline<'_> {
        Outline {
            name: &self.body.name,
            description: self.body.description.as_deref(),
            category: self.body.category.as_deref(),
            channels: self.default.sections.keys().copied().collect(),
        }
    }

    /// Whether its texts depend on what is known of the reader: their zone, or their name.
    pub fn needs_reader(&self) -> bool {
        self.needs.reader
    }

    /// The languages it is written in, the default one first.
    pub fn locales(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.default).chain(self.translations.values());
        all.map(|language| language.tag.as_str())
    }

    /// Holds a payload against `variables`, if there are any. Pointers are into the payload.
    pub fn check_data(&self, data: &Value) -> Vec<FieldError> {
        self.schema
            .as_ref()
            .map_or_else(Vec::new, |schema| schema.validate(data))
    }

    /// The languages to take a field from, the nearest to `locale` first and the default one last.
    pub(crate) fn chain(&self, locale: &str) -> Vec<&Language> {
        let mut chain = Vec::new();
        if !self.translations.is_empty() {
            chain.extend(fallbacks(locale).filter_map(|tag| self.translations.get(&tag)));
        }
        chain.push(&self.default);
        chain
    }
}

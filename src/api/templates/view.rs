//! A template as it is shown: with its text alone, without it in a list.

use domain::Channel;
use render::{Template, TemplateBody};
use serde::Serialize;
use serde_json::{Map, Value};
use store::templates::{StoredTemplate, TemplateFilter, TemplateHead, TemplateVersion};
use utoipa::ToSchema;

use crate::api::openapi::words::{ChannelWord, any_object};
use crate::api::view::Moment;

/// The version that ships with Postrider.
const SHIPPED: u32 = 0;

/// Where a template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TemplateSource)]
pub(crate) enum SourceView {
    /// It ships with Postrider.
    Builtin,
    /// It was written through the API or the command line.
    Stored,
}

/// A template in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateOutline)]
pub(crate) struct OutlineView {
    /// Of a built-in one, its name.
    pub(crate) id: String,
    pub(crate) name: String,
    #[schema(required)]
    pub(crate) description: Option<String>,
    /// What its recipients can opt out of.
    #[schema(required)]
    pub(crate) category: Option<String>,
    /// The channels it has a text for.
    #[schema(value_type = Vec<ChannelWord>)]
    pub(crate) channels: Vec<Channel>,
    /// Its languages beside the default one.
    pub(crate) locales: Vec<String>,
    pub(crate) enabled: bool,
    pub(crate) tags: Vec<String>,
    /// Rises by one with every change; 0 ships with Postrider.
    pub(crate) version: u32,
    pub(crate) source: SourceView,
    #[schema(required)]
    pub(crate) created_at: Option<Moment>,
    #[schema(required)]
    pub(crate) updated_at: Option<Moment>,
}

impl OutlineView {
    pub(crate) fn of(head: TemplateHead) -> Self {
        Self {
            id: head.template_id.to_string(),
            name: head.name,
            description: head.description,
            category: head.category,
            channels: head.channels,
            locales: head.locales,
            enabled: head.enabled,
            tags: head.tags,
            version: head.version,
            source: SourceView::Stored,
            created_at: Some(Moment::at(head.created_at)),
            updated_at: Some(Moment::at(head.updated_at)),
        }
    }

    pub(crate) fn of_builtin(template: &Template) -> Self {
        let body = template.body();
        Self {
            id: body.name.clone(),
            name: body.name.clone(),
            description: body.description.clone(),
            category: body.category.clone(),
            channels: body.channels.keys().copied().collect(),
            locales: body.translations.keys().cloned().collect(),
            enabled: body.enabled,
            tags: body.tags.clone(),
            version: SHIPPED,
            source: SourceView::Builtin,
            created_at: None,
            updated_at: None,
        }
    }

    /// Whether a list with this filter shows it.
    pub(super) fn answers_to(&self, filter: &TemplateFilter) -> bool {
        let has_tag = |tag: &String| self.tags.contains(tag);
        filter.tag.as_ref().is_none_or(has_tag)
            && (filter.category.is_none() || filter.category == self.category)
            && filter.enabled.is_none_or(|enabled| enabled == self.enabled)
    }

    /// What lists are ordered by.
    pub(crate) fn key(&self) -> String {
        domain::template_key(&self.name)
    }
}

/// A template, with its text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Template)]
pub(super) struct TemplateView {
    /// Of a built-in one, its name.
    id: String,
    name: String,
    #[schema(required)]
    description: Option<String>,
    /// What its recipients can opt out of.
    #[schema(required)]
    category: Option<String>,
    /// The texts in the default language, by channel.
    #[schema(schema_with = any_object)]
    channels: Value,
    /// The texts in other languages, by BCP 47 tag and channel.
    #[schema(schema_with = any_object)]
    translations: Value,
    /// A JSON Schema of the payload.
    variables: Option<Value>,
    /// Payloads to try it with.
    samples: Vec<Value>,
    enabled: bool,
    tags: Vec<String>,
    /// Rises by one with every change; 0 ships with Postrider.
    version: u32,
    source: SourceView,
    #[schema(required)]
    created_at: Option<Moment>,
    #[schema(required)]
    updated_at: Option<Moment>,
}

impl TemplateView {
    /// The texts are shown as they are stored, also if this version cannot read them.
    pub(super) fn of(stored: StoredTemplate) -> Self {
        let head = stored.head;
        let mut texts = Texts::of(stored.body);
        Self {
            id: head.template_id.to_string(),
            name: head.name,
            description: head.description,
            category: head.category,
            channels: texts.object("channels"),
            translations: texts.object("translations"),
            variables: texts.0.remove("variables"),
            samples: texts.list("samples"),
            enabled: head.enabled,
            tags: head.tags,
            version: head.version,
            source: SourceView::Stored,
            created_at: Some(Moment::at(head.created_at)),
            updated_at: Some(Moment::at(head.updated_at)),
        }
    }

    pub(super) fn of_builtin(body: &TemplateBody) -> Self {
        let mut texts = Texts::of(body.to_value());
        Self {
            id: body.name.clone(),
            name: body.name.clone(),
            description: body.description.clone(),
            category: body.category.clone(),
            channels: texts.object("channels"),
            translations: texts.object("translations"),
            variables: texts.0.remove("variables"),
            samples: texts.list("samples"),
            enabled: body.enabled,
            tags: body.tags.clone(),
            version: SHIPPED,
            source: SourceView::Builtin,
            created_at: None,
            updated_at: None,
        }
    }
}

/// A body, taken apart.
struct Texts(Map<String, Value>);

impl Texts {
    fn of(body: Value) -> Self {
        match body {
            Value::Object(fields) => Self(fields),
            _ => Self(Map::new()),
        }
    }

    fn object(&mut self, name: &str) -> Value {
        self.0
            .remove(name)
            .unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn list(&mut self, name: &str) -> Vec<Value> {
        match self.0.remove(name) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        }
    }
}

/// One version of a template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateVersion)]
pub(super) struct VersionView {
    version: u32,
    /// The template as it was written then.
    #[schema(schema_with = any_object)]
    body: Value,
    created_at: Moment,
    /// Who wrote it: `key:<prefix>`, `user:<id>` or `cli:<user of the system>`.
    actor: String,
}

impl VersionView {
    pub(super) fn of(row: TemplateVersion) -> Self {
        Self {
            version: row.version,
            body: row.body,
            created_at: Moment::at(row.created_at),
            actor: row.actor,
        }
    }

    /// Where a page ends.
    pub(super) fn number(&self) -> u32 {
        self.version
    }
}

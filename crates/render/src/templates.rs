//! The templates that ship with the binary, found by the type of an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Channel, template_key};
use serde_json::{Map, Value};

use crate::builtin::BUILTINS;
use crate::file::Source;
use crate::{Outline, RenderError, Rendered, Template, TemplateError, Vars};

/// The template that shows any event, for types that have none of their own.
pub const PLAIN: &str = "plain";

/// A set of templates.
#[derive(Debug, Clone)]
pub struct Templates {
    /// By [`template_key`].
    by_name: BTreeMap<String, Arc<Template>>,
}

impl Templates {
    /// Compiles the templates that ship with Postrider.
    pub fn builtin() -> Result<Self, TemplateError> {
        Self::compile(BUILTINS.iter().copied())
    }

    pub(crate) fn compile<'a>(
        sources: impl Iterator<Item = Source<'a>>,
    ) -> Result<Self, TemplateError> {
        let mut by_name: BTreeMap<String, Arc<Template>> = BTreeMap::new();
        for source in sources {
            let template = source.compile().map_err(first)?;
            let key = template_key(template.name());
            if let Some(other) = by_name.get(&key) {
                return Err(TemplateError {
                    file: source.file.to_owned(),
                    line: 1,
                    detail: format!("`{}` is taken by `{}`", template.name(), other.name()),
                });
            }
            by_name.insert(key, Arc::new(template));
        }
        Ok(Self { by_name })
    }

    /// The template that answers to `name`: case does not matter and `_` equals `.`, so
    /// `ORDER_FILLED` finds `order.filled`.
    pub fn get(&self, name: &str) -> Option<&Arc<Template>> {
        self.by_name.get(&template_key(name))
    }

    /// Every template, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.by_name.values()
    }

    /// The name of the template that answers to `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.get(name).map(|template| template.name())
    }

    /// What can be said of a template in a list.
    pub fn outline(&self, name: &str) -> Option<Outline<'_>> {
        self.get(name).map(|template| template.outline())
    }

    /// What recipients can opt out of, as the template says.
    pub fn category(&self, name: &str) -> Option<&str> {
        self.get(name)?.body().category.as_deref()
    }

    /// Variables to try the template with.
    pub fn samples(&self, name: &str) -> &[Map<String, Value>] {
        self.get(name)
            .map_or(&[], |template| &template.body().samples)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|template| template.name())
    }

    /// Renders the template of that name for `channel`.
    pub fn render(
        &self,
        name: &str,
        channel: Channel,
        vars: &Vars<'_>,
    ) -> Result<Rendered, RenderError> {
        let template = self.get(name).ok_or_else(|| RenderError::UnknownTemplate {
            name: name.to_owned(),
        })?;
        template.render(channel, vars)
    }
}

/// A start stops at the first error; `template check` shows them all.
fn first(errors: Vec<TemplateError>) -> TemplateError {
    let mut errors = errors.into_iter();
    errors.next().expect("a template is refused for a reason")
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
    fn a_field_the_channel_does_not_have_names_its_line() {
        let error = compile_error("name: x\nchannels:\n  in_app:\n    titel: t\n    message: m\n");

        assert_eq!(
            error,
            "templates/x.yaml:4: channels.in_app.titel: is not a field of in_app, only title, \
             message, data"
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

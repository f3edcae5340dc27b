//! The templates there are, found by the type of an event.

use std::collections::HashMap;

/// The names of the templates there are, found by event type.
#[derive(Debug, Clone, Default)]
pub struct TemplateNames {
    by_type: HashMap<String, Named>,
}

/// A template, as far as routing needs to know it.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    /// What its notifications are about, if it says so.
    category: Option<String>,
}

impl TemplateNames {
    /// Takes names, each with the category of its template.
    pub fn new<'a>(templates: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let named = templates.into_iter().map(|(name, category)| {
            let named = Named {
                name: name.to_owned(),
                category: category.map(str::to_owned),
            };
            (type_key(name), named)
        });
        Self {
            by_type: named.collect(),
        }
    }

    /// The template that an event type names: `ORDER_FILLED` finds `order.filled`.
    pub fn of_type(&self, event_type: &str) -> Option<&str> {
        let named = self.by_type.get(&type_key(event_type))?;
        Some(&named.name)
    }

    /// The category of a template.
    pub fn category_of(&self, template: &str) -> Option<&str> {
        self.by_type.get(&type_key(template))?.category.as_deref()
    }
}

/// Types are compared in lower case, with `_` equal to `.`.
pub(crate) fn type_key(name: &str) -> String {
    name.to_lowercase().replace('_', ".")
}

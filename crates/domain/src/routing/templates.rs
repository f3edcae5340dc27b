//! The templates there are, found by the type of an event.

use std::collections::HashMap;
use std::sync::Arc;

/// The names of the templates there are, found by event type.
///
/// A tenant's own stand before those that every tenant has.
#[derive(Debug, Clone, Default)]
pub struct TemplateNames {
    by_type: HashMap<String, NamedTemplate>,
    shared: Option<Arc<TemplateNames>>,
}

/// A template, as far as routing needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    pub name: String,
    /// What its notifications are about, if it says so.
    pub category: Option<String>,
    /// The one that is used now; 0 ships with the binary.
    pub version: i32,
    /// One that is not is found by nobody, and hides a shared one of its name.
    pub is_enabled: bool,
}

impl TemplateNames {
    /// Takes names, each with the category of its template, of templates that ship with the binary.
    pub fn new<'a>(templates: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let named = templates.into_iter().map(|(name, category)| NamedTemplate {
            name: name.to_owned(),
            category: category.map(str::to_owned),
            version: 0,
            is_enabled: true,
        });
        Self {
            by_type: named.map(|it| (template_key(&it.name), it)).collect(),
            shared: None,
        }
    }

    /// A tenant's own templates before the shared ones.
    pub fn over(shared: &Arc<Self>, own: impl IntoIterator<Item = NamedTemplate>) -> Self {
        let own = own.into_iter().map(|it| (template_key(&it.name), it));
        Self {
            by_type: own.collect(),
            shared: Some(Arc::clone(shared)),
        }
    }

    /// The template that an event type, or a sender, names: `ORDER_FILLED` finds `order.filled`.
    pub fn find(&self, name: &str) -> Option<&NamedTemplate> {
        let key = template_key(name);
        self.get(&key).filter(|named| named.is_enabled)
    }

    /// The name of the template that an event type names.
    pub fn of_type(&self, event_type: &str) -> Option<&str> {
        Some(&self.find(event_type)?.name)
    }

    /// The category of a template.
    pub fn category_of(&self, template: &str) -> Option<&str> {
        self.find(template)?.category.as_deref()
    }

    /// The version of a template that is used now: what a notification pins.
    pub fn version_of(&self, template: &str) -> Option<i32> {
        Some(self.find(template)?.version)
    }

    fn get(&self, key: &str) -> Option<&NamedTemplate> {
        let own = self.by_type.get(key);
        own.or_else(|| self.shared.as_ref()?.get(key))
    }
}

/// What a template is found by: types and names are compared in lower case, with `_` equal to `.`.
pub fn template_key(name: &str) -> String {
    name.to_lowercase().replace('_', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_own_template_stands_before_the_shared_one_and_hides_it_when_disabled() {
        let shared = TemplateNames::new([("order.filled", Some("trading")), ("plain", None)]);
        let shared = Arc::new(shared);
        let own = |is_enabled| NamedTemplate {
            name: "Order_Filled".into(),
            category: None,
            version: 3,
            is_enabled,
        };

        let names = TemplateNames::over(&shared, [own(true)]);
        assert_eq!(names.of_type("ORDER_FILLED"), Some("Order_Filled"));
        assert_eq!(names.version_of("order.filled"), Some(3));
        assert_eq!(names.category_of("order.filled"), None);
        assert_eq!(names.version_of("PLAIN"), Some(0));

        let names = TemplateNames::over(&shared, [own(false)]);
        assert_eq!(names.find("order.filled"), None);
        assert_eq!(shared.of_type("order.filled"), Some("order.filled"));
    }
}

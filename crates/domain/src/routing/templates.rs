//! The templates there are, found by the type of an event.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{FieldError, Rule};

/// The names of the templates there are, found by event type.
///
/// A tenant's own stand before those that every tenant has.
#[derive(Debug, Clone, Default)]
pub struct TemplateNames {
    by_type: HashMap<String, NamedTemplate>,
    shared: Option<Arc<Self>>,
}

/// A template, as far as routing needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    pub name: String,
    /// What its notifications are about, if it says so.
    pub category: Option<String>,
    /// The current one; 0 ships with the binary.
    pub version: u32,
    /// One that is not is not found, and hides a shared one of its name.
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

    /// A tenant's own templates, none so far, before the shared ones.
    pub fn over(shared: &Arc<Self>) -> Self {
        Self {
            by_type: HashMap::new(),
            shared: Some(Arc::clone(shared)),
        }
    }

    /// Adds a template of the tenant, in place of one of the same name.
    pub fn insert(&mut self, template: NamedTemplate) {
        self.by_type.insert(template_key(&template.name), template);
    }

    /// Removes a template of the tenant; a shared one of its name is found again.
    pub fn remove(&mut self, name: &str) {
        self.by_type.remove(&template_key(name));
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
    pub fn version_of(&self, template: &str) -> Option<u32> {
        Some(self.find(template)?.version)
    }

    /// The templates that a rule names and that are not there, or not enabled: each by its place in
    /// the rule as it is stored. They may come later; until then what the rule tells fails.
    pub fn missing(&self, rule: &Rule) -> Vec<FieldError> {
        let mut missing = Vec::new();
        let mut look_for = |place: String, template: Option<&String>| {
            if let Some(name) = template.filter(|name| self.find(name).is_none()) {
                let detail = format!("names the template `{name}`, which there is not yet");
                missing.push(FieldError::new(format!("{place}/template"), detail));
            }
        };
        for (index, action) in rule.actions.iter().enumerate() {
            let place = format!("/actions/{index}");
            for (side, variant) in action.variants.iter().enumerate() {
                look_for(
                    format!("{place}/variants/{side}"),
                    variant.template.as_ref(),
                );
            }
            // Of a test, the action's stands in for sides that name none.
            let is_used = action.variants.is_empty()
                || action.variants.iter().any(|side| side.template.is_none());
            look_for(place, action.template.as_ref().filter(|_| is_used));
        }
        missing
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
    fn templates_that_a_rule_names_and_that_are_not_there_are_found_with_their_place() {
        let missing = |actions: serde_json::Value| {
            let body = serde_json::json!({"name": "r", "actions": actions});
            let rule = crate::RuleSubmission::parse(body).unwrap();
            let rule = rule.into_rule(crate::RuleId::from(uuid::Uuid::nil()), 1);
            let missing = TemplateNames::new([("order.filled", None)]).missing(&rule);
            let places = missing.into_iter().map(|error| error.pointer);
            places.collect::<Vec<_>>()
        };
        let sides = |first: &str, second: Option<&str>| serde_json::json!([{"name": "a", "template": first}, {"name": "b", "template": second}]);
        for (action, expected) in [
            (serde_json::json!({}), vec![]),
            (serde_json::json!({"template": "ORDER_FILLED"}), vec![]),
            (
                serde_json::json!({"template": "later"}),
                vec!["/actions/1/template"],
            ),
            (
                serde_json::json!({"template": "later", "variants": sides("x", Some("order.filled"))}),
                vec!["/actions/1/variants/0/template"],
            ),
            (
                serde_json::json!({"template": "later", "variants": sides("order.filled", None)}),
                vec!["/actions/1/template"],
            ),
        ] {
            assert_eq!(missing(serde_json::json!([{}, action])), expected);
        }
    }

    #[test]
    fn a_tenants_own_template_stands_before_a_shared_one_and_hides_it_when_disabled() {
        let shared = TemplateNames::new([("order.filled", Some("trading")), ("plain", None)]);
        let shared = Arc::new(shared);
        let own = |is_enabled| NamedTemplate {
            name: "Order_Filled".into(),
            category: None,
            version: 3,
            is_enabled,
        };

        let mut names = TemplateNames::over(&shared);
        names.insert(own(true));
        assert_eq!(names.of_type("ORDER_FILLED"), Some("Order_Filled"));
        assert_eq!(names.version_of("order.filled"), Some(3));
        assert_eq!(names.category_of("order.filled"), None);
        assert_eq!(names.version_of("PLAIN"), Some(0));

        names.insert(own(false));
        assert_eq!(names.find("order.filled"), None);
        names.remove("order.filled");
        assert_eq!(names.of_type("order.filled"), Some("order.filled"));
    }
}

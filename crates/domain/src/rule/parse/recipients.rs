//! Reads whom an action is for.
//!
//! One selector or a list of them. A selector is `{type, …}`, an object of several kinds without a
//! type, an id, a target such as `#ops`, or — where it is not in a list — an expression.

use serde_json::Value;

use super::{Trust, either, expression, expression_in};
use crate::UserId;
use crate::rule::Selector;
use crate::submission::fields::{Fields, check_name};

/// Selectors of one action.
const SELECTORS_MAX: usize = 50;

/// Users, roles, groups, topics or targets of one selector, and ids in a list.
const NAMES_MAX: usize = 1000;

/// The kinds of selectors, each with the key of its names.
const KINDS: [(&str, &str); 5] = [
    ("user", "users"),
    ("role", "roles"),
    ("group", "groups"),
    ("topic", "topics"),
    ("target", "targets"),
];

pub(super) fn recipients(fields: &mut Fields, trust: Trust) -> Vec<Selector> {
    let name = "recipients";
    match fields.take(name) {
        None => Vec::new(),
        Some(Value::String(source)) => match expression(source, trust) {
            Ok(source) => vec![Selector::Dynamic(source)],
            Err(detail) => {
                let detail = format!("{detail}; to name users, write a list of them");
                fields.refuse(name, detail);
                Vec::new()
            }
        },
        Some(one @ Value::Object(_)) => {
            let Some(mut child) = fields.child_of(name, one) else {
                return Vec::new();
            };
            let selectors = selectors(&mut child, trust);
            fields.absorb(child);
            selectors
        }
        Some(Value::Array(items)) => several(fields, name, items, trust),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) => {
            fields.refuse(name, "must be a selector or a list of them");
            Vec::new()
        }
    }
}

fn several(fields: &mut Fields, name: &str, items: Vec<Value>, trust: Trust) -> Vec<Selector> {
    if items.is_empty() {
        fields.refuse(name, "must name somebody, or be left out");
    }
    if items.len() > NAMES_MAX {
        fields.refuse(name, format!("must have at most {NAMES_MAX} items"));
        return Vec::new();
    }
    let mut users = Vec::new();
    let mut targets = Vec::new();
    let mut found = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        if item.is_object() {
            if let Some(mut child) = fields.item(name, index, item) {
                found.extend(selectors(&mut child, trust));
                fields.absorb(child);
            }
            continue;
        }
        match check_name(&item) {
            Ok(target) if target.starts_with('#') => targets.push(target.to_owned()),
            Ok(user) => users.push(UserId::from(user)),
            Err(detail) => fields.refuse(&format!("{name}/{index}"), detail),
        }
    }
    if !users.is_empty() {
        found.push(Selector::Users(users));
    }
    if !targets.is_empty() {
        found.push(Selector::Targets(targets));
    }
    if found.len() > SELECTORS_MAX {
        fields.refuse(name, format!("must have at most {SELECTORS_MAX} selectors"));
    }
    found
}

/// Reads one object: of the kind that its `type` says, or of all kinds that it has names of.
fn selectors(fields: &mut Fields, trust: Trust) -> Vec<Selector> {
    if !fields.has("type") {
        let mut found = Vec::new();
        let mut is_named = false;
        for (_, key) in KINDS {
            if fields.has(key) {
                is_named = true;
                found.extend(names(fields, key).map(|names| selector(key, names)));
            }
        }
        if fields.has("expression") {
            let source = expression_in(fields, "expression", trust);
            found.extend(source.map(Selector::Dynamic));
        } else if !is_named && fields.rest().is_empty() {
            fields.refuse("type", "is required");
        }
        return found;
    }
    let Some(word) = fields.text("type") else {
        return Vec::new();
    };
    let word = word.to_ascii_lowercase();
    if matches!(word.as_str(), "dynamic" | "expression" | "cel") {
        if !fields.has("expression") {
            fields.refuse("expression", "is required");
        }
        let source = expression_in(fields, "expression", trust);
        return source.map(Selector::Dynamic).into_iter().collect();
    }
    let kind = KINDS
        .iter()
        .find(|(single, several)| word == *single || word == *several);
    let Some((_, key)) = kind else {
        let detail = "must be one of users, roles, groups, topics, targets, dynamic";
        fields.refuse("type", detail);
        return Vec::new();
    };
    let alias = ["ids", "user_ids", "names", "values"]
        .into_iter()
        .find(|alias| fields.has(alias));
    let name = alias.map_or(*key, |alias| either(fields, key, alias));
    if !fields.has(name) {
        fields.refuse(name, "is required");
        return Vec::new();
    }
    let named = names(fields, name);
    named
        .map(|names| selector(key, names))
        .into_iter()
        .collect()
}

/// Takes names, or one without a list around it.
fn names(fields: &mut Fields, name: &str) -> Option<Vec<String>> {
    if let Some(Value::String(_)) = fields.get(name) {
        return fields.name(name).map(|name| vec![name]);
    }
    let names = fields.names(name, NAMES_MAX)?;
    if names.is_empty() {
        fields.refuse(name, "must not be empty");
        return None;
    }
    Some(names)
}

fn selector(key: &str, names: Vec<String>) -> Selector {
    match key {
        "roles" => Selector::Roles(names),
        "groups" => Selector::Groups(names),
        "topics" => Selector::Topics(names),
        "targets" => Selector::Targets(names),
        _ => Selector::Users(names.into_iter().map(UserId::from).collect()),
    }
}

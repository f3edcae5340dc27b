//! What is no mistake in a rules file and may be meant otherwise: templates that there are not.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use domain::{RuleId, TemplateNames};
use render::Templates;
use serde::Serialize;
use uuid::Uuid;
use workers::Catalog;

use super::FileRule;

/// Warnings shown; of more nobody reads them all.
const WARNINGS_MAX: usize = 50;

/// What a rule says and may not mean.
#[derive(Debug, Serialize)]
pub(super) struct Warning {
    rule: String,
    /// A JSON pointer into the rule as it is stored.
    pointer: String,
    detail: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            pointer,
            detail,
        } = self;
        write!(f, "warning: rule `{rule}`: {pointer} {detail}")
    }
}

/// Which rules name templates that are not among `names`.
pub(super) fn warnings(rules: &[FileRule], names: &TemplateNames) -> Vec<Warning> {
    let each = rules.iter().flat_map(|rule| {
        let name = rule.submission.name().to_owned();
        let rule = rule.submission.clone();
        let missing = names.missing(&rule.into_rule(RuleId::from(Uuid::nil()), 1));
        missing.into_iter().map(move |error| Warning {
            rule: name.clone(),
            pointer: error.pointer,
            detail: error.detail,
        })
    });
    each.take(WARNINGS_MAX).collect()
}

/// The templates that ship with the binary.
pub(super) fn builtin_names() -> anyhow::Result<Arc<TemplateNames>> {
    let builtin = Templates::builtin().context("could not read the built-in templates")?;
    let shelf = Catalog::new(builtin).latest();
    Ok(shelf.template_names(&"default".into()))
}

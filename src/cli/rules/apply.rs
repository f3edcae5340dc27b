//! `postrider rules apply`: what files say becomes what is, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::{RuleId, TemplateNames, TenantId};
use queue::Clock;
use render::Templates;
use serde_json::{Value, json};
use store::Tx;
use store::rules::{NewRule, RULES_MAX, apply_rules, prune_rules};

use super::{FileRule, Warning, warnings};
use crate::cli::output::{complain_line, say, say_json};
use crate::cli::process::connect;
use crate::cli::signature::sign;
use crate::config::Config;
use workers::Catalog;

/// Names noted in the audit; of more it has the number.
const NAMES_NOTED_MAX: usize = 100;

pub(super) struct Order {
    pub(super) tenant_id: TenantId,
    pub(super) prune: bool,
    pub(super) dry_run: bool,
}

/// What has changed, by name.
#[derive(Debug, Default)]
pub(super) struct Applied {
    created: Vec<String>,
    updated: Vec<String>,
    removed: Vec<String>,
    /// Rules that were as they should be.
    left: usize,
    /// What may be meant otherwise.
    warnings: Vec<Warning>,
}

pub(super) async fn run(
    config: &Config,
    order: &Order,
    rules: &[FileRule],
) -> anyhow::Result<Applied> {
    let now = Clock::system().now();
    let rows: Vec<_> = rules
        .iter()
        .map(|rule| NewRule {
            rule_id: RuleId::at(now),
            name: rule.submission.name().to_owned(),
            enabled: rule.submission.is_enabled(),
            body: rule.submission.to_value(),
        })
        .collect();
    let store = connect(config, Duration::ZERO).await?;
    let mut tx = store.begin().await?;
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    let templates = template_names(&mut tx, &order.tenant_id).await?;
    let mut applied = Applied {
        warnings: warnings(rules, &templates),
        ..Applied::default()
    };
    if order.prune {
        let removed = prune_rules(&mut tx, &order.tenant_id, &names).await?;
        applied.removed = removed.into_iter().map(|(_, name)| name).collect();
    }
    let written = apply_rules(&mut tx, &order.tenant_id, &rows, now)
        .await
        .context("could not apply the rules")?;
    let Some(written) = written else {
        bail!("a tenant may have at most {RULES_MAX} rules; nothing was changed");
    };
    applied.left = rows.len() - written.len();
    let said: HashMap<_, _> = rules
        .iter()
        .map(|rule| (rule.submission.name(), &rule.submission))
        .collect();
    let fires = written.iter().filter_map(|written| {
        let said = said.get(written.name.as_str()).copied()?;
        Some(said.clone().into_rule(written.rule_id, written.version))
    });
    let fires: Vec<_> = fires.collect();
    let fires = fires.iter().map(|rule| (&order.tenant_id, rule));
    workers::start_schedules(&mut tx, fires, now).await?;
    for rule in written {
        let names = if rule.version == 1 {
            &mut applied.created
        } else {
            &mut applied.updated
        };
        names.push(rule.name);
    }
    // A run that changes nothing leaves the revision alone, so that nobody loads anything again.
    if order.dry_run || applied.is_nothing() {
        return Ok(applied);
    }
    let subject = order.tenant_id.as_str();
    sign(&mut tx, "rules.applied", subject, Some(applied.noted())).await?;
    tx.commit().await?;
    Ok(applied)
}

/// The templates there are, built in or the tenant's.
async fn template_names(tx: &mut Tx, tenant_id: &TenantId) -> anyhow::Result<Arc<TemplateNames>> {
    let builtin = Templates::builtin().context("could not read the built-in templates")?;
    let shelf = Catalog::new(builtin).current(tx).await?;
    Ok(shelf.template_names(tenant_id))
}

impl Applied {
    fn is_nothing(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.removed.is_empty()
    }

    /// What the audit keeps.
    fn noted(&self) -> Value {
        let some = |names: &[String]| {
            let some: Vec<_> = names.iter().take(NAMES_NOTED_MAX).collect();
            json!({"count": names.len(), "names": some})
        };
        json!({
            "created": some(&self.created),
            "updated": some(&self.updated),
            "removed": some(&self.removed),
        })
    }

    pub(super) fn show(&self, dry_run: bool, json: bool) -> anyhow::Result<()> {
        if json {
            return say_json(&json!({
                "dry_run": dry_run,
                "created": self.created,
                "updated": self.updated,
                "removed": self.removed,
                "left": self.left,
                "warnings": self.warnings,
            }));
        }
        for warning in &self.warnings {
            complain_line(&warning.to_string());
        }
        for (word, names) in [
            ("created", &self.created),
            ("updated", &self.updated),
            ("removed", &self.removed),
        ] {
            for name in names {
                say(&format!("{word}  {name}"))?;
            }
        }
        let would = if dry_run { "would be " } else { "" };
        say(&format!(
            "{would}created {}, updated {}, removed {}; {} as before",
            self.created.len(),
            self.updated.len(),
            self.removed.len(),
            self.left,
        ))
    }
}

/// Rules that have the name of one before them.
pub(super) fn repeated(rules: &[FileRule]) -> impl Iterator<Item = &FileRule> {
    let mut seen = HashSet::new();
    rules
        .iter()
        .filter(move |rule| !seen.insert(rule.submission.name()))
}

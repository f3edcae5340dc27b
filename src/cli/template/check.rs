//! `postrider template check`: every sample, in every language, on every channel.

use std::path::PathBuf;

use domain::{TenantId, template_key};
use render::{TemplateBody, TemplateIssue};
use serde_json::{Value, json};
use store::templates::{VersionRef, load_versions};

use super::files::read_all;
use super::{builtins, database, heads};
use crate::cli::output::{say, say_json};
use crate::config::Config;
use crate::templates::issues_of;

/// Texts loaded at once.
const LOADED_AT_ONCE: usize = 50;

/// What was found.
#[derive(Debug, Default)]
struct Report {
    templates: usize,
    problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Debug)]
struct Problem {
    place: String,
    line: Option<usize>,
    detail: String,
}

pub(super) async fn run(
    config: &Config,
    paths: &[PathBuf],
    tenant_id: &TenantId,
    json: bool,
) -> anyhow::Result<bool> {
    let report = if paths.is_empty() {
        check_kept(config, tenant_id).await?
    } else {
        check_files(paths)?
    };
    let is_sound = report.problems.is_empty();
    if json {
        let problems: Vec<Value> = report
            .problems
            .iter()
            .map(|it| json!({"place": it.place, "line": it.line, "detail": it.detail}))
            .collect();
        say_json(&json!({"templates": report.templates, "problems": problems}))?;
        return Ok(is_sound);
    }
    for problem in &report.problems {
        let line = problem.line.map_or_else(String::new, |it| format!(":{it}"));
        say(&format!("{}{line}: {}", problem.place, problem.detail))?;
    }
    let checked = counted(report.templates, "template");
    let found = counted(report.problems.len(), "problem");
    say(&format!("{checked}, {found}"))?;
    Ok(is_sound)
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn check_files(paths: &[PathBuf]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for file in read_all(paths)? {
        report.templates += 1;
        if let Err(errors) = file.check() {
            report
                .problems
                .extend(errors.into_iter().map(|error| Problem {
                    place: error.file,
                    line: Some(error.line),
                    detail: error.detail,
                }));
        }
    }
    Ok(report)
}

/// What ships, and what a tenant has stored, if there is a database.
async fn check_kept(config: &Config, tenant_id: &TenantId) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for template in builtins()?.iter() {
        let place = format!("builtin {}", template.name());
        report.add(&place, template.check());
    }
    let Some(store) = database(config).await? else {
        return Ok(report);
    };
    let mut conn = store.acquire().await?;
    let heads = heads(&mut conn, tenant_id).await?;
    for some in heads.chunks(LOADED_AT_ONCE) {
        let wanted: Vec<_> = some
            .iter()
            .map(|head| VersionRef {
                tenant_id: tenant_id.clone(),
                key: template_key(&head.name),
                version: head.version,
            })
            .collect();
        for stored in load_versions(&mut conn, &wanted).await? {
            let place = format!(
                "stored {} version {}",
                stored.wanted.key, stored.wanted.version
            );
            report.add(&place, issues_in(stored.body));
        }
    }
    Ok(report)
}

fn issues_in(body: Value) -> Vec<TemplateIssue> {
    match TemplateBody::parse(body) {
        Ok(body) => issues_of(&body),
        Err(errors) => errors.into_iter().map(TemplateIssue::from).collect(),
    }
}

impl Report {
    fn add(&mut self, place: &str, issues: Vec<TemplateIssue>) {
        self.templates += 1;
        self.problems
            .extend(issues.into_iter().map(|issue| Problem {
                place: format!("{place}{}", issue.pointer),
                line: issue.line,
                detail: issue.detail,
            }));
    }
}

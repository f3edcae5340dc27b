//! `postrider rules`: the rules there are, and the files they are kept in.

mod apply;
mod file;
mod test;
mod warning;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::SecondsFormat;
use clap::builder::NonEmptyStringValueParser;
use domain::TenantId;
use serde_json::{Value, json};
use store::rules::{StoredRule, list_rules};

use super::output::{complain_line, say, say_json, say_table};
use super::process::connect;
use crate::config::Config;
use file::{FileRule, Problem};
use warning::{Warning, builtin_names, warnings};

/// Rules read from the database at once.
const PAGE_ROWS: i64 = 1000;

/// Problems shown; whoever has more mends these first.
const PROBLEMS_SHOWN_MAX: usize = 50;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the rules of a tenant, newest first.
    List {
        /// Whose rules.
        #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        tenant: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with rules files, each with its line. Needs no database.
    Check {
        /// YAML files with `rules: […]`.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what an event would lead to, and why. Writes nothing and sends nothing.
    Test {
        /// YAML files to try instead of the tenant's rules.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        event: test::Event,
        /// Whose rules, people and templates.
        #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        tenant: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the rules of a tenant what files say, by name: all of them, or none.
    Apply {
        /// YAML files with `rules: […]`.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Whose rules.
        #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        tenant: String,
        /// Remove the rules that came from files and are in none of these. What was written
        /// through the API stays.
        #[arg(long)]
        prune: bool,
        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Checks files, for which nothing has to be configured.
pub(super) fn check(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    match file::read(files) {
        Ok(rules) => {
            // Without a database only those that every tenant has are known.
            let warnings = warnings(&rules, builtin_names()?.as_ref());
            if json {
                let body = json!({"rules": rules.len(), "problems": [], "warnings": warnings});
                say_json(&body)?;
            } else {
                for warning in &warnings {
                    complain_line(&warning.to_string());
                }
                if !warnings.is_empty() {
                    complain_line(
                        "note: only templates that ship are known here; \
                                   `rules apply --dry-run` knows the tenant's own",
                    );
                }
                say(&format!("{} good", count(rules.len(), "rule")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) if json => {
            let problems: Vec<_> = problems.iter().map(Problem::to_value).collect();
            say_json(&json!({"problems": problems}))?;
            Ok(ExitCode::FAILURE)
        }
        Err(problems) => {
            complain(&problems);
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { files, json } => check(&files, json),
        Command::List { tenant, json } => {
            list(config, &tenant.into(), json).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Test {
            files,
            event,
            tenant,
            json,
        } => {
            let rules = match file::read(&files) {
                Ok(rules) => rules,
                Err(problems) => {
                    complain(&problems);
                    return Ok(ExitCode::FAILURE);
                }
            };
            let trial = test::Trial {
                tenant_id: tenant.into(),
                event,
                rules: (!files.is_empty()).then_some(rules),
                json,
            };
            test::run(config, trial).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Apply {
            files,
            tenant,
            prune,
            dry_run,
            json,
        } => {
            let rules = match file::read(&files) {
                Ok(rules) => rules,
                Err(problems) => {
                    complain(&problems);
                    return Ok(ExitCode::FAILURE);
                }
            };
            let order = apply::Order {
                tenant_id: tenant.into(),
                prune,
                dry_run,
            };
            let applied = apply::run(config, &order, &rules).await?;
            applied.show(dry_run, json)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn complain(problems: &[Problem]) {
    for problem in problems.iter().take(PROBLEMS_SHOWN_MAX) {
        complain_line(&problem.to_string());
    }
    let found = count(problems.len(), "problem");
    complain_line(&format!("error: {found}; nothing was changed"));
}

fn count(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

async fn list(config: &Config, tenant_id: &TenantId, json: bool) -> anyhow::Result<()> {
    let store = connect(config, Duration::ZERO).await?;
    let mut connection = store.acquire().await?;
    let mut rules: Vec<StoredRule> = Vec::new();
    loop {
        let before = rules.last().map(|rule| rule.rule_id.as_uuid());
        let page = list_rules(&mut connection, tenant_id, before, PAGE_ROWS)
            .await
            .context("could not list the rules")?;
        let is_last = (page.len() as i64) < PAGE_ROWS;
        rules.extend(page);
        if is_last {
            break;
        }
    }
    if json {
        let rules: Vec<_> = rules.iter().map(in_full).collect();
        return say_json(&rules);
    }
    say_table(
        [
            "NAME",
            "STATE",
            "SPEAKS OF",
            "ACTIONS",
            "VERSION",
            "SOURCE",
            "CHANGED",
        ],
        rules.iter().map(|rule| {
            let body = &rule.body;
            let is_on = body["enabled"].as_bool().unwrap_or(true);
            [
                body["name"].as_str().unwrap_or_default().to_owned(),
                if is_on { "on" } else { "off" }.to_owned(),
                speaks_of(body),
                body["actions"].as_array().map_or(1, Vec::len).to_string(),
                rule.version.to_string(),
                rule.source.as_str().to_owned(),
                rule.updated_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            ]
        }),
    )
}

/// A rule as the API shows it.
fn in_full(rule: &StoredRule) -> Value {
    let mut shown = json!({
        "id": rule.rule_id,
        "version": rule.version,
        "source": rule.source.as_str(),
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
    });
    if let (Some(shown), Some(body)) = (shown.as_object_mut(), rule.body.as_object()) {
        shown.extend(body.clone());
    }
    shown
}

/// What a rule speaks of, in a few words.
fn speaks_of(body: &Value) -> String {
    let names = |key: &str| {
        let names = body[key].as_array()?.iter().filter_map(Value::as_str);
        Some(names.collect::<Vec<_>>().join(","))
    };
    if let Some(schedule) = body.get("schedule") {
        let when = schedule["cron"].as_str().map(str::to_owned);
        let when = when.or_else(|| Some(format!("every {}", schedule["every"].as_str()?)));
        return when.unwrap_or_default();
    }
    let domains = || Some(format!("{}.*", names("domains")?));
    names("event_types").or_else(domains).unwrap_or_else(|| {
        let said = if body.get("when").is_some() {
            "when …"
        } else {
            "any event"
        };
        said.to_owned()
    })
}

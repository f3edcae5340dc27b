//! `postrider rules test`: what an event would lead to, by the rules there are or by files.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{EventSubmission, RuleBook, RuleId, TenantId};
use queue::Clock;
use render::Templates;
use serde_json::Value;
use workers::{Catalog, Rehearsal, rehearse};

use super::file::FileRule;
use crate::api::rehearsal::RehearsalView;
use crate::cli::output::{say, say_json, say_table};
use crate::cli::process::connect;
use crate::config::Config;

/// An event on the command line.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Event {
    /// The event as `POST /v1/events` takes it: JSON, or `@FILE`.
    #[arg(long, value_name = "JSON")]
    event: String,
    /// When it would happen, such as 2026-11-21T03:00:00Z; now, if not given.
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
}

/// What to try.
pub(super) struct Trial {
    pub(super) tenant_id: TenantId,
    pub(super) event: Event,
    /// Instead of the rules there are.
    pub(super) rules: Option<Vec<FileRule>>,
    pub(super) json: bool,
}

pub(super) async fn run(config: &Config, trial: Trial) -> anyhow::Result<()> {
    let event = read(&trial.event.event)?;
    let at = trial.event.at.unwrap_or_else(|| Clock::system().now());
    let store = connect(config, Duration::ZERO).await?;
    let mut connection = store.acquire().await?;
    let builtin = Templates::builtin().context("could not read the built-in templates")?;
    let mut shelf = Catalog::new(builtin).current(&mut connection).await?;
    if let Some(rules) = trial.rules {
        let numbered = rules
            .into_iter()
            .map(|rule| rule.submission.into_rule(RuleId::at(at), 1));
        let book = RuleBook::compile(numbered.collect(), None);
        shelf = shelf.trying(trial.tenant_id.clone(), book).into();
    }
    let rehearsal = rehearse(&mut connection, &shelf, &trial.tenant_id, event, at).await?;
    drop(connection);
    store.close().await;
    if trial.json {
        return say_json(&RehearsalView::of(rehearsal));
    }
    show(&rehearsal)
}

/// Reads the event, judged as one over HTTP would be.
fn read(text: &str) -> anyhow::Result<EventSubmission> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            let path = PathBuf::from(path);
            std::fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?
        }
        None => text.to_owned(),
    };
    let body: Value = serde_json::from_str(&text).context("--event is not JSON")?;
    EventSubmission::parse(body).map_err(|errors| {
        let problems: Vec<String> = errors
            .iter()
            .map(|error| format!("{} {}", error.pointer, error.detail))
            .collect();
        anyhow::anyhow!("the event is not acceptable: {}", problems.join("; "))
    })
}

fn show(rehearsal: &Rehearsal) -> anyhow::Result<()> {
    for step in &rehearsal.trace {
        say(&format!(
            "{:<12} {:<20} {}",
            step.step, step.decision, step.reason
        ))?;
    }
    let rows = rehearsal.notifications.iter().flat_map(|told| {
        told.deliveries.iter().map(|delivery| {
            let due = delivery
                .due_at
                .map(|due| due.to_rfc3339_opts(SecondsFormat::Secs, true));
            [
                told.user_id.to_string(),
                told.rule.clone().unwrap_or_default(),
                told.template.clone().unwrap_or_else(|| "plain".to_owned()),
                told.priority.to_string(),
                delivery.channel.to_string(),
                delivery.status.to_string(),
                due.or_else(|| delivery.error.clone()).unwrap_or_default(),
            ]
        })
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return say("nobody hears of it");
    }
    say("")?;
    let head = [
        "USER",
        "RULE",
        "TEMPLATE",
        "PRIORITY",
        "CHANNEL",
        "STATUS",
        "DUE OR WHY NOT",
    ];
    say_table(head, rows)?;
    if rehearsal.has_more {
        say("there is more than is shown")?;
    }
    Ok(())
}

//! `postrider config`: whether the configuration is usable, and what it is.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Common;
use super::output::{complain_line, say, say_json, say_table};
use super::work::try_providers;
use crate::api::openapi;
use crate::config::{ConfigError, Loaded, page};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say whether the configuration is usable, or everything that is wrong with it.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show every setting with its value and where that comes from; secrets are masked.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the page that documents every setting.
    #[command(hide = true)]
    Page,
    /// Write the description of the API.
    #[command(hide = true)]
    Openapi,
}

pub(super) fn run(command: &Command, common: &Common) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { json } => check(common.load(), *json),
        Command::Show { json } => {
            let mut loaded = common.load()?;
            common.adopt_secrets(&mut loaded);
            show(&loaded, *json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Page => {
            say(page().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Openapi => {
            say(openapi::page().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(loaded: Result<Loaded, ConfigError>, json: bool) -> anyhow::Result<ExitCode> {
    let problems = match loaded {
        // What only shows when a worker puts it together, such as a key that is none.
        Ok(loaded) => match try_providers(&loaded.config) {
            Ok(()) => Vec::new(),
            Err(error) => vec![queue::describe(error.as_ref())],
        },
        Err(error) => error.problems,
    };
    if json {
        say_json(&json!({"usable": problems.is_empty(), "problems": problems}))?;
    } else if problems.is_empty() {
        say("the configuration is usable")?;
    } else {
        for problem in &problems {
            complain_line(problem);
        }
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(loaded: &Loaded, json: bool) -> anyhow::Result<()> {
    let settings = loaded.settings();
    if json {
        let settings: Vec<Value> = settings
            .iter()
            .map(|setting| {
                json!({
                    "setting": setting.path,
                    "value": setting.value,
                    "from": setting.origin.to_string(),
                })
            })
            .collect();
        return say_json(&settings);
    }
    say_table(
        ["SETTING", "VALUE", "FROM"],
        settings.into_iter().map(|setting| {
            [
                setting.path,
                text(&setting.value),
                setting.origin.to_string(),
            ]
        }),
    )
}

/// A value as one cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => entries
            .iter()
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other @ (Value::Bool(_) | Value::Number(_)) => other.to_string(),
    }
}

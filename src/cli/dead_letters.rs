//! `postrider dead-letters`: jobs that gave up, and their second chance.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::ReplayId;
use queue::dead_letter::{self, DeadLetter, DeadLetterFilter};
use queue::{Clock, JobId};
use serde_json::Value;

use super::output::{say, say_json, say_table};
use super::process::connect;
use super::replays::{self, Wish};
use super::work::check_queue;
use crate::config::Config;

/// Most replayed in a second: far more than a database takes.
const RATE_MAX: u32 = 1_000_000;

/// Characters of an error in a table.
const ERROR_CHARS: usize = 60;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters, oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Most to list.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter with every error it met.
    Show {
        /// Its id, as `dead-letters list` shows it.
        id: JobId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let dead letters run again: those named, or all that match.
    Replay {
        /// Their ids, as `dead-letters list` shows them.
        ids: Vec<JobId>,
        #[command(flatten)]
        filter: Filter,
        /// Only say how many it would be.
        #[arg(long)]
        dry_run: bool,
        /// Most per second, such as `50/s`.
        #[arg(long, value_parser = parse_rate, value_name = "N/s")]
        rate: Option<u32>,
        /// Also what has expired meanwhile.
        #[arg(long)]
        include_expired: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a replay and watch it until it is over.
    Watch {
        /// Its id, as `dead-letters replays` shows it.
        id: ReplayId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List replays, newest first, or show one with what became of each dead letter.
    Replays {
        /// Its id.
        id: Option<ReplayId>,
        /// Most to list.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop a replay. What was replayed before stays so.
    CancelReplay {
        /// Its id, as `dead-letters replays` shows it.
        id: ReplayId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only of this queue.
    #[arg(long, value_parser = parse_queue)]
    queue: Option<String>,
    /// Only of this kind of job.
    #[arg(long)]
    kind: Option<String>,
    /// Only those that died at this time or later: `2026-01-31T09:00:00Z`, or `2h` ago.
    #[arg(long, value_parser = parse_time)]
    since: Option<DateTime<Utc>>,
    /// Only those that died before this time.
    #[arg(long, value_parser = parse_time)]
    until: Option<DateTime<Utc>>,
    /// Only those whose last error contains this text.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

impl Filter {
    fn into_queue(self, ids: Vec<JobId>) -> DeadLetterFilter {
        DeadLetterFilter {
            ids: Some(ids).filter(|ids| !ids.is_empty()),
            queue: self.queue,
            kind: self.kind,
            error: self.error,
            since: self.since,
            until: self.until,
        }
    }
}

/// A moment, or how long ago it was.
fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago = humantime::parse_duration(text).ok();
    ago.and_then(|ago| {
        Clock::system()
            .now()
            .checked_sub_signed(TimeDelta::from_std(ago).ok()?)
    })
    .ok_or_else(|| "expected a time such as 2026-01-31T09:00:00Z, or 2h for so long ago".to_owned())
}

fn parse_queue(name: &str) -> Result<String, String> {
    check_queue(name).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|rate| (1..=RATE_MAX).contains(rate))
        .ok_or_else(|| "expected a number per second such as 50/s".to_owned())
}

/// Runs the command; answers whether all was done that was asked for.
pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<bool> {
    let store = connect(config, Duration::ZERO).await?;
    match command {
        Command::List {
            filter,
            limit,
            json,
        } => {
            let filter = filter.into_queue(Vec::new());
            let mut conn = store.acquire().await?;
            let found = dead_letter::list(&mut conn, &filter, None, limit)
                .await
                .context("could not list the dead letters")?;
            list(&found, json)?;
            Ok(true)
        }
        Command::Show { id, json } => {
            let mut conn = store.acquire().await?;
            let found = dead_letter::find(&mut conn, id)
                .await
                .context("could not read the dead letter")?;
            let Some(found) = found else {
                bail!("there is no dead letter {id}; `postrider dead-letters list` shows them");
            };
            if json {
                say_json(&found)?;
            } else {
                say_dead_letter(&found)?;
            }
            Ok(true)
        }
        Command::Replay {
            ids,
            filter,
            dry_run,
            rate,
            include_expired,
            json,
        } => {
            let ids: BTreeSet<JobId> = ids.into_iter().collect();
            let wish = Wish {
                filter: filter.into_queue(ids.into_iter().collect()),
                is_dry_run: dry_run,
                rate,
                include_expired,
                json,
            };
            replays::replay(config, &store, wish).await
        }
        Command::Watch { id, json } => replays::watch(config, &store, id, 0, json).await,
        Command::Replays { id, limit, json } => {
            replays::show(&store, id, limit, json).await?;
            Ok(true)
        }
        Command::CancelReplay { id, json } => {
            replays::stop(&store, id, json).await?;
            Ok(true)
        }
    }
}

fn list(found: &[DeadLetter], json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&found);
    }
    say_table(
        ["ID", "QUEUE", "KIND", "DIED", "REASON", "LAST ERROR"],
        found.iter().map(|letter| {
            [
                letter.job_id.to_string(),
                letter.queue.clone(),
                letter.kind.clone(),
                letter.died_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                letter.reason.clone(),
                letter.last_error().chars().take(ERROR_CHARS).collect(),
            ]
        }),
    )
}

/// Writes one dead letter with all its errors.
pub(super) fn say_dead_letter(letter: &DeadLetter) -> anyhow::Result<()> {
    say(&format!(
        "{} {} on {}",
        letter.job_id, letter.kind, letter.queue
    ))?;
    say("state     dead")?;
    say(&format!("reason    {}", letter.reason))?;
    say(&format!(
        "enqueued  {}",
        letter
            .enqueued_at
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    ))?;
    say(&format!(
        "died      {}",
        letter.died_at.to_rfc3339_opts(SecondsFormat::Millis, true)
    ))?;
    say(&format!("payload   {}", letter.payload))?;
    say_errors(&letter.errors)
}

/// Writes the errors of a job, oldest first.
pub(super) fn say_errors(errors: &Value) -> anyhow::Result<()> {
    let errors = errors.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, field: &str| match &entry[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    say_table(
        ["ATTEMPT", "AT", "ERROR"],
        errors
            .iter()
            .map(|entry| ["attempt", "at", "error"].map(|field| text(entry, field))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_per_second() {
        assert_eq!(parse_rate("50/s"), Ok(50));
        assert_eq!(parse_rate("50"), Ok(50));
        assert!(parse_rate("0/s").is_err());
        assert!(parse_rate("fast").is_err());
    }

    #[test]
    fn a_time_is_a_moment_or_so_long_ago() {
        let moment = "2026-01-31T10:00:00+01:00";
        let utc: DateTime<Utc> = "2026-01-31T09:00:00Z".parse().unwrap();
        assert_eq!(parse_time(moment), Ok(utc));

        let before = Clock::system().now();
        let ago = parse_time("2h").unwrap() + TimeDelta::hours(2);
        assert!((before..=Clock::system().now()).contains(&ago));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("9999999999999d").is_err());
    }
}

//! `postrider jobs`: one job, wherever it is by now, and the end of one that waits.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use queue::control::{self, Cancelled, OpenJob};
use queue::{Clock, JobId, dead_letter};
use serde_json::json;
use store::Store;

use super::dead_letters::{say_dead_letter, say_errors};
use super::output::{say, say_json};
use super::process::connect;
use super::signature::sign;
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show a job: where it stands, who runs it, what went wrong so far.
    Show {
        /// Its id, as logs, `dead-letters list` and deliveries name it.
        id: JobId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job that waits, and the delivery or direct send it is about.
    Cancel {
        /// Its id.
        id: JobId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let store = connect(config, Duration::ZERO).await?;
    match command {
        Command::Show { id, json } => show(&store, id, json).await,
        Command::Cancel { id, json } => cancel(&store, id, json).await,
    }
}

async fn show(store: &Store, id: JobId, json: bool) -> anyhow::Result<()> {
    let mut db = store.acquire().await?;
    let open = control::find_job(&mut db, id)
        .await
        .context("could not read the job")?;
    if let Some(job) = open {
        return if json { say_json(&job) } else { say_job(&job) };
    }
    let dead = dead_letter::find(&mut db, id)
        .await
        .context("could not read the dead letters")?;
    match dead {
        Some(letter) if json => {
            let mut value = serde_json::to_value(&letter).context("could not write JSON")?;
            // So that whoever asks for a job is told its state in any case.
            value["state"] = json!("dead");
            say_json(&value)
        }
        Some(letter) => say_dead_letter(&letter),
        None => bail!(gone(id)),
    }
}

/// What can be said of a job without a row.
fn gone(id: JobId) -> String {
    let made = id
        .as_uuid()
        .get_timestamp()
        .and_then(|made| {
            let (seconds, nanos) = made.to_unix();
            DateTime::<Utc>::from_timestamp(seconds.cast_signed(), nanos)
        })
        .map_or_else(String::new, |made| {
            let made = made.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!(", whose id was made at {made}")
        });
    format!(
        "there is no job {id}{made}: a job that has ended leaves no row, so it is done or \
         cancelled, or never was; the trace of its notification says which"
    )
}

fn say_job(job: &OpenJob) -> anyhow::Result<()> {
    let at = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    say(&format!("{} {} on {}", job.job_id, job.kind, job.queue))?;
    say(&format!("state     {}", job.state))?;
    if let Some(claimed_at) = job.claimed_at {
        let holder = match (&job.node, job.pid) {
            (Some(node), Some(pid)) => format!("`{node}` (process {pid})"),
            _ => "a process that is gone; another one is taking over".to_owned(),
        };
        say(&format!("held by   {holder} since {}", at(claimed_at)))?;
    } else {
        say(&format!("due       {}", at(job.run_at)))?;
    }
    say(&format!("enqueued  {}", at(job.enqueued_at)))?;
    say(&format!(
        "attempt   {}, {} of {} failed, {} crashed",
        job.attempt, job.failures, job.max_attempts, job.crashes
    ))?;
    say(&format!("payload   {}", job.payload))?;
    match &job.errors {
        Some(errors) => say_errors(errors),
        None => Ok(()),
    }
}

async fn cancel(store: &Store, id: JobId, json: bool) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    let cancelled = workers::cancel(&mut tx, id, Clock::system().now()).await?;
    if cancelled == Cancelled::Done {
        sign(&mut tx, "job.cancelled", &id.to_string(), None).await?;
        tx.commit().await?;
    }
    match cancelled {
        Cancelled::Done if json => say_json(&json!({"id": id, "status": "cancelled"})),
        Cancelled::Done => say("cancelled"),
        Cancelled::Running => bail!(
            "job {id} runs at this moment, and what it sends cannot be taken back; \
             `postrider jobs show {id}` says who runs it"
        ),
        Cancelled::Absent => {
            let mut db = store.acquire().await?;
            let dead = dead_letter::find(&mut db, id)
                .await
                .context("could not read the dead letters")?;
            match dead {
                Some(_) => bail!(
                    "job {id} is a dead letter, which nobody runs; there is nothing to cancel"
                ),
                None => bail!(gone(id)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_a_row_still_says_when_it_was_made() {
        let made = DateTime::from_timestamp(1_800_000_000, 0).unwrap();

        let text = gone(JobId::at(made));

        assert!(text.contains("made at 2027-01-15T08:00:00Z"), "{text}");
    }
}

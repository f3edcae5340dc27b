//! `postrider queues`: what waits where, and the switch of each queue.

use std::time::Duration;

use anyhow::Context;
use chrono::SecondsFormat;
use queue::inspect::QueueDepth;
use queue::{Bell, Database};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::output::{say, say_json, say_table};
use super::process::{connect, database};
use super::signature::sign;
use super::work::check_queue;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    switch: Option<Switch>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Switch {
    /// Stop claiming from a queue, on every node. What runs goes on.
    Pause {
        /// The queue's name.
        name: String,
    },
    /// Claim from a queue again.
    Resume {
        /// The queue's name.
        name: String,
    },
}

pub(super) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    let store = connect(config, Duration::ZERO).await?;
    let mut tx = store.begin().await?;
    match args.switch {
        Some(Switch::Pause { name }) => {
            check_queue(&name)?;
            queue::control::pause(&mut tx, &name, None)
                .await
                .context("could not pause the queue")?;
            sign(&mut tx, "queue.paused", &name, None).await?;
            tx.commit().await?;
            say_switch(&name, "paused", args.json)
        }
        Some(Switch::Resume { name }) => {
            check_queue(&name)?;
            queue::control::resume(&mut tx, &name)
                .await
                .context("could not resume the queue")?;
            sign(&mut tx, "queue.resumed", &name, None).await?;
            tx.commit().await?;
            wake(database(config)?, [name.as_str()]).await;
            say_switch(&name, "runs", args.json)
        }
        None => {
            let depths = queue::inspect::depths(&mut tx, None)
                .await
                .context("could not look at the queues")?;
            list(depths, args.json)
        }
    }
}

fn say_switch(name: &str, state: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&json!({"queue": name, "state": state}));
    }
    say(&format!("{name}: {state}"))
}

/// Tells workers that these queues have news, which only saves them a poll.
pub(super) async fn wake(database: Database, queues: impl IntoIterator<Item = &str>) {
    let bell = Bell::new();
    for queue in queues {
        bell.ring(queue::JOBS_AVAILABLE, queue);
    }
    let stop = CancellationToken::new();
    stop.cancel();
    bell.run(database, stop).await;
}

/// Shows every queue there is, also the empty ones.
fn list(depths: Vec<QueueDepth>, json: bool) -> anyhow::Result<()> {
    let depths = QueueDepth::of_all(workers::queues::all(), depths);
    if json {
        return say_json(&depths);
    }
    say_table(
        [
            "QUEUE",
            "AVAILABLE",
            "SCHEDULED",
            "RUNNING",
            "OLDEST (S)",
            "STATE",
        ],
        depths.into_iter().map(|depth| {
            [
                depth.queue,
                depth.available.to_string(),
                depth.scheduled.to_string(),
                depth.running.to_string(),
                format!("{:.1}", depth.oldest_available_seconds),
                match depth.paused_at {
                    Some(at) => format!("paused {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
                    None => "runs".to_owned(),
                },
            ]
        }),
    )
}

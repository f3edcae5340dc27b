//! `postrider work`: a process that works on jobs.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use queue::QueueConfig;
use tracing::info;
use workers::{Context, Parts, Running, WorkerLimits};

use super::process::Process;
use crate::config::Config;
use crate::shutdown::Lifetime;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Work on these queues only; several are separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    queues: Vec<String>,
}

pub(super) async fn run(mut config: Config, args: Args) -> anyhow::Result<()> {
    let lifetime = Lifetime::default();
    lifetime
        .stop_on_signal()
        .context("could not listen for signals")?;
    if !args.queues.is_empty() {
        config.work.queues = args.queues;
    }
    let grace = config.shutdown.grace;
    let mut process = Process::open(config, lifetime.clone()).await?;
    let templates = Arc::clone(&process.templates);
    let context = Context::in_app_only(templates, process.clock.clone());
    let running = start(&mut process, context)?;
    let store = process.start_ground();
    info!("working");

    lifetime.stopping.cancelled().await;
    lifetime.stop(grace, running.stop(grace)).await;
    store.close().await;
    Ok(())
}

/// Starts the workers of `process` on its configured queues; `context` says who carries the channels.
pub(super) fn start(process: &mut Process, context: Context) -> anyhow::Result<Running> {
    let config = &process.config.work;
    for queue in &config.queues {
        check_queue(queue)?;
    }
    let metrics =
        queue::Metrics::register(&process.registry).context("could not register the metrics")?;
    Ok(workers::start(Parts {
        database: process.database.clone(),
        store: process.store.clone(),
        context,
        clock: process.clock.clone(),
        bell: process.bell.clone(),
        heard: Some(process.listener.subscribe(queue::JOBS_AVAILABLE)),
        queue: QueueConfig {
            node: config.node.clone(),
            ..QueueConfig::default()
        },
        limits: WorkerLimits {
            concurrency: config.concurrency,
            overrides: config.overrides(),
        },
        queues: config.queues.clone(),
        metrics,
    }))
}

/// Refuses a queue that no worker serves: a typing error would wait for ever.
pub(super) fn check_queue(queue: &str) -> anyhow::Result<()> {
    if workers::queues::all().any(|known| known == queue) {
        return Ok(());
    }
    let known: Vec<_> = workers::queues::all().collect();
    bail!(
        "there is no queue `{queue}`; there are {}",
        known.join(", ")
    )
}

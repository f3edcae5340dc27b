//! `postrider work`: a process that works on jobs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use queue::{Clock, QueueConfig};
use render::Templates;
use tracing::info;
use workers::providers::{Secret, SmtpConfig, SmtpTimeouts, SmtpUrlError, WebhookConfig};
use workers::{Catalog, Context, DeliveryMetrics, Parts, Providers, Running, WorkerLimits};

use super::process::Process;
use super::serve::bind;
use crate::config::{Config, WebhookConfig as WebhookSettings};
use crate::health::Examiner;
use crate::lookout::{self, Lookout};
use crate::server;
use crate::shutdown::Lifetime;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Work on these queues only; several are separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    queues: Vec<String>,
    /// Answer `/health` and `/metrics` at this address.
    #[arg(long, value_name = "HOST:PORT")]
    metrics_listen: Option<SocketAddr>,
}

pub(super) async fn run(mut config: Config, args: Args) -> anyhow::Result<()> {
    let lifetime = Lifetime::default();
    lifetime
        .stop_on_signal(Duration::ZERO)
        .context("could not listen for signals")?;
    if !args.queues.is_empty() {
        config.work.queues = args.queues;
    }
    if args.metrics_listen.is_some() {
        config.work.metrics_listen = args.metrics_listen;
    }
    let watched = match config.work.metrics_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let grace = config.shutdown.grace;
    let mut process = Process::open(config, lifetime.clone()).await?;
    let running = start(&mut process)?;
    if let Some(listener) = watched {
        let address = listener.local_addr().context("could not see the address")?;
        let watching = server::watch(lookout(&process), &process.config.http, &lifetime, listener);
        lifetime.requests.spawn(watching);
        info!(%address, "answering /health and /metrics");
    }
    let store = process.start_ground();
    info!("working");

    lifetime.stopping.cancelled().await;
    lifetime.stop(grace, running.stop(grace)).await;
    store.close().await;
    Ok(())
}

/// Starts the workers of `process` on its configured queues.
pub(super) fn start(process: &mut Process) -> anyhow::Result<Running> {
    let config = &process.config;
    for queue in &config.work.queues {
        check_queue(queue)?;
    }
    let counting = DeliveryMetrics::register(&process.registry, config.metrics.legacy_names)
        .context("could not register the metrics")?;
    let context = context(config, &process.catalog, &process.clock)?.counting(counting);
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
            node: config.work.node.clone(),
            ..QueueConfig::default()
        },
        limits: WorkerLimits {
            concurrency: config.work.concurrency,
            overrides: config.work.overrides(),
        },
        queues: config.work.queues.clone(),
        metrics,
    }))
}

/// What is told about a process that only works.
fn lookout(process: &Process) -> axum::Router {
    let examiner = Examiner::new(
        &process.config,
        process.store.clone(),
        process.clock.clone(),
        process.hearing(),
        process.lifetime.clone(),
    );
    lookout::router(Lookout {
        store: process.store.clone(),
        registry: process.registry.clone(),
        examiner: Arc::new(examiner),
    })
}

/// What the handlers share: above all, who carries which channel.
fn context(config: &Config, catalog: &Catalog, clock: &Clock) -> anyhow::Result<Context> {
    let context = Context::try_new(catalog.clone(), providers(config)?, clock.clone())
        .context("could not set up the channels")?;
    let limits = store::settlement::Limits {
        unread_max: config.inbox.unread_max,
    };
    let context = context.retrying(config.retry_policies()).within(limits);
    Ok(context.branded(config.brand()))
}

/// Sets up the channels as a worker would at its start, and lets go of them. Nothing is connected.
pub(super) fn try_providers(config: &Config) -> anyhow::Result<()> {
    let templates = Templates::builtin().context("could not read the built-in templates")?;
    context(config, &Catalog::new(templates), &Clock::system()).map(drop)
}

/// The configured providers.
fn providers(config: &Config) -> anyhow::Result<Providers> {
    let smtp = config.smtp.url.as_ref().map(|url| {
        let smtp = &config.smtp;
        Ok::<_, SmtpUrlError>(SmtpConfig {
            from: smtp.from.clone(),
            hello_name: smtp.hello.clone(),
            connections_max: smtp.connections_max,
            timeouts: SmtpTimeouts {
                answer: smtp.timeout,
                ..SmtpTimeouts::default()
            },
            ..SmtpConfig::parse(url.reveal())?
        })
    });
    Ok(Providers {
        smtp: smtp.transpose()?,
        webhook: Some(webhook(&config.webhook)?),
        has_outbox: config.work.outbox,
    })
}

fn webhook(webhook: &WebhookSettings) -> anyhow::Result<WebhookConfig> {
    let secret = |secret: &crate::config::Secret| Secret::new(secret.reveal());
    let secrets = webhook
        .secret
        .as_ref()
        .map_or("", |secrets| secrets.reveal());
    let allow_cidrs = webhook.allow_cidrs.iter().map(|cidr| {
        cidr.parse()
            .with_context(|| format!("webhook.allow_cidrs has {cidr}, which is no network"))
    });
    Ok(WebhookConfig {
        secrets: secrets
            .split([' ', ','])
            .filter(|secret| !secret.is_empty())
            .map(Secret::new)
            .collect(),
        allow_cidrs: allow_cidrs.collect::<anyhow::Result<_>>()?,
        timeout: webhook.timeout,
        headers: webhook
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), secret(value)))
            .collect(),
        bearer: webhook.bearer.as_ref().map(secret),
        api_key: webhook
            .api_key
            .as_ref()
            .map(|key| (webhook.api_key_header.clone(), secret(key))),
        ..WebhookConfig::default()
    })
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

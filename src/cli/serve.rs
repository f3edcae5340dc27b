//! `postrider serve`: the API and the live feed.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tracing::info;
use workers::DeliveryMetrics;

use super::process::{Process, ensure_admin_key};
use crate::config::Config;
use crate::server;
use crate::shutdown::Lifetime;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address to listen on; wins over `PORT` and the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(config: Config, args: Args) -> anyhow::Result<()> {
    let lifetime = Lifetime::default();
    lifetime
        .stop_on_signal(config.shutdown.drain)
        .context("could not listen for signals")?;
    let listener = bind(args.listen.unwrap_or(config.http.listen)).await?;
    let address = listener.local_addr().context("could not see the address")?;
    let grace = config.shutdown.grace;

    let mut process = Process::open(config, lifetime.clone()).await?;
    if let Some(key) = &process.config.auth.bootstrap_api_key {
        ensure_admin_key(&process.store, key, &process.clock).await?;
    }
    // A front alone delivers nothing. A dashboard that looks for the names finds them, at zero.
    DeliveryMetrics::register(&process.registry, process.config.metrics.legacy_names)
        .context("could not register the metrics")?;
    let app = process.start_front()?;
    let store = process.start_ground();
    lifetime.requests.spawn(server::run(app, listener));
    info!(%address, "serving");

    lifetime.stopping.cancelled().await;
    lifetime.stop(grace, std::future::ready(())).await;
    store.close().await;
    Ok(())
}

/// Takes the address, or says who may have it.
pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "could not listen on {address}; stop what listens there, or choose another --listen"
        )
    })
}

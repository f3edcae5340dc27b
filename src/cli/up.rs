//! `postrider up`: everything in one process, from nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use domain::{TenantId, UserId};
use queue::Clock;
use tracing::info;

use super::Common;
use super::output::say;
use super::process::{Process, ensure_admin_key};
use super::serve::bind;
use super::work;
use crate::api::token::issue_token_for;
use crate::config::{Config, Secret};
use crate::keys::KEY_PREFIX;
use crate::server;
use crate::shutdown::Lifetime;
use crate::up::{DataDir, PrivatePostgres};

/// How long the printed user token is valid.
const TOKEN_TTL: Duration = Duration::from_hours(24);

/// The user of the printed examples.
const EXAMPLE_USER: &str = "demo";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address to listen on; wins over `PORT` and the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(mut config: Config, common: &Common, args: Args) -> anyhow::Result<()> {
    let lifetime = Lifetime::default();
    lifetime
        .stop_on_signal(config.shutdown.drain)
        .context("could not listen for signals")?;
    if let Some(listen) = args.listen {
        config.http.listen = listen;
    }
    // Whoever tries it out has a page of their own running beside it.
    config.cors.localhost = true;
    let data_dir = DataDir::open(&common.data_dir)?;
    if config.auth.jwt_secret.is_none() {
        config.auth.jwt_secret = Some(data_dir.secret("jwt_secret", "")?);
    }
    let api_key = match config.auth.bootstrap_api_key.clone() {
        Some(key) => key,
        None => data_dir.secret("api_key", KEY_PREFIX)?,
    };
    if config.database.url.is_some() {
        return Box::pin(run_on(config, api_key, lifetime)).await;
    }

    let mut postgres = PrivatePostgres::start(&data_dir).await?;
    config.database.url = Some(postgres.url().clone());
    let running = Box::pin(run_on(config, api_key, lifetime));
    let result = tokio::select! {
        result = running => result,
        error = postgres.died() => Err(error),
    };
    postgres.stop().await?;
    result
}

/// Runs everything on the configured database until told to stop.
async fn run_on(config: Config, api_key: Secret, lifetime: Lifetime) -> anyhow::Result<()> {
    let listener = bind(config.http.listen).await?;
    let address = listener.local_addr().context("could not see the address")?;
    let grace = config.shutdown.grace;
    let banner = banner(address, &config, &api_key)?;

    let mut process = Process::open(config, lifetime.clone()).await?;
    // Nobody's message leaves a first try: what has no provider goes to the outbox.
    process.config.work.outbox = true;
    process
        .store
        .migrate(process.clock.now())
        .await
        .context("could not migrate the database")?;
    ensure_admin_key(&process.store, &api_key, &process.clock).await?;
    let workers = work::start(&mut process)?;
    let app = process.start_front()?;
    let store = process.start_ground();
    lifetime.requests.spawn(server::run(app, listener));
    info!(%address, "up");
    say(&banner)?;

    lifetime.stopping.cancelled().await;
    lifetime.stop(grace, workers.stop(grace)).await;
    store.close().await;
    Ok(())
}

/// What a person needs to see the first notification arrive.
fn banner(address: SocketAddr, config: &Config, api_key: &Secret) -> anyhow::Result<String> {
    // A wildcard address is not one that can be pasted.
    let host = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    let token = issue_token_for(
        &config.auth,
        &TenantId::default(),
        &UserId::from(EXAMPLE_USER),
        Clock::system().now(),
        TOKEN_TTL,
    )?;
    let api_key = api_key.reveal();
    Ok(format!(
        "
Postrider is up.

  Console     http://{host}/console
              (sign in with the API key below)
  API         http://{host}/v1
  Reference   http://{host}/docs
  Health      http://{host}/health
  Metrics     http://{host}/metrics
  API key     {api_key}
  User token  {token}
              (user `{EXAMPLE_USER}`, valid for a day)

See the inbox of `{EXAMPLE_USER}` in a browser:

  http://{host}/web/#token={token}

or watch the feed itself:

  npx wscat -c 'ws://{host}/v1/ws' -s postrider.v1 -s 'bearer.{token}'

and in another terminal send an event:

  curl -X POST http://{host}/v1/events \\
    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\
    -d '{{\"type\":\"order.filled\",\"payload\":{{\"user_id\":\"{EXAMPLE_USER}\",\"order_id\":\"A-17\"}}}}'

Ctrl-C stops it; the data stays.
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_can_be_pasted_from_whatever_the_address() {
        let mut config = Config::default();
        config.auth.jwt_secret = Some(Secret::new("s"));
        let key = Secret::new("pr_1");

        let text = banner("0.0.0.0:8003".parse().unwrap(), &config, &key).unwrap();
        assert!(text.contains("curl -X POST http://localhost:8003/v1/events"));
        assert!(text.contains("http://localhost:8003/console\n"));
        let text = banner("[::1]:8003".parse().unwrap(), &config, &key).unwrap();
        assert!(text.contains("ws://[::1]:8003/v1/ws"));
    }
}

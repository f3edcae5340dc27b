//! The processes of a pipeline run: `serve` and `work`, as a Procfile would start them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::load::Client;

/// How long a process may take to answer its first request.
const START_MAX: Duration = Duration::from_secs(30);

/// A child that ends with us.
pub(super) struct Role {
    child: Child,
    name: &'static str,
}

impl Role {
    /// Starts `postrider NAME ARGS…` on `database_url`.
    pub(super) fn start(
        name: &'static str,
        args: &[&str],
        database_url: &str,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program")?;
        let child = Command::new(program)
            .arg(name)
            .args(args)
            .env("DATABASE_URL", database_url)
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start postrider {name}"))?;
        Ok(Self { child, name })
    }

    /// Its process, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most memory the process has had resident, in bytes; `None` where the system does not
    /// tell.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Fails if the process has ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("postrider {} ended: {status}", self.name);
        }
        Ok(())
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("could not stop {}", self.name))
    }
}

/// A loopback address nobody listens on.
pub(super) async fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}

/// Waits until the API at `address` answers.
pub(super) async fn wait_for(
    address: SocketAddr,
    api_key: &str,
    serve: &mut Role,
) -> anyhow::Result<()> {
    let answered = async {
        loop {
            serve.check()?;
            if let Ok(mut client) = Client::connect(address, api_key).await
                && client
                    .send(Method::GET, "/health", String::new())
                    .await
                    .is_ok()
            {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START_MAX, answered)
        .await
        .context("the API does not answer")?
}

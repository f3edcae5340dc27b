//! The private Postgres of `up`: made once, started each time, stopped last.
//!
//! It listens on a free loopback port with a password that only this machine's owner can read, and
//! opens no Unix socket, whose path could be too long. It is as durable as any Postgres and only
//! smaller. It runs in its own process group, so that Ctrl-C reaches `up` first and Postgres last.
//!
//! When `up` was killed, its Postgres may still run; the next start stops it in an orderly way. A
//! pid file whose process is something else by now is removed.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::process::Child;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::binaries::Binaries;
use super::owner::Owner;
use super::pid_file::PidFile;
use super::{DataDir, home, kept_secret, read_secret, write_private};
use crate::config::Secret;

/// The superuser of the private cluster.
const USER: &str = "postrider";

/// How long a start may take: after a crash there is a write-ahead log to replay.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a clean stop may take before the server is killed, which loses nothing either.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts tried: another process may take the port between choosing it and listening on it.
const STARTS_MAX: u32 = 3;

/// Small and durable. `up` should be light; who needs more brings a Postgres of their own.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=32MB",
    "max_connections=60",
    "max_wal_size=512MB",
    "max_logical_replication_workers=0",
    "log_min_messages=warning",
    // Details of an error quote the rows it is about.
    "log_error_verbosity=terse",
    "jit=off",
];

/// A running private Postgres.
#[derive(Debug)]
pub struct PrivatePostgres {
    cluster: Cluster,
    child: Child,
    url: Secret,
}

/// Where the cluster is, and who runs it with what.
#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    log: PathBuf,
    binaries: Binaries,
    owner: Option<Owner>,
}

impl PrivatePostgres {
    /// Starts the cluster of `data_dir`, making it on the first start.
    pub async fn start(data_dir: &DataDir) -> anyhow::Result<Self> {
        let owner = Owner::for_us(data_dir.path())?;
        let home = home::find(data_dir, owner.as_ref())?;
        let password = kept_secret(&home, "postgres_password", "")?;
        let cluster = Cluster::open(&home, owner, &password).await?;
        cluster.stop_leftover().await?;

        let mut port = port_of(read_secret(data_dir.path(), "database_url").as_ref());
        for start in 1.. {
            let chosen = free_port(port)?;
            let mut child = cluster.spawn(chosen)?;
            match cluster.wait_until_ready(&mut child).await {
                Ok(()) => {
                    let url = Secret::new(format!(
                        "postgres://{USER}:{}@127.0.0.1:{chosen}/postgres",
                        password.reveal()
                    ));
                    data_dir.write_database_url(&url)?;
                    info!(port = chosen, "private postgres started");
                    return Ok(Self {
                        cluster,
                        child,
                        url,
                    });
                }
                Err(error) if start < STARTS_MAX => {
                    warn!(
                        error = format!("{error:#}"),
                        "private postgres did not start"
                    );
                    port = None;
                    sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last start returns")
    }

    /// How to reach it.
    pub fn url(&self) -> &Secret {
        &self.url
    }

    /// Ends when the server ends by itself, which it should not.
    pub async fn died(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => self
                .cluster
                .explain(&format!("the private Postgres ended: {status}")),
            Err(error) => anyhow!(error).context("could not watch the private Postgres"),
        }
    }

    /// Stops it: connections are closed, everything is on disk afterwards.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let asked = self.cluster.ask_to_stop().await;
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
        if asked.is_err() || ended.is_err() {
            warn!("private postgres did not stop in time and is killed");
            self.child
                .kill()
                .await
                .context("could not stop the private Postgres")?;
        }
        info!("private postgres stopped");
        Ok(())
    }
}

impl Cluster {
    async fn open(home: &Path, owner: Option<Owner>, password: &Secret) -> anyhow::Result<Self> {
        let dir = home.join("postgres");
        let log = home.join("postgres.log");
        let version = std::fs::read_to_string(dir.join("PG_VERSION")).ok();
        let major = version.as_deref().and_then(|text| text.trim().parse().ok());
        let binaries = Binaries::find(major)?;
        if let Some(owner) = &owner {
            owner.check_can_reach(&binaries.path("postgres"))?;
        }
        let cluster = Self {
            dir,
            log,
            binaries,
            owner,
        };
        if major.is_none() {
            cluster.init(home, password).await?;
        } else if let Some(owner) = &cluster.owner
            && !owner.owns(&cluster.dir)
        {
            owner
                .give(&cluster.dir)
                .context("could not give the cluster to its user")?;
        }
        Ok(cluster)
    }

    /// Makes the cluster beside its place and moves it there, so that a half-made one never counts.
    async fn init(&self, home: &Path, password: &Secret) -> anyhow::Result<()> {
        info!("making a private postgres");
        let unfinished = home.join("postgres.new");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).context("could not remove a half-made cluster")?;
        }
        std::fs::create_dir(&unfinished).context("could not make the cluster's directory")?;
        let password_file = home.join("postgres_password.init");
        write_private(&password_file, password.reveal())?;
        if let Some(owner) = &self.owner {
            owner
                .give(&unfinished)
                .context("could not give the cluster to its user")?;
            owner
                .give(&password_file)
                .context("could not give the password to its user")?;
        }

        let mut command = self.command("initdb");
        command
            .args(["--encoding=UTF8", "--no-locale", "--auth=scram-sha-256"])
            .arg(format!("--username={USER}"))
            .arg(format!("--pwfile={}", password_file.display()))
            .arg("-D")
            .arg(&unfinished);
        let output = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .output()
            .await
            .context("could not run initdb")?;
        std::fs::remove_file(&password_file).context("could not remove the password file")?;
        if !output.status.success() {
            bail!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        std::fs::rename(&unfinished, &self.dir).context("could not move the cluster in place")
    }

    /// A command of the server, run by the right user from a directory that user can be in.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.path(name));
        command
            .current_dir("/")
            .env("LC_ALL", "C")
            .env_remove("PGDATA");
        if let Some(owner) = &self.owner {
            owner.lend(&mut command);
        }
        command
    }

    fn spawn(&self, port: u16) -> anyhow::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.log)
            .with_context(|| format!("could not write {}", self.log.display()))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&self.dir)
            .args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("could not share the log file")?)
            .stderr(log);
        tokio::process::Command::from(command)
            .spawn()
            .context("could not start Postgres")
    }

    /// Waits until the server says in its pid file that it takes connections, as `pg_ctl` does.
    async fn wait_until_ready(&self, child: &mut Child) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().context("could not watch Postgres")? {
                return Err(self.explain(&format!("Postgres did not start: {status}")));
            }
            if let Some(file) = PidFile::read(&self.dir)
                && Some(file.pid) == child.id()
                && file.is_ready
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        child.kill().await.context("could not stop Postgres")?;
        Err(self.explain("Postgres did not start in time"))
    }

    /// Stops what an `up` that was killed has left running.
    async fn stop_leftover(&self) -> anyhow::Result<()> {
        let Some(file) = PidFile::read(&self.dir) else {
            return Ok(());
        };
        if file.is_gone() {
            // Postgres deals with its own stale file, and knows better than we whether a child of
            // the dead server still has the data in hand.
            return Ok(());
        }
        if !file.is_server_of(&self.dir) {
            info!("removing a pid file whose number another program has got");
            return std::fs::remove_file(self.dir.join("postmaster.pid"))
                .context("could not remove a stale postmaster.pid");
        }
        info!(
            pid = file.pid,
            "stopping the private postgres of an earlier run"
        );
        self.ask_to_stop()
            .await
            .context("could not stop the Postgres of an earlier run")
    }

    /// Asks the server to stop and waits until it has.
    async fn ask_to_stop(&self) -> anyhow::Result<()> {
        let mut command = self.command("pg_ctl");
        command
            .args(["stop", "--mode=fast", "--silent", "--wait"])
            .arg(format!("--timeout={}", STOP_TIMEOUT.as_secs()))
            .arg("-D")
            .arg(&self.dir);
        let output = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .output()
            .await
            .context("could not run pg_ctl")?;
        if output.status.success() {
            return Ok(());
        }
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim())
    }

    /// `what` with the last thing the server said.
    fn explain(&self, what: &str) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = log
            .lines()
            .rfind(|line| line.contains("FATAL") || line.contains("PANIC"));
        let said = said.or(log.lines().last()).unwrap_or("it said nothing");
        anyhow!("{what} ({said}; more in {})", self.log.display())
    }
}

/// The port of an address that we wrote ourselves.
fn port_of(url: Option<&Secret>) -> Option<u16> {
    let (_, address) = url?.reveal().rsplit_once('@')?;
    let (_, rest) = address.split_once(':')?;
    rest.split('/').next()?.parse().ok()
}

/// `wanted` if nobody listens there, so that the address stays; else any free port.
fn free_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    let listener = wanted
        .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)
        .context("there is no free port on 127.0.0.1")?;
    Ok(listener
        .local_addr()
        .context("could not see which port is free")?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_kept_while_it_is_free() {
        let url = Secret::new("postgres://postrider:s@127.0.0.1:54321/postgres");
        assert_eq!(port_of(Some(&url)), Some(54321));

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(Some(port)).unwrap(), port);
        drop(taken);
        assert_eq!(free_port(Some(port)).unwrap(), port);
    }
}

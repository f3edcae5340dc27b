//! The processes of a deployment, each as a Procfile would start it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::eventually;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The admin key that exists from the start.
pub(crate) const API_KEY: &str = "pr_of_the_crash_tests";

/// What user tokens are signed with.
pub(crate) const JWT_SECRET: &str = "the secret of the crash tests";

/// How long a process may take until it answers, on a machine that does other things as well.
const START_MAX: Duration = Duration::from_secs(30);

/// One process, which can be killed and started again as it was.
pub(crate) struct Role {
    name: String,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Role {
    /// Prepares `postrider ARGUMENTS…`; what it logs goes to `dir`.
    pub(crate) fn new(name: &str, arguments: &[&str], dir: &Path) -> Self {
        let role = Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            settings: Vec::new(),
            log: dir.join(format!("{name}.log")),
            child: None,
        };
        role.set("JWT_SECRET", JWT_SECRET)
            .set("POSTRIDER_BOOTSTRAP_API_KEY", API_KEY)
            // The private cluster is small, and a killed process's sessions end a little later.
            .set("POSTRIDER__DATABASE__CONNECTIONS_MAX", "6")
            .set("POSTRIDER__LOG__FORMAT", "json")
    }

    /// Sets an environment variable of the process.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        for inherited in ["DATABASE_URL", "DATABASE_DIRECT_URL", "NATS_URL", "PORT"] {
            command.env_remove(inherited);
        }
        let child = command
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn started(mut self) -> Self {
        self.start();
        self
    }

    /// As `queue.workers` names it.
    pub(crate) fn pid(&self) -> i32 {
        let pid = self.child.as_ref().and_then(Child::id);
        pid.expect("the process runs").cast_signed()
    }

    /// SIGKILL: it dies where it stands.
    pub(crate) async fn kill(&mut self) {
        self.assert_runs();
        let mut child = self.child.take().expect("it runs");
        child.kill().await.unwrap();
    }

    /// Sends `INT` or `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(sent.await.unwrap().success());
    }

    /// Waits for the process to end by itself; it must within `limit`.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the process was started");
        let ended = timeout(limit, child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("{} does not end within {limit:?}", self.name))
            .unwrap()
    }

    /// How the process ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the process was started");
        child.try_wait().unwrap()
    }

    /// A process of a deployment outlives whatever happens around it.
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.has_ended();
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name);
    }

    /// All it has logged so far.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// Brings the schema up to date, as a release does before anything starts.
pub(crate) async fn migrate(url: &str, dir: &Path) {
    let mut migrate = Role::new("migrate", &["migrate"], dir).set("DATABASE_URL", url);
    migrate.start();
    let status = migrate.ended(START_MAX).await;
    assert!(status.success(), "{}", migrate.logged());
}

/// `serve` on `address`, not started yet.
pub(crate) fn serve(url: &str, address: SocketAddr, dir: &Path) -> Role {
    let arguments = ["serve", "--listen", &address.to_string()];
    Role::new("serve", &arguments, dir).set("DATABASE_URL", url)
}

/// A `work` of that name, not started yet.
pub(crate) fn work(name: &str, url: &str, dir: &Path) -> Role {
    Role::new(name, &["work"], dir)
        .set("DATABASE_URL", url)
        .set("POSTRIDER__WORK__NODE", name)
}

/// Waits until the API at `address` answers.
pub(crate) async fn healthy(address: SocketAddr) {
    let client = reqwest::Client::new();
    eventually(START_MAX, async || {
        let asked = client.get(format!("http://{address}/health")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// A loopback address that stays ours while its process is dead: below the range from which
/// outgoing connections take their ports.
pub(crate) fn free_address() -> SocketAddr {
    let [address] = free_addresses();
    address
}

/// Several of them, for as many processes.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let free: BTreeSet<SocketAddr> = (0..100)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], rng.random_range(20_000..32_000))))
        .filter(is_free)
        .collect();
    let some: Vec<SocketAddr> = free.into_iter().take(N).collect();
    some.try_into().expect("some of a hundred ports are free")
}

//! A Postgres of the test's own, made by the same code as that of `up`, so that it may be stopped
//! in the middle and started again on the same data and port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postrider::up::{DataDir, PrivatePostgres};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;

/// How long a server may take to die that was told not to tidy up.
const DEATH_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Cluster {
    dir: Scratch,
    data_dir: DataDir,
    postgres: Option<PrivatePostgres>,
    url: String,
}

impl Cluster {
    pub(crate) async fn start(name: &str) -> Self {
        let dir = Scratch::new(name);
        Self::start_in(dir).await
    }

    /// Starts the cluster that an `up` has left in `dir`.
    pub(crate) async fn start_in(dir: Scratch) -> Self {
        let data_dir = DataDir::open(dir.path()).unwrap();
        let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
        Self {
            dir,
            data_dir,
            url: postgres.url().reveal().to_owned(),
            postgres: Some(postgres),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, rest) = self.url.rsplit_once('@').unwrap();
        let (address, _) = rest.split_once('/').unwrap();
        address.parse().unwrap()
    }

    /// Where the logs of the processes go, too.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn pool(&self) -> PgPool {
        pool(&self.url).await
    }

    /// SIGQUIT: every backend dies where it stands, no checkpoint is made, and what was committed
    /// without waiting for the disk may be gone.
    pub(crate) async fn stop_at_once(&mut self) {
        let mut postgres = self.postgres.take().expect("the cluster runs");
        assert!(self.dir.signal_postmaster("QUIT"), "the cluster runs");
        let _reason = timeout(DEATH_MAX, postgres.died())
            .await
            .expect("an immediate stop is immediate");
    }

    /// Starts it again where its clients expect it.
    pub(crate) async fn start_again(&mut self) {
        let postgres = PrivatePostgres::start(&self.data_dir).await.unwrap();
        assert_eq!(postgres.url().reveal(), self.url, "it kept its port");
        self.postgres = Some(postgres);
    }

    /// Stops it in an orderly way, and leaves its data.
    pub(crate) async fn stop(mut self) -> Scratch {
        let postgres = self.postgres.take().expect("the cluster runs");
        postgres.stop().await.unwrap();
        self.dir
    }
}

/// Opens a pool of two connections: one to look, one for whoever looks at the same time.
pub(crate) async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(20))
        .connect(url)
        .await
        .unwrap()
}

/// A directory that is removed at the end, unless the test failed: then the logs are wanted.
///
/// Whatever Postgres still runs in it is stopped first.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postrider-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Signals the server that has this directory; answers whether there was one.
    fn signal_postmaster(&self, signal: &str) -> bool {
        let pid_file = self.path.join("postgres/postmaster.pid");
        let Ok(text) = std::fs::read_to_string(pid_file) else {
            return false;
        };
        let pid = text.lines().next().unwrap_or_default();
        Command::new("kill")
            .args([&format!("-{signal}"), pid])
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Scratch {
    #[expect(clippy::print_stderr, reason = "for whoever reads why the test failed")]
    fn drop(&mut self) {
        self.signal_postmaster("QUIT");
        if std::thread::panicking() {
            eprintln!("the logs are in {}", self.path.display());
        } else {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

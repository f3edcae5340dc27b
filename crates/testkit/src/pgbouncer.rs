//! A PgBouncer of the test's own, in transaction mode, with fewer server connections than its clients
//! open, so that they are shared.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::{TestDatabase, eventually};

/// Names a command that takes PgBouncer's arguments.
const COMMAND_VARIABLE: &str = "POSTRIDER_TEST_PGBOUNCER";

/// How long it may take to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// The pooler; it ends with this value.
#[derive(Debug)]
pub struct PgBouncer {
    process: Child,
    config: PathBuf,
    url: String,
}

impl PgBouncer {
    /// Starts one before the server of `database`, and waits until it answers.
    pub async fn start(database: &TestDatabase) -> Self {
        let command = std::env::var(COMMAND_VARIABLE).unwrap_or_else(|_| {
            panic!("{COMMAND_VARIABLE} is not set: run the tests with script/test")
        });
        let server = PgConnectOptions::from_str(database.url())
            .expect("a test database has a URL that can be read");
        let name = server.get_database().expect("a test database has a name");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("a socket has an address").port();
        drop(free);
        let config = std::env::temp_dir().join(format!("{name}.ini"));
        let text = format!(
            "[databases]\n* = host={} port={} user={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
            server.get_host(),
            server.get_port(),
            server.get_username(),
        );
        std::fs::write(&config, text).expect("the temporary folder takes a file");
        let process = Command::new(command)
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PgBouncer can be started");
        let pooled = server.host("127.0.0.1").port(port).extra_float_digits(None);
        let bouncer = Self {
            process,
            config,
            url: pooled.to_url_lossy().to_string(),
        };
        eventually(START_MAX, async || match pooled.connect().await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        })
        .await;
        bouncer
    }

    /// The way to the database through it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let stopped = self.process.kill().and_then(|()| self.process.wait());
        let removed = std::fs::remove_file(&self.config);
        assert!(std::thread::panicking() || (stopped.is_ok() && removed.is_ok()));
    }
}

//! Behind PgBouncer in transaction mode, without a direct URL: no session lock, no LISTEN, no session
//! settings and no prepared statements. Polling and leases decide.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use queue::QueueConfig;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use testkit::eventually;

use crate::kit::{Journal, Kit, SOON, jobs, written};

/// Names a command that takes PgBouncer's arguments.
const COMMAND_VARIABLE: &str = "POSTRIDER_TEST_PGBOUNCER";

/// A pooler of its own, with fewer server connections than a node opens, so that they are shared.
struct PgBouncer {
    process: Child,
    config: PathBuf,
    url: String,
}

impl PgBouncer {
    async fn start(kit: &Kit) -> Self {
        let command = std::env::var(COMMAND_VARIABLE).unwrap_or_else(|_| {
            panic!("{COMMAND_VARIABLE} is not set: run the tests with script/test")
        });
        let server = PgConnectOptions::from_str(kit.database.url()).unwrap();
        let database = server.get_database().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = std::env::temp_dir().join(format!("{database}.ini"));
        let text = format!(
            "[databases]\n* = host={} port={} user={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
            server.get_host(),
            server.get_port(),
            server.get_username(),
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(command)
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooled = server.host("127.0.0.1").port(port).extra_float_digits(None);
        let url = pooled.to_url_lossy().to_string();
        let bouncer = Self {
            process,
            config,
            url,
        };
        eventually(SOON, async || match pooled.connect().await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        })
        .await;
        bouncer
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let stopped = self.process.kill().and_then(|()| self.process.wait());
        let removed = std::fs::remove_file(&self.config);
        assert!(std::thread::panicking() || (stopped.is_ok() && removed.is_ok()));
    }
}

#[tokio::test]
async fn jobs_run_through_a_pooler_that_mixes_the_sessions_of_two_nodes() {
    let kit = Kit::fresh().await;
    let bouncer = PgBouncer::start(&kit).await;
    let node = || kit.node().pooled(bouncer.url.clone());
    let nodes = [
        node().start(async |n, _| written(n)).await,
        node().start(async |n, _| written(n)).await,
    ];

    for round in 0..10 {
        kit.enqueue(&jobs(round * 50..(round + 1) * 50)).await;
    }
    kit.idle().await;

    let expected: Vec<_> = (0..500).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
    let leased = "select count(*) from queue.workers where not locked";
    assert_eq!(kit.count(leased).await, 2);
    for node in nodes {
        node.stop(SOON).await;
    }
    assert_eq!(kit.count(leased).await, 0, "both signed off");
}

#[tokio::test]
async fn without_a_lock_a_dead_node_is_taken_over_after_its_lease() {
    let kit = Kit::fresh().await;
    let bouncer = PgBouncer::start(&kit).await;
    let node = || {
        kit.node()
            .pooled(bouncer.url.clone())
            .configured(|config: &mut QueueConfig| {
                config.fence_after = Duration::from_millis(1500);
                config.lease_ttl = Duration::from_secs(3);
            })
    };
    let starts = Journal::default();
    let noted = starts.clone();
    let doomed = node()
        .start_mortal(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..20)).await;
    starts.reaches(8).await;
    let leases = Journal::default();
    let noted = leases.clone();
    let _survivor = node()
        .start(move |n, lease| {
            noted.note((lease.failures, lease.crashes));
            async move { written(n) }
        })
        .await;

    doomed.kill();
    kit.idle().await;

    assert_eq!(leases.entries(), [(0, 1); 20]);
    assert_eq!(kit.effects().await.len(), 20);
}

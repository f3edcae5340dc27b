//! The repository's `Procfile` under a runner that others use, as a platform would run it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::{TestDatabase, eventually};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cli::{run, stdout};
use crate::crash::cluster::Scratch;
use crate::crash::fleet::{free_address, healthy};

/// Names a Python that can import honcho.
const PYTHON_VARIABLE: &str = "POSTRIDER_TEST_PYTHON";

/// The processes of one deployment: the front, and the two pools that an in-app event needs.
const PROCESSES: [&str; 3] = ["web", "render", "hooks"];

/// How long a delivery may take, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// After this the runner kills what has not ended.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Puts a `postrider` into `dir` that notes what it is asked to do and how that ended.
///
/// The runner signals the shell it starts a line with, and all below it. That shell dies of the
/// signal and is all that the runner reports; this one waits for the program.
fn watched_binary(dir: &Path) {
    let script = format!(
        "#!/bin/sh\ntrap : TERM\n'{}' \"$@\"\necho \"$1 $?\" >> '{}'\n",
        env!("CARGO_BIN_EXE_postrider"),
        dir.join("ends").display(),
    );
    let path = dir.join("postrider");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
}

/// Starts the processes; their output, and what the runner says of them, goes to `dir`.
fn start(database: &TestDatabase, port: u16, dir: &Path) -> Child {
    let python = std::env::var(PYTHON_VARIABLE).unwrap_or_else(|_| {
        panic!("{PYTHON_VARIABLE} names no Python that has honcho: run the tests with script/test")
    });
    watched_binary(dir);
    let inherited = std::env::var("PATH").unwrap_or_default();
    let log = std::fs::File::create(dir.join("honcho.log")).unwrap();
    let mut command = Command::new(python);
    command
        .args(["-m", "honcho", "--no-colour", "--procfile"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Procfile"))
        // An empty one: what somebody keeps in a `.env` is not meant for the tests.
        .args(["--env", "/dev/null", "start"])
        .args(PROCESSES)
        .env("PATH", format!("{}:{inherited}", dir.display()))
        .env("PORT", port.to_string())
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", "s")
        .env("POSTRIDER__DATABASE__CONNECTIONS_MAX", "4")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().unwrap()
}

#[tokio::test]
async fn the_pools_of_the_procfile_deliver_and_stop_on_sigterm() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let scratch = Scratch::new("procfile");
    let mut address = free_address();
    let mut runner = start(&database, address.port(), scratch.path());
    // `PORT` opens the port on every address.
    address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    healthy(address).await;

    stdout(
        &run(
            &database,
            &["send", "--user", "u1", "--type", "order.filled"],
        )
        .await,
    );
    eventually(BUSY_MAX, async || {
        let status = sqlx::query_scalar("select status from deliveries");
        let status: Option<String> = status.fetch_optional(&pool).await.unwrap();
        status.as_deref() == Some("delivered")
    })
    .await;
    let pid = runner.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(sent.unwrap().success());
    let ended = timeout(STOP_MAX, runner.wait()).await;

    ended.expect("the runner ends in time").unwrap();
    let ends = std::fs::read_to_string(scratch.path().join("ends")).unwrap();
    let mut ends: Vec<&str> = ends.lines().collect();
    ends.sort_unstable();
    assert_eq!(ends, ["serve 0", "work 0", "work 0"]);
    let left: i64 = sqlx::query_scalar("select count(*) from queue.workers")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left, 0, "a worker left its row");
}

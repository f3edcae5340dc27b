//! What only a terminal is shown.

use std::process::Stdio;

use testkit::TestDatabase;
use tokio::process::Command;

use crate::cli::bury;

/// Names any Python: its standard library can open a terminal for a program.
const PYTHON_VARIABLE: &str = "POSTRIDER_TEST_PYTHON";

/// Runs a program on a terminal of its own, passes on what it writes, and ends as it did.
const ON_A_TERMINAL: &str = "\
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

const REPLAY: [&str; 4] = ["dead-letters", "replay", "--rate", "20/s"];

async fn with_dead_letters(count: usize) -> TestDatabase {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    for _ in 0..count {
        bury(&pool, "email", "timeout").await;
    }
    pool.close().await;
    database
}

#[tokio::test]
async fn a_long_replay_shows_how_far_it_is() {
    let database = with_dead_letters(30).await;
    let python = std::env::var(PYTHON_VARIABLE).unwrap_or_else(|_| {
        panic!("{PYTHON_VARIABLE} names no Python: run the tests with script/test")
    });

    let output = Command::new(python)
        .args(["-c", ON_A_TERMINAL, env!("CARGO_BIN_EXE_postrider")])
        .args(REPLAY)
        .env("DATABASE_URL", database.url())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("20/30"), "{text}");
    assert!(text.contains("30 of 30 replayed"), "{text}");
}

/// A log of a nightly job is not filled with bars.
#[tokio::test]
async fn without_a_terminal_only_the_result_is_written() {
    let database = with_dead_letters(2).await;

    let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(REPLAY)
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();

    assert_eq!(output.stdout, b"2 of 2 replayed\n");
    assert!(output.stderr.is_empty(), "{output:?}");
}

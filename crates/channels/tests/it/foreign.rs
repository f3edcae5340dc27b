//! Programs of other people, which `script/test` gets: Python and npm packages.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// A script of ours, run by the Python that has the packages.
pub(crate) fn python(script: &str) -> Command {
    let python = std::env::var("POSTRIDER_TEST_PYTHON").expect(
        "POSTRIDER_TEST_PYTHON names no Python with aiosmtpd, mail-parser and standardwebhooks; \
         run the tests by script/test, which gets one",
    );
    let mut command = Command::new(python);
    command.arg(data(script));
    piped(command)
}

/// A script of ours, run by node with the packages.
pub(crate) fn node(script: &str) -> Command {
    let modules = std::env::var("POSTRIDER_TEST_NODE_MODULES").expect(
        "POSTRIDER_TEST_NODE_MODULES names no folder with the npm package standardwebhooks; run \
         the tests by script/test, which gets one",
    );
    let mut command = Command::new("node");
    command.arg(data(script)).env("NODE_PATH", modules);
    piped(command)
}

/// The script ends with its input, so with the test at the latest.
fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a program to its end on some input, and reads what it printed as JSON.
pub(crate) async fn ask(command: Command, input: &Value) -> Value {
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    serde_json::from_slice(&output.stdout).expect("the program prints JSON")
}

pub(crate) fn start(mut command: Command) -> Child {
    command.spawn().expect("the program can be started")
}

fn data(script: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(script)
}

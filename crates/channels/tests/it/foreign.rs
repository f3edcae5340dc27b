//! Programs of other people, which `script/test` gets: Python and npm packages.

use std::path::Path;
use std::process::Stdio;

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

/// The script ends with its input, so with the test at the latest.
fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) fn start(mut command: Command) -> Child {
    command.spawn().expect("the program can be started")
}

fn data(script: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(script)
}

//! A chromedriver of the test's own, on a port that it chose, which ends with the test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use testkit::eventually;

use crate::SOON;

/// Name the programs.
const DRIVER_VARIABLE: &str = "POSTRIDER_TEST_CHROMEDRIVER";
const BROWSER_VARIABLE: &str = "POSTRIDER_TEST_CHROMIUM";

/// Where Debian puts them.
const DRIVER_PATH: &str = "/usr/bin/chromedriver";
const BROWSER_PATH: &str = "/usr/bin/chromium";

/// Runs a command until the shell's own input ends: with the test, however that ends.
const UNTIL_LEFT: &str = r#""$@" 2>&1 & read -r _; kill $!; wait $!"#;

/// What it says once it listens, before the port.
const LISTENING: &str = "started successfully on port ";

/// Lines of its output that are kept.
const LINES_MAX: usize = 200;

/// The running driver. Its browsers hang on a pipe to it, so they end with it.
pub(super) struct Driver {
    shell: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// Reads until the last of its processes has gone.
    reader: Option<JoinHandle<()>>,
    pub(super) address: String,
}

impl Driver {
    /// Starts one and waits until it listens.
    pub(super) async fn start() -> Self {
        let driver = program(DRIVER_VARIABLE, DRIVER_PATH);
        let mut shell = Command::new("sh")
            .args(["-c", UNTIL_LEFT, "sh"])
            .arg(driver)
            .args(["--port=0", "--enable-chrome-logs"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                if kept.len() < LINES_MAX {
                    kept.push(String::from_utf8_lossy(&line).into_owned());
                }
            }
        });
        let port = eventually(SOON, async || {
            let said = said.lock().unwrap();
            let port = said.iter().find_map(|line| line.split(LISTENING).nth(1));
            port.map(|rest| rest.trim_end_matches('.').to_owned())
        })
        .await;
        Self {
            shell,
            said,
            reader: Some(reader),
            address: format!("http://127.0.0.1:{port}"),
        }
    }
}

impl Drop for Driver {
    #[expect(
        clippy::print_stderr,
        reason = "what the browser said helps with a test that failed"
    )]
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let ended = self.shell.wait();
        // Only now is the profile's folder nobody's.
        let read = self.reader.take().map(JoinHandle::join);
        if std::thread::panicking() {
            if let Ok(said) = self.said.lock() {
                eprintln!("{}", said.join("\n"));
            }
        } else {
            assert!(ended.is_ok() && read.is_some_and(|read| read.is_ok()));
        }
    }
}

/// The browser to start.
pub(super) fn chromium() -> PathBuf {
    program(BROWSER_VARIABLE, BROWSER_PATH)
}

fn program(variable: &str, usual: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: name one in {variable}, or run the tests with script/test",
        path.display()
    );
    path
}

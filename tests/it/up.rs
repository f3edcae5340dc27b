//! `postrider up` from nothing: with a Postgres of its own, as a person would run it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::socket::Socket;

pub(crate) struct Up {
    child: Child,
    /// Of the API: `http://…/v1`.
    pub(crate) address: String,
    pub(crate) api_key: String,
    pub(crate) token: String,
}

impl Up {
    /// Starts it and waits for its banner.
    async fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[]).await
    }

    /// The same with settings in its environment.
    pub(crate) async fn start_with(data_dir: &Path, settings: &[(String, String)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut address, mut api_key, mut token) = (None, None, None);
        let banner = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let mut words = line.split_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some("API"), Some("key"), Some(key)) => api_key = Some(key.to_owned()),
                    (Some("User"), Some("token"), Some(text)) => token = Some(text.to_owned()),
                    (Some("API"), Some(url), None) => address = Some(url.to_owned()),
                    _ if line.starts_with("Ctrl-C") => return,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_mins(1), banner)
            .await
            .expect("`up` is up within a minute");
        Self {
            child,
            address: address.unwrap(),
            api_key: api_key.unwrap(),
            token: token.unwrap(),
        }
    }

    async fn submit(&self) -> u16 {
        let request = reqwest::Client::new()
            .post(format!("{}/events", self.address))
            .bearer_auth(&self.api_key)
            .json(&serde_json::json!({"type": "a", "payload": {"user_id": "demo"}}));
        request.send().await.unwrap().status().as_u16()
    }

    /// Presses Ctrl-C and answers the exit code.
    pub(crate) async fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .await
            .unwrap();
        let ended = timeout(Duration::from_secs(20), self.child.wait()).await;
        ended.expect("`up` stops in time").unwrap().code()
    }
}

pub(crate) fn fresh_dir(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("postrider-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    path
}

/// The whole thread: HTTP, route, render, deliver, feed, socket.
#[tokio::test]
async fn an_event_reaches_the_socket_of_its_user() {
    let data_dir = fresh_dir("thread");
    let up = Up::start(&data_dir).await;
    let feed = format!("{}/ws", up.address.replace("http", "ws"));
    let mut socket = Socket::open_at(&feed, &up.token).await;
    assert_eq!(socket.hear().await["seq"], 0);

    assert_eq!(up.submit().await, 202);

    let frame = socket.hear().await;
    assert_eq!(
        (&frame["type"], &frame["seq"]),
        (&"notification".into(), &1.into())
    );
    assert_eq!(frame["data"]["user_id"], "demo");
    assert_eq!(up.interrupt().await, Some(0));
    assert_eq!(socket.hear_close().await, 1001);
    std::fs::remove_dir_all(&data_dir).unwrap();
}

#[tokio::test]
async fn a_second_start_finds_its_data_and_its_keys() {
    let data_dir = fresh_dir("up");

    let first = Up::start(&data_dir).await;
    let key = first.api_key.clone();
    assert_eq!(first.submit().await, 202);
    assert_eq!(first.interrupt().await, Some(0));
    assert!(!data_dir.join("postgres/postmaster.pid").exists());

    let second = Up::start(&data_dir).await;
    assert_eq!(second.api_key, key);
    assert_eq!(second.submit().await, 202);
    assert_eq!(second.interrupt().await, Some(0));
    std::fs::remove_dir_all(&data_dir).unwrap();
}

#[tokio::test]
async fn a_start_after_a_crash_takes_over_what_was_left_running() {
    let data_dir = fresh_dir("crash");
    let mut first = Up::start(&data_dir).await;
    first.child.kill().await.unwrap();
    assert!(data_dir.join("postgres/postmaster.pid").exists());

    let second = Up::start(&data_dir).await;

    assert_eq!(second.submit().await, 202);
    assert_eq!(second.interrupt().await, Some(0));
    std::fs::remove_dir_all(&data_dir).unwrap();
}

//! Clients that others wrote follow the live feed: Python's websockets, npm's ws and eventsource.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::SOON;
use crate::front::{Front, token};

/// A program that prints each frame as a line.
struct Foreign {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Foreign {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            lines,
            _child: child,
        }
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(SOON, self.lines.next_line()).await;
        let line = line.expect("it prints something in time").unwrap();
        serde_json::from_str(&line.expect("it goes on")).unwrap()
    }
}

fn data(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn python(name: &str) -> Command {
    let python = std::env::var("POSTRIDER_TEST_PYTHON").expect(
        "POSTRIDER_TEST_PYTHON names no Python with websockets; run the tests by script/test, \
         which gets one",
    );
    let mut command = Command::new(python);
    command.arg(data(name));
    command
}

fn node(name: &str) -> Command {
    let modules = std::env::var("POSTRIDER_TEST_NODE_MODULES").expect(
        "POSTRIDER_TEST_NODE_MODULES names no folder with ws and eventsource; run the tests by \
         script/test, which gets one",
    );
    let mut command = Command::new("node");
    command.arg(data(name)).env("NODE_PATH", modules);
    command
}

/// Says hello, hears what arrives, and what it reads itself.
async fn follows_by_socket(mut command: Command) {
    let front = Front::start().await;
    command.args([format!("ws://{}/v1/ws", front.address), token("u1")]);
    let mut foreign = Foreign::start(command);

    let hello = json!({"type": "hello", "seq": 0, "unread": 0});
    assert_eq!(foreign.hear().await, hello);
    let id = front.deliver("u1", "for you").await;
    let frame = foreign.hear().await;
    assert_eq!(
        (&frame["seq"], &frame["title"]),
        (&json!(1), &json!("for you"))
    );
    assert_eq!(
        foreign.hear().await,
        json!({"type": "read", "ids": [id], "unread": 0})
    );
}

#[tokio::test]
async fn websockets_of_python_follow_the_feed() {
    follows_by_socket(python("follow.py")).await;
}

#[tokio::test]
async fn ws_of_npm_follows_the_feed() {
    follows_by_socket(node("follow_ws.cjs")).await;
}

#[tokio::test]
async fn eventsource_of_npm_follows_the_feed() {
    let front = Front::start().await;
    let mut command = node("follow_sse.cjs");
    command.args([front.url("/v1/stream"), token("u1")]);
    let mut foreign = Foreign::start(command);

    assert_eq!(foreign.hear().await["type"], "hello");
    for number in 1..=3 {
        front.deliver("u1", &number.to_string()).await;
        assert_eq!(foreign.hear().await["seq"], number);
    }
}

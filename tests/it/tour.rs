//! The five minutes of the README, taken as they are written: each command in order, and what it
//! prints held against what the page says.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::up::{Up, fresh_dir};

/// What the page leaves out of an output.
const LEFT_OUT: char = '…';

/// A command block of the tour.
struct Block {
    text: String,
    /// What it prints, in order, as patterns.
    outputs: Vec<String>,
}

/// The blocks between the first `script/up` and `script/test`.
fn tour() -> Vec<Block> {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## Five minutes\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| {
            let text = block.split("```").next().unwrap();
            let output = |line: &str| line.strip_prefix("# ").map(str::to_owned);
            Block {
                text: text.to_owned(),
                outputs: text.lines().filter_map(output).collect(),
            }
        })
        .collect()
}

/// Whether `line` is `pattern` with something in place of each `…`.
fn fits(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    let mut parts = pattern.split(LEFT_OUT).peekable();
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() && !part.is_empty() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    pattern.ends_with(LEFT_OUT) || rest.is_empty()
}

/// Runs a block as a shell would, with what the reader has set before.
async fn run(block: &Block, up: &Up, dir: &Path) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &block.text])
        .envs([
            ("API", up.address.as_str()),
            ("KEY", up.api_key.as_str()),
            ("TOKEN", up.token.as_str()),
        ])
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}", block.text);
    // `curl` ends its output without a new line, so two answers may share one.
    let printed = printed.replace("}{", "}\n{");
    let mut lines = printed.lines();
    for pattern in &block.outputs {
        assert!(
            lines.any(|line| fits(line.trim(), pattern)),
            "{}\nprinted\n{printed}\nwhich has no line like\n{pattern}",
            block.text
        );
    }
}

/// The settings that stand before `script/up`.
fn settings(command: &str) -> Vec<(String, String)> {
    let words = command.split_whitespace();
    words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_readme_s_tour_goes_as_it_says() {
    let dir: PathBuf = fresh_dir("tour");
    let data_dir = dir.join("data");
    std::fs::create_dir_all(&dir).unwrap();
    let mut up: Option<Up> = None;
    let mut taken = 0;
    for block in tour() {
        let command = block.text.trim();
        if command.ends_with("script/up") {
            // What the script ends with, in the debug build that is there.
            if let Some(running) = up.take() {
                assert_eq!(running.interrupt().await, Some(0));
            }
            up = Some(Up::start_with(&data_dir, &settings(command)).await);
        } else if command.starts_with("API=") {
            // The reader fills these in; here `run` does.
            assert!(command.contains("KEY=") && command.contains("TOKEN="));
        } else if command != "script/test" {
            run(&block, up.as_ref().unwrap(), &dir).await;
            taken += 1;
        }
    }
    assert_eq!(taken, 5, "a step of the tour is not taken");
    assert_eq!(up.unwrap().interrupt().await, Some(0));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_output_fits_with_anything_in_place_of_an_ellipsis() {
    assert!(fits(r#"{"unread":1}"#, r#"{"unread":1}"#));
    assert!(fits(
        r#"{"id":"7","status":"pending"}"#,
        r#"{"id":"…","status":"pending"}"#
    ));
    assert!(fits(r#"{"items":[{"a":1}],"n":null}"#, r#"{"items":[{…"#));
    assert!(!fits(r#"{"unread":1}"#, r#"{"unread":0}"#));
    assert!(!fits(
        r#"{"id":"7","status":"sent"}"#,
        r#"{"id":"…","status":"pending"}"#
    ));
    assert!(!fits(r#"{"unread":12}"#, r#"{"unread":1"#));
}

//! What `/metrics` shows: what the documentation says, from the start, and as Prometheus wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use testkit::{TestDatabase, eventually};

use crate::SOON;
use crate::crash::fleet::{API_KEY, Role, free_addresses, healthy, serve, work};

/// Names Prometheus's own checker.
const PROMTOOL_VARIABLE: &str = "POSTRIDER_TEST_PROMTOOL";

/// A front and a process that only works, each with its metrics.
struct Deployment {
    front: SocketAddr,
    workers: SocketAddr,
    roles: [Role; 2],
    _folder: TempDir,
    _database: TestDatabase,
}

impl Deployment {
    async fn start(legacy_names: bool) -> Self {
        let database = TestDatabase::create().await;
        let folder = TempDir::new().unwrap();
        let [front, workers] = free_addresses();
        let legacy = if legacy_names { "true" } else { "false" };
        let serve = serve(database.url(), front, folder.path())
            .set("POSTRIDER__METRICS__LEGACY_NAMES", legacy)
            .started();
        let work = work("work", database.url(), folder.path())
            .set("POSTRIDER__METRICS__LEGACY_NAMES", legacy)
            .set("POSTRIDER__WORK__METRICS_LISTEN", &workers.to_string())
            .set("POSTRIDER__WORK__OUTBOX", "true")
            .started();
        healthy(front).await;
        healthy(workers).await;
        Self {
            front,
            workers,
            roles: [serve, work],
            _folder: folder,
            _database: database,
        }
    }

    async fn both(&self) -> [(&'static str, String); 2] {
        [
            ("front", scrape(self.front).await),
            ("workers", scrape(self.workers).await),
        ]
    }
}

async fn scrape(address: SocketAddr) -> String {
    let answer = reqwest::get(format!("http://{address}/metrics")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.unwrap()
}

/// A metric as it is shown or documented.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Shown {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

/// Reads the text format, what it says and not how much.
fn shown_in(text: &str) -> BTreeMap<String, Shown> {
    let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, meaning) = rest.split_once(' ').unwrap();
            meaning.clone_into(&mut shown.entry(name.to_owned()).or_default().meaning);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut shown.entry(name.to_owned()).or_default().kind);
        } else {
            let (sample, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let of = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|part| name.strip_suffix(part))
                .find(|name| shown.contains_key(*name))
                .unwrap_or(name);
            let names = labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name.to_owned())
                .filter(|name| name != "le");
            shown.get_mut(of).unwrap().labels.extend(names);
        }
    }
    shown
}

/// The rows of `docs/metrics.md`, by the process that shows them.
fn documented(process: &str, with_legacy_names: bool) -> BTreeMap<String, Shown> {
    let rows = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let mut documented = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row
            .trim_end()
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let [name, kind, labels, shown_by, meaning] = cells[..] else {
            panic!("a row has five cells: {row}");
        };
        let is_legacy = shown_by.contains("old names");
        if !(shown_by.contains(process) || shown_by.contains("both")) {
            continue;
        }
        if is_legacy && !with_legacy_names {
            continue;
        }
        let shown = Shown {
            kind: kind.to_owned(),
            labels: labels
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect(),
            meaning: meaning.to_owned(),
        };
        documented.insert(name.trim_end_matches('`').to_owned(), shown);
    }
    documented
}

#[tokio::test]
async fn the_documentation_and_the_registries_agree_on_every_metric() {
    for legacy_names in [false, true] {
        let house = Deployment::start(legacy_names).await;
        for (process, text) in house.both().await {
            let (shown, documented) = (shown_in(&text), documented(process, legacy_names));
            let names = |of: &BTreeMap<String, Shown>| of.keys().cloned().collect::<Vec<_>>();
            assert_eq!(
                names(&shown),
                names(&documented),
                "{process}, old names {legacy_names}"
            );
            for (name, shown) in shown {
                assert_eq!(shown, documented[&name], "{name} of {process}");
            }
        }
    }
}

#[tokio::test]
async fn everything_is_there_from_the_start_at_zero() {
    let house = Deployment::start(false).await;
    let workers = scrape(house.workers).await;
    let front = scrape(house.front).await;

    let has = |text: &str, line: &str| text.lines().any(|each| each == line);
    for line in [
        "notification_websocket_connections 0",
        "notification_websocket_messages_sent_total 0",
        "notification_websocket_errors_total 0",
        "notification_queue_depth{queue=\"route\"} 0",
        "notification_queue_depth{queue=\"pagerduty\"} 0",
    ] {
        assert!(has(&front, line), "{line} is missing in\n{front}");
    }
    for line in [
        "notification_emails_sent_total 0",
        "notification_sms_sent_total 0",
        "notification_delivery_latency_seconds_count 0",
        "notification_delivery_errors_total 0",
        "notification_queue_processing_rate{queue=\"in_app\"} 0",
        "notifications_emitted_total 0",
        "notifications_delivered_total{channel=\"in_app\"} 0",
        "notifications_failed_total{channel=\"voice\"} 0",
        "postrider_attempts_total{channel=\"sms\",outcome=\"unknown\"} 0",
    ] {
        assert!(has(&workers, line), "{line} is missing in\n{workers}");
    }
}

#[tokio::test]
async fn deliveries_are_counted_once_they_are_committed() {
    let house = Deployment::start(false).await;
    let sends = [
        ("in_app", json!({})),
        ("email", json!({"email": "a@example.com"})),
        ("sms", json!({})),
    ];
    for (channel, data) in sends {
        let body = json!({"user_id": "u1", "channels": [channel], "content": "c", "data": data});
        let request = reqwest::Client::new()
            .post(format!("http://{}/v1/notifications", house.front))
            .bearer_auth(API_KEY)
            .json(&body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    }

    // The text message has no number to go to.
    let wanted = [
        "notifications_emitted_total 3",
        "notifications_delivered_total{channel=\"in_app\"} 1",
        "notifications_delivered_total{channel=\"email\"} 1",
        "notifications_failed_total{channel=\"sms\"} 1",
        "notification_emails_sent_total 1",
        "notification_sms_sent_total 0",
        "notification_delivery_latency_seconds_count 2",
    ];
    eventually(SOON, async || {
        let text = scrape(house.workers).await;
        wanted
            .iter()
            .all(|line| text.lines().any(|each| each == *line))
    })
    .await;
    let rate = "notification_queue_processing_rate{queue=\"route\"} 0";
    let text = scrape(house.workers).await;
    assert!(text.lines().all(|line| line != rate), "{text}");
}

#[tokio::test]
async fn prometheus_finds_nothing_to_complain_about() {
    let promtool = std::env::var(PROMTOOL_VARIABLE).unwrap_or_else(|_| {
        panic!("{PROMTOOL_VARIABLE} is not set: run the tests with script/test")
    });
    let mut house = Deployment::start(false).await;
    for (process, text) in house.both().await {
        let mut child = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.is_empty(),
            "{process}: {said}"
        );
    }
    for role in &mut house.roles {
        role.assert_runs();
    }
}

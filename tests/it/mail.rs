//! Mail from the API to a real mail server, which dies and returns.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::eventually;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use workers::Providers;
use workers::providers::SmtpConfig;

use crate::SOON;
use crate::house::{House, RETRIES};

/// aiosmtpd, which can be killed and started again on its port.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let mut server = Self {
            port: 0,
            folder: TempDir::new().unwrap(),
            child: None,
        };
        server.returns().await;
        server
    }

    /// Starts it on the port it had, and waits until it listens.
    async fn returns(&mut self) {
        let python = std::env::var("POSTRIDER_TEST_PYTHON").expect(
            "POSTRIDER_TEST_PYTHON names no Python with aiosmtpd; run the tests by script/test, \
             which gets one",
        );
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/data/mail_sink.py"
            ))
            .arg(self.port.to_string())
            .arg(self.notes())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .next_line()
            .await
            .unwrap()
            .expect("it prints its port");
        self.port = port.parse().unwrap();
        self.child = Some(child);
    }

    async fn dies(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("mails")
    }

    /// How often each `Message-ID` was taken.
    pub(crate) fn taken(&self) -> HashMap<String, usize> {
        let notes = std::fs::read_to_string(self.notes()).unwrap_or_default();
        let mut taken = HashMap::new();
        for line in notes.lines() {
            let id = line.split(' ').next().unwrap();
            let id = id.trim_matches(['<', '>']).to_owned();
            *taken.entry(id).or_default() += 1;
        }
        taken
    }

    fn providers(&self) -> Providers {
        Providers {
            smtp: Some(SmtpConfig::parse(&format!("smtp://127.0.0.1:{}", self.port)).unwrap()),
            ..Providers::default()
        }
    }
}

fn mail_to(user: &str) -> Value {
    json!({
        "user_id": user, "channels": ["email"], "subject": "Filled", "content": "Your order.",
        "data": {"email": format!("{user}@example.com")},
    })
}

/// With it dies what was in flight: a mail whose end was sent and not answered may have been taken,
/// and is sent again under the same `Message-ID`. Nothing else is sent twice, and nothing is lost.
#[tokio::test]
async fn all_mails_arrive_through_the_death_of_the_mail_server() {
    const MAILS: usize = 300;
    let mut server = MailServer::start().await;
    let providers = server.providers();
    let in_flight_max = providers.smtp.as_ref().unwrap().connections_max;
    let patient = domain::RetryPolicy {
        attempts_max: 200,
        ..RETRIES
    };
    let house = House::start_retrying(providers, patient).await;
    let mails: Vec<Value> = (0..MAILS).map(|n| mail_to(&format!("user{n}"))).collect();
    house
        .front
        .post("/v1/notifications/bulk", json!({"notifications": mails}))
        .await
        .expect(202);

    eventually(SOON, async || server.taken().len() >= 50).await;
    server.dies().await;
    let retrying = "(select from deliveries where status = 'retrying') as waiting";
    eventually(SOON, async || house.front.count(retrying).await >= 100).await;
    server.returns().await;
    let sent = "(select from deliveries where status = 'sent') as sent";
    eventually(SOON * 2, async || {
        house.front.count(sent).await == MAILS as i64
    })
    .await;

    let taken = server.taken();
    assert_eq!(taken.len(), MAILS);
    let again = taken.values().filter(|&&times| times > 1).count();
    assert!(again <= in_flight_max, "{again} mails were taken twice");
    assert!(taken.values().all(|&times| times <= 2));
    assert_eq!(house.front.count("queue.dead_letters").await, 0);
}

#[tokio::test]
async fn an_attempt_tells_what_the_mail_server_answered() {
    let server = MailServer::start().await;
    let house = House::start(server.providers()).await;

    let id = house.send(mail_to("ada")).await;
    let shown = house.comes_to(&id, "sent").await;

    let delivery = &shown["deliveries"][0];
    let attempt = delivery["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&attempt["provider"], &attempt["response"]),
        (&json!("smtp"), &json!("250 2.0.0 taken"))
    );
    let message_id = attempt["provider_message_id"].as_str().unwrap();
    assert!(message_id.contains(delivery["id"].as_str().unwrap()));
    assert!(server.taken().contains_key(message_id), "{message_id}");
}

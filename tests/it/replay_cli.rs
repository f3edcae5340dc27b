//! Replays from the shell: interrupted, gone on with, stopped, and signed.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::{TestDatabase, eventually};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::SOON;
use crate::cli::{bury, run, stdout};

/// Starts a command that goes on for a while.
fn spawn(database: &TestDatabase, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("POSTRIDER__LOG__FILTER", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.await.unwrap().success());
}

async fn replays(database: &TestDatabase) -> Vec<Value> {
    let listed = run(database, &["dead-letters", "replays", "--json"]).await;
    serde_json::from_str(stdout(&listed)).unwrap()
}

#[tokio::test]
async fn an_interrupted_replay_goes_on_when_it_is_watched_again() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    for n in 0..12 {
        bury(&pool, "email", &format!("error {n}")).await;
    }
    let slow = ["dead-letters", "replay", "--rate", "5/s"];
    let replaying = spawn(&database, &slow);
    let id = eventually(SOON, async || {
        let replays = replays(&database).await;
        let replay = replays.first()?;
        let has_begun = replay["replayed"].as_i64() > Some(0);
        has_begun.then(|| replay["replay_id"].as_str().unwrap().to_owned())
    })
    .await;

    interrupt(&replaying).await;
    let ended = timeout(Duration::from_secs(10), replaying.wait_with_output()).await;

    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let advice = String::from_utf8(ended.stderr).unwrap();
    assert!(
        advice.contains(&format!("dead-letters watch {id}")),
        "{advice}"
    );
    assert!(advice.contains(&format!("cancel-replay {id}")), "{advice}");
    assert_eq!(replays(&database).await[0]["state"], "running");

    let watched = run(&database, &["dead-letters", "watch", &id]).await;

    assert_eq!(stdout(&watched), "12 of 12 replayed");
    let open: i64 = sqlx::query_scalar("select count(*) from queue.jobs where queue = 'email'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(open, 12);
    let shown = run(&database, &["dead-letters", "replays", &id]).await;
    assert_eq!(stdout(&shown).matches(" replayed").count(), 12, "{shown:?}");
}

#[tokio::test]
async fn a_replay_is_stopped_from_another_shell_and_every_change_is_signed() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    for n in 0..5 {
        bury(&pool, "email", &format!("error {n}")).await;
    }
    let slow = ["dead-letters", "replay", "--rate", "1/s", "--json"];
    let replaying = spawn(&database, &slow);
    let id = eventually(SOON, async || {
        let replays = replays(&database).await;
        Some(replays.first()?["replay_id"].as_str()?.to_owned())
    })
    .await;

    stdout(&run(&database, &["dead-letters", "cancel-replay", &id]).await);
    let ended = timeout(Duration::from_secs(10), replaying.wait_with_output()).await;

    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(told["state"], "cancelled");
    assert_eq!(told["matched"], 5);
    let again = run(&database, &["dead-letters", "cancel-replay", &id]).await;
    assert_eq!(
        again.status.code(),
        Some(0),
        "stopping it again changes nothing"
    );
    let unknown = [
        "dead-letters",
        "watch",
        "0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d",
    ];
    assert_eq!(run(&database, &unknown).await.status.code(), Some(1));

    stdout(&run(&database, &["queues", "pause", "email"]).await);
    stdout(&run(&database, &["queues", "resume", "email"]).await);
    let waiting: String = sqlx::query_scalar(
        "insert into queue.jobs (job_id, queue, kind, payload)
         values (gen_random_uuid(), 'email', 'deliver', '{}') returning job_id::text",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    stdout(&run(&database, &["jobs", "cancel", &waiting]).await);
    let signed: Vec<(String, bool)> = sqlx::query_as(
        "select action || ' ' || subject, actor like 'cli:_%' from audit order by audit_id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let expected = [
        format!("dead_letters.replayed {id}"),
        format!("replay.cancelled {id}"),
        "queue.paused email".to_owned(),
        "queue.resumed email".to_owned(),
        format!("job.cancelled {waiting}"),
    ];
    let (actions, are_signed): (Vec<_>, Vec<_>) = signed.into_iter().unzip();
    assert_eq!(actions, expected);
    assert!(are_signed.iter().all(|is_signed| *is_signed));
}

//! The ways an attempt can end, and what each costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::Utc;
use queue::{Failure, LeaseInfo, NewJob, Outcome};
use serde_json::{Value, json};

use crate::kit::{Journal, Kit, SOON, job, row, written};
use testkit::eventually;

/// The texts of a dead letter's history, oldest first.
fn history(errors: &Value) -> Vec<&str> {
    let errors = errors.as_array().unwrap();
    errors
        .iter()
        .map(|entry| entry["error"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_job_that_keeps_failing_is_retried_and_then_buried_with_every_error() {
    let kit = Kit::fresh().await;
    let failing = job(3).max_attempts(4);
    kit.enqueue(std::slice::from_ref(&failing)).await;

    let _node = kit
        .node()
        .start(async |_, lease: LeaseInfo| Err(Failure(format!("failure {}", lease.failures + 1))))
        .await;
    let letter = kit.buried(failing.job_id).await;

    assert_eq!(letter.reason, "attempts_exhausted");
    assert_eq!((letter.attempt, letter.failures), (4, 4));
    assert_eq!(
        history(&letter.errors),
        ["failure 1", "failure 2", "failure 3", "failure 4"]
    );
    let attempts: Vec<_> = letter
        .errors
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["attempt"])
        .collect();
    assert_eq!(attempts, [&json!(1), &json!(2), &json!(3), &json!(4)]);
    assert_eq!(kit.effects().await, [(3, "buried".to_owned())]);
    assert_eq!(kit.open().await, 0);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_handler_says() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(1)]).await;
    let starts = Journal::default();

    let noted = starts.clone();
    let _node = kit
        .node()
        .start(move |n, lease| {
            noted.note((Utc::now(), lease.failures));
            async move {
                if lease.failures == 0 {
                    return Ok(Outcome::retry(Some(Duration::from_millis(500)), "later"));
                }
                written(n)
            }
        })
        .await;
    kit.idle().await;

    let [(first, 0), (second, 1)] = starts.entries()[..] else {
        panic!("one failure, then success: {:?}", starts.entries());
    };
    assert!(second - first >= chrono::Duration::milliseconds(500));
}

/// More snoozes than the job has attempts.
#[tokio::test]
async fn a_snooze_costs_nothing() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(1).max_attempts(1)]).await;

    let _node = kit
        .node()
        .start(async |n, lease: LeaseInfo| {
            assert_eq!(lease.failures, 0);
            if lease.attempt <= 5 {
                return Ok(Outcome::snoozed(Utc::now()));
            }
            written(n)
        })
        .await;
    kit.idle().await;

    assert_eq!(kit.effects().await, [(1, "done".to_owned())]);
    assert_eq!(kit.dead_letters().await, 0);
}

#[tokio::test]
async fn a_job_the_handler_buries_keeps_its_reason_and_its_effects() {
    let kit = Kit::fresh().await;
    let hopeless = job(1);
    kit.enqueue(std::slice::from_ref(&hopeless)).await;

    let _node = kit
        .node()
        .start(async |n, _| {
            Ok(Outcome::buried("permanent", "no such \0 address").with(row(n, "noted")))
        })
        .await;
    let letter = kit.buried(hopeless.job_id).await;

    assert_eq!(letter.reason, "permanent");
    assert_eq!(letter.last_error(), "no such \u{fffd} address");
    assert_eq!(
        kit.effects().await,
        [(1, "noted".to_owned())],
        "the engine adds nothing, for it was not its choice"
    );
}

#[tokio::test]
async fn a_panic_a_timeout_and_an_error_are_each_recorded_with_their_message() {
    let kit = Kit::fresh().await;
    let all: Vec<NewJob> = (0..4).map(|n| job(n).max_attempts(1)).collect();
    kit.enqueue(&all).await;

    let _node = kit
        .node()
        .configured(|config| config.handler_timeout = Duration::from_millis(300))
        .start(async |n, _| match n {
            0 => panic!("the handler of {n} panics"),
            1 => std::future::pending().await,
            2 => Err(Failure("the provider said no".to_owned())),
            _ => written(n),
        })
        .await;
    kit.idle().await;

    let mut errors = Vec::new();
    for job in &all[..3] {
        errors.push(kit.buried(job.job_id).await.last_error().to_owned());
    }
    assert_eq!(
        errors,
        [
            "panicked: the handler of 0 panics",
            "timed out after 300ms",
            "the provider said no"
        ]
    );
    assert!(kit.effects().await.contains(&(3, "done".to_owned())));
}

#[tokio::test]
async fn a_payload_that_does_not_parse_is_buried_with_its_text() {
    let kit = Kit::fresh().await;
    let mut odd = job(0);
    odd.payload = json!({"n": "seven", "kept": true});
    kit.enqueue(&[odd.clone(), job(1)]).await;

    let _node = kit.node().start(async |n, _| written(n)).await;
    let letter = kit.buried(odd.job_id).await;
    kit.idle().await;

    assert_eq!(letter.reason, "bad_payload");
    assert_eq!(letter.payload, odd.payload);
    assert!(
        letter
            .last_error()
            .contains("invalid type: string \"seven\"")
    );
    assert_eq!(
        kit.effects().await,
        [(1, "done".to_owned()), (999, "buried".to_owned())]
    );
}

/// A newer version may have enqueued it: it waits for a node that knows.
#[tokio::test]
async fn a_job_of_an_unknown_kind_waits_uncharged() {
    let kit = Kit::fresh().await;
    let mut unknown = job(0);
    unknown.kind = "of_tomorrow".to_owned();
    kit.enqueue(&[unknown, job(1)]).await;

    let _node = kit.node().start(async |n, _| written(n)).await;

    eventually(SOON, async || {
        kit.count(
            "select count(*) from queue.jobs where kind = 'of_tomorrow' and state = 'available'
             and attempt = 1 and failures = 0 and run_at > now()",
        )
        .await
            == 1
    })
    .await;
    eventually(SOON, async || kit.effects().await.len() == 1).await;
    assert_eq!(kit.open().await, 1);
}

/// Months of snoozing use up a `smallint`. One such row fails the claim of every other.
#[tokio::test]
async fn a_job_of_very_many_attempts_stops_nobody() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(0)]).await;
    kit.execute("update queue.jobs set attempt = 32767").await;
    kit.enqueue(&[job(1)]).await;

    let _node = kit.node().start(async |n, _| written(n)).await;
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 2);
}

/// One job of the claim makes the load of all panic, another fails: they fail alone.
#[tokio::test]
async fn a_job_that_cannot_be_loaded_fails_alone() {
    let kit = Kit::fresh().await;
    let poison: Vec<NewJob> = (0..2).map(|n| job(n).max_attempts(1)).collect();
    kit.enqueue(&poison).await;
    kit.enqueue(&crate::kit::jobs(2..20)).await;
    let asked = Arc::new(AtomicI64::new(0));

    let counted = Arc::clone(&asked);
    let _node = kit
        .node()
        .start_prepared(
            move |n| {
                counted.fetch_add(1, Ordering::Relaxed);
                match n {
                    0 => panic!("the load of {n} panics"),
                    1 => Err(Failure("no such row".to_owned())),
                    _ => Ok(()),
                }
            },
            async |n, _| written(n),
        )
        .await;
    kit.idle().await;

    let letters = [
        kit.buried(poison[0].job_id).await,
        kit.buried(poison[1].job_id).await,
    ];
    assert!(
        letters[0]
            .last_error()
            .contains("panicked: the load of 0 panics")
    );
    assert!(letters[1].last_error().contains("no such row"));
    let done = kit
        .effects()
        .await
        .iter()
        .filter(|(_, note)| note == "done")
        .count();
    assert_eq!(done, 18);
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked < 200, "it was asked without end: {asked}");
}

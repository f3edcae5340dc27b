//! Enqueue: in the caller's transaction, in batches, once per unique key, and not before its time.

use std::time::Duration;

use chrono::Utc;
use queue::NewJob;
use sqlx::Connection as _;

use crate::kit::{Journal, Kit, job, jobs, written};

#[tokio::test]
async fn a_job_whose_transaction_is_rolled_back_never_runs() {
    let kit = Kit::fresh().await;
    let _node = kit.node().start(async |n, _| written(n)).await;

    let mut tx = kit.pool.begin().await.unwrap();
    queue::enqueue(&mut tx, &jobs(0..10), None).await.unwrap();
    tx.rollback().await.unwrap();
    kit.enqueue(&[job(100)]).await;
    kit.idle().await;

    assert_eq!(kit.effects().await, [(100, "done".to_owned())]);
}

/// Several statements of one call, with and without a key.
#[tokio::test]
async fn a_large_batch_is_inserted_whole() {
    let kit = Kit::fresh().await;
    let batch: Vec<NewJob> = jobs(0..9001)
        .into_iter()
        .enumerate()
        .map(|(n, job)| match n % 2 {
            0 => job,
            _ => job.unique_key(format!("key {n}")),
        })
        .collect();

    kit.enqueue(&batch).await;

    assert_eq!(kit.open().await, 9001);
}

#[tokio::test]
async fn a_second_job_of_a_key_is_dropped_until_the_first_has_ended() {
    let kit = Kit::fresh().await;
    let twins = [job(1).unique_key("k"), job(2).unique_key("k")];
    kit.enqueue(&twins).await;
    kit.enqueue(&[job(3).unique_key("k"), job(4).unique_key("other")])
        .await;
    assert_eq!(kit.open().await, 2);

    let _node = kit.node().start(async |n, _| written(n)).await;
    kit.idle().await;
    kit.enqueue(&[job(5).unique_key("k")]).await;
    kit.idle().await;

    let ran: Vec<i64> = kit.effects().await.into_iter().map(|(n, _)| n).collect();
    assert_eq!(ran, [1, 4, 5]);
}

/// Both insert the same keys, in opposite order, at the same time, again and again.
#[tokio::test]
async fn batches_with_the_same_keys_do_not_deadlock() {
    let kit = Kit::fresh().await;
    let keyed = |n: i64| job(n).unique_key(format!("key {n}"));
    let forth: Vec<NewJob> = (0..800).map(keyed).collect();
    let back: Vec<NewJob> = (0..800).rev().map(keyed).collect();
    let mut connections = [
        kit.database.connection().await,
        kit.database.connection().await,
    ];

    for _ in 0..10 {
        let [one, other] = &mut connections;
        let mut tx = one.begin().await.unwrap();
        let mut other_tx = other.begin().await.unwrap();
        let (forth, back) = (&forth, &back);
        let (inserted, also_inserted) = tokio::join!(
            async move {
                queue::enqueue(&mut tx, forth, None).await?;
                tx.commit().await.unwrap();
                Ok::<_, queue::EnqueueError>(())
            },
            async move {
                queue::enqueue(&mut other_tx, back, None).await?;
                other_tx.commit().await.unwrap();
                Ok::<_, queue::EnqueueError>(())
            },
        );
        inserted.unwrap();
        also_inserted.unwrap();
        assert_eq!(kit.open().await, 800);
        kit.execute("delete from queue.jobs").await;
    }
}

#[tokio::test]
async fn a_job_due_later_runs_then_and_not_before() {
    let kit = Kit::fresh().await;
    let due = Utc::now() + Duration::from_millis(700);
    kit.enqueue(&[job(1).run_at(Some(due)), job(2)]).await;
    let starts = Journal::default();

    let noted = starts.clone();
    let _node = kit
        .node()
        .start(move |n, _| {
            noted.note((n, Utc::now()));
            async move { written(n) }
        })
        .await;
    kit.idle().await;

    let [(first, _), (second, started)] = starts.entries()[..] else {
        panic!("two jobs, two runs");
    };
    assert_eq!((first, second), (2, 1));
    assert!(started >= due, "{started} is before {due}");
}

//! One settlement: ending, effects and follow-up jobs together or not at all; one refused row harms
//! no other; a COMMIT of unknown result writes nothing twice.

use queue::{Limits, NewJob, Outcome, control};
use testkit::eventually;

use crate::kit::{Journal, Kit, QUEUE, SOON, Work, job, jobs, row, written};

/// -1 violates a constraint of the table, and so does what its burial means; 14 carries U+0000: only
/// the attempt to write them tells.
#[tokio::test]
async fn an_effect_the_database_refuses_buries_that_job_and_lets_the_others_through() {
    let kit = Kit::fresh().await;
    let all = jobs(-1..40);
    kit.enqueue(&all).await;

    let _node = kit
        .node()
        .configured(|config| config.settle_wait *= 20)
        .start(async |n, _| {
            let note = if n == 14 { "do\0ne" } else { "done" };
            Ok(Outcome::completed().with(row(n, note)))
        })
        .await;
    kit.idle().await;

    let refused = [
        kit.buried(all[0].job_id).await,
        kit.buried(all[15].job_id).await,
    ];
    assert_eq!(kit.dead_letters().await, 2);
    assert!(refused.iter().all(|letter| letter.reason == "refused"));
    assert!(refused[0].last_error().contains("effects_n_check"));
    assert!(refused[1].last_error().contains("0x00"));
    // What a burial means to the domain is written too, where the database takes it.
    let expected: Vec<(i64, String)> = (0..40)
        .map(|n| (n, if n == 14 { "buried" } else { "done" }.to_owned()))
        .collect();
    assert_eq!(kit.effects().await, expected);
}

/// The dead letter would have the id of one that lies there already, so that even the bare burial
/// is refused.
#[tokio::test]
async fn a_job_that_cannot_even_be_buried_does_not_stop_the_settler() {
    let kit = Kit::fresh().await;
    let cursed: Vec<NewJob> = jobs(0..3);
    kit.enqueue(&cursed).await;
    kit.execute(
        "insert into queue.dead_letters
             (job_id, enqueued_at, priority, lane, attempt, failures, max_attempts, crashes,
              queue, kind, reason, payload, errors)
         select job_id, enqueued_at, priority, lane, attempt, failures, max_attempts, crashes,
                queue, kind, 'permanent', payload, '[]'
         from queue.jobs",
    )
    .await;

    let node = kit
        .node()
        .start(async |n, _| {
            if n < 3 {
                return Ok(Outcome::buried("permanent", "hopeless"));
            }
            written(n)
        })
        .await;
    kit.enqueue(&jobs(100..120)).await;

    eventually(SOON, async || kit.effects().await.len() == 20).await;
    eventually(SOON, async || node.held() == 0).await;
    assert_eq!(kit.open().await, 3, "nothing is lost");
    assert_eq!(
        kit.count(
            "select count(*) from queue.jobs where state = 'available' and failures = 0
             and errors -> -1 ->> 'error' like '%dead_letters_pkey%' and run_at > now()"
        )
        .await,
        3,
        "they wait with the error, uncharged"
    );
}

#[tokio::test]
async fn follow_up_jobs_are_enqueued_with_the_ending() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(1)]).await;

    let _node = kit
        .node()
        .start(async |n, _| {
            let outcome = Outcome::completed().with(row(n, "done"));
            Ok(if n < 5 {
                outcome.then(job(n + 1))
            } else {
                outcome
            })
        })
        .await;

    eventually(SOON, async || kit.effects().await.len() == 5).await;
    kit.idle().await;
    assert_eq!(kit.dead_letters().await, 0);
}

/// A follow-up whose id is taken is refused like an effect: nothing of that outcome remains.
#[tokio::test]
async fn an_outcome_whose_follow_up_is_refused_leaves_no_effect() {
    let kit = Kit::fresh().await;
    let all = jobs(0..2);
    kit.enqueue(&all).await;
    let waiting = NewJob {
        queue: "elsewhere".to_owned(),
        ..NewJob::new(job(0).job_id, "elsewhere", &Work { n: 0 })
    };
    kit.enqueue(std::slice::from_ref(&waiting)).await;

    let twin = waiting.clone();
    let _node = kit
        .node()
        .start(move |n, _| {
            let outcome = Outcome::completed().with(row(n, "done"));
            let answer = if n == 0 {
                outcome.then(twin.clone())
            } else {
                outcome
            };
            async { Ok(answer) }
        })
        .await;

    let letter = kit.buried(all[0].job_id).await;
    assert!(letter.last_error().contains("jobs_pkey"));
    eventually(SOON, async || kit.open().await == 1).await;
    assert_eq!(
        kit.effects().await,
        [(0, "buried".to_owned()), (1, "done".to_owned())]
    );
}

/// The proxy lets the COMMIT reach Postgres and cuts the connection before the answer. The settler
/// tries again and finds its jobs gone.
#[tokio::test]
async fn a_settlement_whose_commit_was_not_answered_writes_nothing_twice() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let runs = Journal::default();

    let noted = runs.clone();
    let node = kit
        .node()
        .through(&proxy)
        .start(move |n, _| {
            noted.note(n);
            async move { written(n) }
        })
        .await;
    for round in 0..5 {
        proxy.lose_commit_after("delete from queue.jobs");
        kit.enqueue(&jobs(round * 20..(round + 1) * 20)).await;
        eventually(SOON, async || proxy.faults() as i64 == round + 1).await;
        eventually(SOON, async || node.held() == 0 && kit.open().await == 0).await;
    }

    let expected: Vec<_> = (0..100).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(runs.entries().len(), 100, "and nothing ran twice");
    assert!(node.counter("postrider_settlements_retried_total") >= 5);
}

/// What a node inserts as running, to go on with it at once, it does not know of when the answer is
/// lost: it must be found.
#[tokio::test]
async fn follow_up_jobs_of_a_commit_that_was_not_answered_run_once() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let _node = kit
        .node()
        .through(&proxy)
        .start(async |n, _| {
            let outcome = Outcome::completed().with(row(n, "done"));
            Ok(if n < 1000 {
                outcome.then(job(n + 1000))
            } else {
                outcome
            })
        })
        .await;

    proxy.lose_commit_after("insert into queue.jobs");
    kit.enqueue(&jobs(0..50)).await;
    eventually(SOON, async || proxy.faults() == 1).await;
    kit.idle().await;

    let expected: Vec<_> = (0..50)
        .chain(1000..1050)
        .map(|n| (n, "done".to_owned()))
        .collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
}

#[tokio::test]
async fn a_follow_up_on_a_paused_queue_waits() {
    let kit = Kit::fresh().await;
    let mut db = kit.pool.acquire().await.unwrap();
    control::pause(&mut db, "next", None).await.unwrap();
    let _node = kit
        .node()
        .queue(QUEUE, Limits::new(4, 8))
        .queue("next", Limits::new(4, 8))
        .start(async |n, _| {
            let mut next = job(n + 1);
            next.queue = "next".to_owned();
            let outcome = Outcome::completed().with(row(n, "done"));
            Ok(if n == 0 { outcome.then(next) } else { outcome })
        })
        .await;

    kit.enqueue(&[job(0)]).await;
    eventually(SOON, async || !kit.effects().await.is_empty()).await;
    assert_eq!(
        kit.count("select count(*) from queue.jobs where state = 'available' and attempt = 0")
            .await,
        1
    );
    control::resume(&mut db, "next").await.unwrap();
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 2);
}

#[tokio::test]
async fn a_retry_keeps_its_effects_and_a_cancelled_job_leaves_no_trace() {
    let kit = Kit::fresh().await;
    kit.enqueue(&jobs(1..3)).await;

    let _node = kit
        .node()
        .start(async |n, lease| {
            if n == 2 {
                return Ok(Outcome::cancelled());
            }
            if lease.failures == 0 {
                let outcome = Outcome::retry(None, "not yet");
                return Ok(outcome.with(row(n, "tried")));
            }
            written(n)
        })
        .await;
    kit.idle().await;

    assert_eq!(
        kit.effects().await,
        [(1, "done".to_owned()), (1, "tried".to_owned())]
    );
    assert_eq!(kit.dead_letters().await, 0);
}

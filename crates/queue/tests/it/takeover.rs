//! A node that dies has its jobs run elsewhere, at no cost; a job that keeps killing nodes is run
//! alone, and in the end no more.

use std::time::Duration;

use queue::control;
use testkit::eventually;

use crate::kit::{Journal, Kit, QUEUE, SOON, job, jobs, row, written};
use crate::nodes::swift;
use queue::{Limits, Outcome};

#[tokio::test]
async fn the_jobs_of_a_dead_node_run_elsewhere_without_an_attempt_charged() {
    let kit = Kit::fresh().await;
    let started = Journal::default();
    let noted = started.clone();
    let doomed = kit
        .node()
        .start_mortal(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..30)).await;
    started.reaches(8).await;

    let leases = Journal::default();
    let noted = leases.clone();
    let _survivor = kit
        .node()
        .start(move |n, lease| {
            noted.note(lease);
            async move { written(n) }
        })
        .await;
    doomed.kill();
    kit.idle().await;

    let expected: Vec<_> = (0..30).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
    for lease in leases.entries() {
        assert_eq!((lease.failures, lease.crashes), (0, 1), "{lease:?}");
        assert!(lease.is_uncertain(), "the handler is told");
    }
}

/// Rows that run under an epoch of which nothing else is left: a worker row that was deleted.
#[tokio::test]
async fn running_jobs_whose_worker_row_vanished_are_rescued() {
    let kit = Kit::fresh().await;
    kit.enqueue(&jobs(0..10)).await;
    kit.execute(
        "update queue.jobs set state = 'running', epoch = gen_random_uuid(), attempt = 1,
                               claimed_at = now() - interval '91 days'",
    )
    .await;

    let _node = kit.node().start(async |n, _| written(n)).await;
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 10);
}

/// More than one transaction takes back: 5000 rows.
#[tokio::test]
async fn a_dead_node_that_held_very_many_jobs_is_taken_over_whole() {
    let kit = Kit::fresh().await;
    let survivor = kit
        .node()
        .queue("elsewhere", Limits::new(1, 0))
        .start(async |n, _| written(n))
        .await;
    kit.enqueue(&jobs(0..6000)).await;
    kit.execute(
        "insert into queue.workers (epoch, locked, pid, node, queues)
             values ('01890000-0000-7000-8000-00000000dead', true, 1, 'dead', '{work}');
         update queue.jobs set state = 'running', attempt = 1,
                               epoch = '01890000-0000-7000-8000-00000000dead'",
    )
    .await;

    eventually(SOON, async || {
        kit.count("select count(*) from queue.jobs where state = 'available' and crashes = 1")
            .await
            == 6000
    })
    .await;
    let taken = survivor.counter("postrider_leases_expired_total");
    assert_eq!(taken, 6000);
}

/// The survivor works on another queue: it takes over, and never runs the job itself.
#[tokio::test]
async fn a_job_that_five_nodes_died_of_is_buried_as_a_crash_loop() {
    let kit = Kit::fresh().await;
    let killer = job(7);
    kit.enqueue(std::slice::from_ref(&killer)).await;
    let _survivor = kit
        .node()
        .queue("elsewhere", Limits::new(1, 0))
        .start(async |n, _| written(n))
        .await;

    let runs = Journal::default();
    for death in 1..=5 {
        let noted = runs.clone();
        let doomed = kit
            .node()
            .start_mortal(move |_, lease| {
                noted.note(lease.crashes);
                std::future::pending()
            })
            .await;
        runs.reaches(death).await;
        doomed.kill();
        eventually(SOON, async || {
            kit.count("select count(*) from queue.jobs where state = 'running'")
                .await
                == 0
        })
        .await;
    }

    let letter = kit.buried(killer.job_id).await;
    assert_eq!(runs.entries(), [0, 1, 2, 3, 4]);
    assert_eq!(letter.reason, "crash_loop");
    assert_eq!(
        letter.last_error(),
        "5 workers died while they held the job"
    );
    assert_eq!(letter.errors.as_array().unwrap().len(), 5);
    assert_eq!(kit.effects().await, [(7, "buried".to_owned())]);
}

#[tokio::test]
async fn a_job_that_saw_two_nodes_die_runs_alone() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(0)]).await;
    kit.execute("update queue.jobs set crashes = 2").await;
    let events = Journal::default();

    let noted = events.clone();
    let _node = kit
        .node()
        .start(move |n, _| {
            let noted = noted.clone();
            async move {
                noted.note(format!("{n} starts"));
                if n == 0 {
                    // Many polls of a claimer that does not hold still.
                    tokio::time::sleep(swift().poll_max * 6).await;
                    noted.note("0 ends".to_owned());
                }
                written(n)
            }
        })
        .await;
    events.reaches(1).await;
    kit.enqueue(&jobs(1..20)).await;
    kit.idle().await;

    assert_eq!(events.entries()[..2], ["0 starts", "0 ends"]);
    assert_eq!(events.entries().len(), 21);
}

/// The death of a node that held thousands makes suspects of all of them: run one by one, they would
/// hold up everything for minutes.
#[tokio::test]
async fn jobs_that_saw_two_nodes_die_run_together_and_those_that_saw_three_after_them_alone() {
    let kit = Kit::fresh().await;
    kit.enqueue(&jobs(0..22)).await;
    kit.execute(
        "update queue.jobs set crashes = case when (payload ->> 'n')::int < 2 then 3 else 2 end",
    )
    .await;
    let events = Journal::default();

    let noted = events.clone();
    let _node = kit
        .node()
        .start(move |n, lease| {
            let noted = noted.clone();
            async move {
                noted.note((lease.crashes, "starts"));
                // Others that were claimed with it start meanwhile.
                tokio::time::sleep(swift().poll_max).await;
                noted.note((lease.crashes, "ends"));
                written(n)
            }
        })
        .await;
    kit.idle().await;

    let entries = events.entries();
    let group_starts = entries.iter().take_while(|entry| **entry == (2, "starts"));
    assert!(group_starts.count() > 1, "{entries:?}");
    let alone = [(3, "starts"), (3, "ends"), (3, "starts"), (3, "ends")];
    assert_eq!(entries[40..], alone);
}

#[tokio::test]
async fn a_paused_queue_runs_no_suspect_either() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(1)]).await;
    let mut elsewhere = job(2);
    elsewhere.queue = "elsewhere".to_owned();
    kit.enqueue(&[elsewhere]).await;
    kit.execute("update queue.jobs set crashes = 2, run_at = now() - interval '1 minute'")
        .await;
    let mut db = kit.pool.acquire().await.unwrap();
    control::pause(&mut db, QUEUE, None).await.unwrap();

    let _node = kit
        .node()
        .queue(QUEUE, Limits::new(1, 0))
        .queue("elsewhere", Limits::new(1, 0))
        .start(async |n, _| Ok(Outcome::completed().with(row(n, "done"))))
        .await;
    eventually(SOON, async || kit.open().await == 1).await;

    assert_eq!(kit.effects().await, [(2, "done".to_owned())]);
    control::resume(&mut db, QUEUE).await.unwrap();
    kit.idle_within(SOON + Duration::from_secs(2)).await;
}

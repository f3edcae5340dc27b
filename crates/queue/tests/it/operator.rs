//! An operator's hands: dead letters and their replay, cancel, pause, and looking at it all.

use std::collections::HashSet;

use chrono::TimeDelta;
use queue::control::{self, Cancelled};
use queue::dead_letter::{self, DeadLetterFilter};
use queue::{Clock, Failure, Job, JobId, LeaseInfo, NewJob, Outcome, Priority, inspect};
use testkit::eventually;
use uuid::Uuid;

use crate::kit::{Journal, Kit, QUEUE, SOON, Work, job, jobs, written};

/// Buries `jobs` with two failures each.
async fn bury(kit: &Kit, jobs: &[NewJob]) {
    kit.enqueue(jobs).await;
    let node = kit
        .node()
        .start(async |n, lease: LeaseInfo| {
            if lease.failures == 0 {
                return Err(Failure(format!("first of {n}")));
            }
            Ok(Outcome::buried("permanent", format!("second of {n}")))
        })
        .await;
    eventually(SOON, async || kit.dead_letters().await == jobs.len() as i64).await;
    node.stop(SOON).await;
}

#[tokio::test]
async fn a_replayed_job_has_a_fresh_budget_and_keeps_its_history() {
    let kit = Kit::fresh().await;
    let dead = job(1).max_attempts(2);
    bury(&kit, std::slice::from_ref(&dead)).await;

    let mut db = kit.pool.acquire().await.unwrap();
    let replayed = dead_letter::replay(&mut db, &[dead.job_id], None)
        .await
        .unwrap();
    let open = control::find_job(&mut db, dead.job_id)
        .await
        .unwrap()
        .unwrap();

    assert_eq!(replayed.len(), 1);
    assert_eq!(
        (replayed[0].job_id, &replayed[0].payload),
        (dead.job_id, &dead.payload)
    );
    assert_eq!((open.attempt, open.failures, open.crashes), (2, 0, 0));
    assert_eq!(open.errors.unwrap().as_array().unwrap().len(), 2);
    let attempts = Journal::default();
    let noted = attempts.clone();
    let _node = kit
        .node()
        .start(move |n, lease| {
            noted.note(lease.attempt);
            async move {
                if lease.failures == 0 {
                    return Err(Failure("third".to_owned()));
                }
                written(n)
            }
        })
        .await;
    kit.idle().await;
    assert_eq!(attempts.entries(), [3, 4], "the attempt goes on counting");
    assert_eq!(kit.dead_letters().await, 0);
}

#[tokio::test]
async fn two_operators_who_replay_at_once_replay_once() {
    let kit = Kit::fresh().await;
    let dead = jobs(0..20);
    bury(&kit, &dead).await;
    let ids: Vec<JobId> = dead.iter().map(|job| job.job_id).collect();
    let reversed: Vec<JobId> = ids.iter().rev().copied().collect();

    let (mut one, mut other) = (
        kit.pool.acquire().await.unwrap(),
        kit.pool.acquire().await.unwrap(),
    );
    let (replayed, also_replayed) = tokio::join!(
        dead_letter::replay(&mut one, &ids, None),
        dead_letter::replay(&mut other, &reversed, None),
    );

    assert_eq!(replayed.unwrap().len() + also_replayed.unwrap().len(), 20);
    assert_eq!((kit.open().await, kit.dead_letters().await), (20, 0));
}

#[tokio::test]
async fn a_dead_letter_whose_key_is_open_again_stays() {
    let kit = Kit::fresh().await;
    let dead = job(1).unique_key("k");
    bury(&kit, std::slice::from_ref(&dead)).await;
    kit.enqueue(&[job(2).unique_key("k")]).await;

    let mut db = kit.pool.acquire().await.unwrap();
    let replayed = dead_letter::replay(&mut db, &[dead.job_id], None)
        .await
        .unwrap();

    assert_eq!(replayed, []);
    assert!(kit.dead_letter(dead.job_id).await.is_some());
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_and_by_filter() {
    let kit = Kit::fresh().await;
    let dead = jobs(0..25);
    bury(&kit, &dead).await;
    let mut db = kit.pool.acquire().await.unwrap();

    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let filter = DeadLetterFilter::default();
        let page = dead_letter::list(&mut db, &filter, cursor, 10)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some((last.died_at, last.job_id));
        pages.push(page);
    }
    let filter = DeadLetterFilter {
        queue: Some(QUEUE.to_owned()),
        kind: Some("work".to_owned()),
        error: Some("SECOND OF 7".to_owned()),
        ..DeadLetterFilter::default()
    };
    let found = dead_letter::list(&mut db, &filter, None, 10).await.unwrap();

    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    let mut ids: Vec<JobId> = pages.iter().flatten().map(|letter| letter.job_id).collect();
    assert_eq!(sizes, [10, 10, 5]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 25, "none twice");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].job_id, dead[7].job_id);
    assert_eq!(dead_letter::count(&mut db).await.unwrap(), 25);
}

#[tokio::test]
async fn a_waiting_job_can_be_cancelled_and_a_running_one_cannot() {
    let kit = Kit::fresh().await;
    let running = job(1);
    kit.enqueue(std::slice::from_ref(&running)).await;
    let starts = Journal::default();
    let noted = starts.clone();
    let _node = kit
        .node()
        .start(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    starts.reaches(1).await;
    let later = job(2).run_at(Some(chrono::Utc::now() + chrono::Duration::hours(1)));
    kit.enqueue(std::slice::from_ref(&later)).await;

    let mut db = kit.pool.acquire().await.unwrap();
    let mut cancel = async |id| control::cancel(&mut db, id).await.unwrap();
    assert_eq!(cancel(later.job_id).await, Cancelled::Done);
    assert_eq!(cancel(later.job_id).await, Cancelled::Absent);
    assert_eq!(cancel(running.job_id).await, Cancelled::Running);

    let ids = [running.job_id, later.job_id];
    let now_running = control::running(&mut db, &ids).await.unwrap();
    assert_eq!(now_running, [running.job_id]);
}

#[tokio::test]
async fn a_paused_queue_is_not_claimed_from_until_it_is_resumed() {
    let kit = Kit::fresh().await;
    let mut db = kit.pool.acquire().await.unwrap();
    control::pause(&mut db, QUEUE, None).await.unwrap();
    let limits = queue::Limits::new(2, 2);
    let node = kit.node().queue(QUEUE, limits).queue("elsewhere", limits);
    let _node = node.start(async |n, _| written(n)).await;

    let mut elsewhere = jobs(100..120);
    for job in &mut elsewhere {
        job.queue = "elsewhere".to_owned();
    }
    kit.enqueue(&jobs(0..5)).await;
    kit.enqueue(&elsewhere).await;
    eventually(SOON, async || kit.open().await == 5).await;

    let depths = inspect::depths(&mut db, None).await.unwrap();
    let paused = depths.iter().find(|depth| depth.queue == QUEUE).unwrap();
    assert_eq!((paused.available, paused.running), (5, 0));
    assert!(paused.paused_at.is_some() && paused.oldest_available_seconds > 0.0);
    control::resume(&mut db, QUEUE).await.unwrap();
    kit.idle().await;
    assert_eq!(kit.effects().await.len(), 25);
}

#[tokio::test]
async fn inspection_counts_what_waits_what_is_due_later_and_who_works() {
    let kit = Kit::fresh().await;
    kit.enqueue(&[job(0)]).await;
    let starts = Journal::default();
    let noted = starts.clone();
    let _node = kit
        .node()
        .queue(QUEUE, queue::Limits::new(1, 0))
        .start(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    starts.reaches(1).await;
    let later = chrono::Utc::now() + chrono::Duration::hours(1);
    kit.enqueue(&jobs(1..4)).await;
    kit.enqueue(&[job(4).run_at(Some(later)), job(5).run_at(Some(later))])
        .await;

    let mut db = kit.pool.acquire().await.unwrap();
    let depths = inspect::depths(&mut db, None).await.unwrap();
    let workers = inspect::workers(&mut db).await.unwrap();

    assert_eq!(depths.len(), 1);
    let depth = &depths[0];
    assert_eq!((depth.running, depth.available, depth.scheduled), (1, 3, 2));
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0].queues, [QUEUE]);
}

#[tokio::test]
async fn what_waits_is_listed_page_by_page_in_the_order_of_its_moments_and_each_once() {
    let kit = Kit::fresh().await;
    let now = Clock::system().now();
    let minute = |n: i64| now + TimeDelta::minutes(n);
    let mut waiting = Vec::new();
    for n in 0..40 {
        // Four of each moment, in lanes and classes of their own.
        let job = job(n).lane((n % 7) as u8).run_at(Some(minute(1 + n / 4)));
        waiting.push(match n % 3 {
            0 => job.priority(Priority::Critical),
            1 => job.priority(Priority::Low),
            _ => job,
        });
    }
    kit.enqueue(&waiting).await;
    kit.enqueue(&[
        job(100).run_at(Some(minute(-1))),
        job(101).run_at(Some(minute(90))),
    ])
    .await;

    let mut db = kit.pool.acquire().await.unwrap();
    let mut after = (now, JobId(Uuid::max()));
    let mut listed = Vec::new();
    loop {
        let until = minute(60);
        let page = control::list_waiting(&mut db, QUEUE, Work::KIND, after, until, 3)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = (last.run_at, last.job_id);
        listed.extend(page.iter().map(|job| (job.run_at, job.job_id)));
    }

    assert!(listed.is_sorted());
    let ids: HashSet<_> = listed.iter().map(|(_, id)| *id).collect();
    let expected: HashSet<_> = waiting.iter().map(|job| job.job_id).collect();
    assert_eq!((listed.len(), ids), (40, expected));
    for (queue, kind) in [("elsewhere", Work::KIND), (QUEUE, "other")] {
        let none = control::list_waiting(&mut db, queue, kind, (now, after.1), minute(60), 3);
        assert_eq!(none.await.unwrap(), []);
    }
}

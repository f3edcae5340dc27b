//! Who runs when: no queue beyond its limit, no class starving, no lane paying for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue::{Limits, NewJob, Outcome, Priority};
use testkit::eventually;

use crate::kit::{Journal, Kit, QUEUE, SOON, job, jobs, written};

#[tokio::test]
async fn no_queue_ever_runs_more_handlers_than_its_concurrency() {
    let kit = Kit::fresh().await;
    let mut all = jobs(0..300);
    for (n, job) in all.iter_mut().enumerate() {
        job.queue = ["wide", "narrow", "careful"][n % 3].to_owned();
    }
    // Per queue: handlers now, and at most.
    let counts: Arc<Mutex<HashMap<i64, (u32, u32)>>> = Arc::default();

    let counted = Arc::clone(&counts);
    let node = kit
        .node()
        .queue("wide", Limits::new(5, 40))
        .queue("narrow", Limits::new(1, 10))
        .queue("careful", Limits::careful(2))
        .start(move |n, _| {
            let counts = Arc::clone(&counted);
            async move {
                let queue = n % 3;
                {
                    let mut counts = counts.lock().unwrap();
                    let (now, most) = counts.entry(queue).or_default();
                    *now += 1;
                    *most = (*most).max(*now);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                counts.lock().unwrap().get_mut(&queue).unwrap().0 -= 1;
                written(n)
            }
        })
        .await;
    kit.enqueue(&all).await;
    let mut held = 0;
    eventually(SOON, async || {
        held = held.max(node.held());
        kit.open().await == 0
    })
    .await;

    let most = |queue| counts.lock().unwrap()[&queue].1;
    assert_eq!((most(0), most(1), most(2)), (5, 1, 2));
    assert!(held <= 45 + 11 + 2, "{held} held at once");
    assert_eq!(kit.effects().await.len(), 300);
}

/// Eight critical jobs to one low one while both wait, whatever the engine reads ahead.
#[tokio::test]
async fn a_low_class_is_served_while_critical_jobs_keep_waiting() {
    let kit = Kit::fresh().await;
    let critical = jobs(100..2100)
        .into_iter()
        .map(|job| job.priority(Priority::Critical));
    let low = jobs(0..50)
        .into_iter()
        .map(|job| job.priority(Priority::Low));
    kit.enqueue(&critical.chain(low).collect::<Vec<NewJob>>())
        .await;
    let starts = Journal::default();

    let noted = starts.clone();
    let _node = kit
        .node()
        .queue("work", Limits::new(1, 8))
        .start(move |n, _| {
            noted.note(n);
            async move { written(n) }
        })
        .await;
    starts.reaches(500).await;

    let starts = starts.entries();
    let low: Vec<usize> = (0..starts.len()).filter(|&at| starts[at] < 100).collect();
    let first = *low.first().unwrap();
    assert!(first <= 20, "the first low job came as number {first}");
    assert_eq!(low.iter().filter(|&&at| at < 480).count(), 50);
    let early = low.iter().filter(|&&at| at < 90).count();
    assert!(early <= 20, "{early} of the first 90 were low");
}

/// Counted in jobs started, not in seconds: ten of another lane go in turn with the many.
#[tokio::test]
async fn a_hundred_thousand_jobs_of_one_lane_do_not_delay_ten_of_another() {
    let kit = Kit::fresh().await;
    kit.execute(
        "insert into queue.jobs (job_id, lane, queue, kind, payload)
         select gen_random_uuid(), 3, 'work', 'work', '{\"n\": 1}'
         from generate_series(1, 100000)",
    )
    .await;
    let starts = Journal::default();

    let noted = starts.clone();
    let _node = kit
        .node()
        .queue("work", Limits::new(1, 8))
        .start(move |n, _| {
            noted.note(n);
            async move { written(n) }
        })
        .await;
    starts.reaches(100).await;
    let others: Vec<NewJob> = (0..10).map(|_| job(2).lane(7)).collect();
    kit.enqueue(&others).await;
    let enqueued_at = starts.entries().len();
    eventually(SOON, async || {
        starts.entries().iter().filter(|&&n| n == 2).count() == 10
    })
    .await;

    let starts = starts.entries();
    let last = starts.iter().rposition(|&n| n == 2).unwrap();
    // Held when they came, and as many in turn; the rest is a margin for what was noted late.
    let delay = last - enqueued_at;
    assert!(
        delay < 9 + 20 + 50,
        "{delay} jobs of the other lane came first"
    );
}

/// Ten thousand jobs for a destination that does not answer, then a few for others: these find
/// slots at once, whether they were enqueued or came as follow-ups of jobs that ran here.
#[tokio::test]
async fn a_destination_that_never_answers_does_not_hold_up_the_others() {
    let kit = Kit::fresh().await;
    let dead: Vec<NewJob> = (0..10_000).map(|_| job(0).lane(1)).collect();
    let waiting = Arc::new(AtomicUsize::new(0));

    let counted = Arc::clone(&waiting);
    let _node = kit
        .node()
        .queue(QUEUE, Limits::new(24, 0).shared())
        .queue("before", Limits::new(24, 100))
        .start(move |n, _| {
            let waiting = Arc::clone(&counted);
            async move {
                match n {
                    0 => {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        std::future::pending().await
                    }
                    // A step before the sending: its follow-up is kept here if there is room.
                    1000.. => Ok(Outcome::completed().then(job(n - 1000).lane((n % 8) as u8))),
                    _ => written(n),
                }
            }
        })
        .await;
    kit.enqueue(&dead).await;
    eventually(SOON, async || waiting.load(Ordering::SeqCst) == 16).await;
    let follow_up = |n: i64| {
        let mut before = job(1000 + n);
        before.queue = "before".to_owned();
        before
    };
    // Lane 1 again, as a follow-up: it must not take what is left.
    kit.enqueue(&(0..50).map(|_| follow_up(0).lane(0)).collect::<Vec<_>>())
        .await;
    let others = (2..6).map(|n| job(n).lane(7));
    let after = (10..14).map(follow_up);
    kit.enqueue(&others.chain(after).collect::<Vec<_>>()).await;

    eventually(SOON, async || kit.effects().await.len() == 8).await;
    let numbers: Vec<i64> = kit.effects().await.into_iter().map(|(n, _)| n).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 10, 11, 12, 13]);
}

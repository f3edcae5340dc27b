//! Who runs when: no queue beyond its limit, no class starving, no lane paying for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue::{Limits, NewJob, Priority};
use testkit::eventually;

use crate::kit::{Journal, Kit, SOON, job, jobs, written};

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

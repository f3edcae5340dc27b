//! Checks of the work itself: who does it, what waits, what gave up.

use queue::inspect::{QueueDepth, Worker};
use store::{Store, StoreError};
use tokio::time::timeout;

use super::{LOOK, Report};

/// A worker beats twice a second; after ten silent seconds a peer has taken over.
const SILENCE_MAX: f64 = 10.0;

/// A due job that waits longer is late by any promise.
const WAIT_MAX: f64 = 60.0;

pub(super) async fn look(store: &Store, report: &mut Report) {
    let found = timeout(LOOK, read(store)).await;
    match found {
        Ok(Ok((workers, depths, dead_letters))) => {
            look_at_workers(&workers, report);
            look_at_queues(&depths, report);
            look_at_dead_letters(dead_letters, report);
        }
        Ok(Err(error)) => {
            let advice = "run `postrider migrate`, and look at the server's log";
            report.fail("queues", queue::describe(&error), advice);
        }
        Err(_) => report.fail(
            "queues",
            "could not be counted in time",
            "look for long transactions in pg_stat_activity, and let autovacuum catch up",
        ),
    }
}

async fn read(store: &Store) -> Result<(Vec<Worker>, Vec<QueueDepth>, i64), StoreError> {
    let during = |operation| move |source| StoreError::Database { operation, source };
    let mut db = store.acquire().await?;
    let workers = queue::inspect::workers(&mut db)
        .await
        .map_err(during("list the workers"))?;
    let depths = queue::inspect::depths(&mut db, None)
        .await
        .map_err(during("count what waits"))?;
    let dead_letters = queue::dead_letter::count(&mut db)
        .await
        .map_err(during("count the dead letters"))?;
    Ok((workers, depths, dead_letters))
}

fn look_at_workers(workers: &[Worker], report: &mut Report) {
    const CHECK: &str = "workers";
    let (silent, alive): (Vec<&Worker>, Vec<&Worker>) = workers
        .iter()
        .partition(|worker| worker.silent_seconds > SILENCE_MAX);
    let queues = alive.iter().flat_map(|worker| &worker.queues);
    let served: Vec<&String> = queues.collect();
    let unserved: Vec<&str> = workers::queues::all()
        .filter(|queue| !served.iter().any(|name| name == queue))
        .collect();
    if alive.is_empty() {
        report.warn(
            CHECK,
            "none is alive, so nothing is sent",
            "start `postrider work`",
        );
    } else if unserved.is_empty() {
        report.ok(CHECK, format!("{} alive, for every queue", alive.len()));
    } else {
        report.warn(
            CHECK,
            format!("{} alive, none for {}", alive.len(), unserved.join(", ")),
            "start `postrider work --queues …` for these",
        );
    }
    if let Some(worker) = silent.first() {
        report.warn(
            "silent workers",
            format!(
                "{}, `{}` (process {}) for {:.0} s",
                silent.len(),
                worker.node,
                worker.pid,
                worker.silent_seconds
            ),
            "any worker that is alive takes its jobs over",
        );
    }
}

fn look_at_queues(depths: &[QueueDepth], report: &mut Report) {
    const CHECK: &str = "oldest job";
    let paused: Vec<&str> = depths
        .iter()
        .filter(|depth| depth.paused_at.is_some())
        .map(|depth| depth.queue.as_str())
        .collect();
    if !paused.is_empty() {
        report.warn(
            "paused queues",
            paused.join(", "),
            "`postrider queues resume NAME` when they may go on",
        );
    }
    let oldest = depths
        .iter()
        .filter(|depth| depth.paused_at.is_none())
        .max_by(|one, other| {
            one.oldest_available_seconds
                .total_cmp(&other.oldest_available_seconds)
        });
    match oldest {
        Some(depth) if depth.oldest_available_seconds > WAIT_MAX => report.warn(
            CHECK,
            format!(
                "has waited {:.0} s in `{}`, with {} others due",
                depth.oldest_available_seconds,
                depth.queue,
                depth.available - 1
            ),
            "start more workers for this queue, or look at its provider",
        ),
        Some(depth) => report.ok(
            CHECK,
            format!("has waited {:.1} s", depth.oldest_available_seconds),
        ),
        None => report.ok(CHECK, "nothing waits"),
    }
}

fn look_at_dead_letters(count: i64, report: &mut Report) {
    if count == 0 {
        report.ok("dead letters", "none");
    } else {
        report.warn(
            "dead letters",
            count.to_string(),
            "`postrider dead-letters list` says why; replay them once that is mended",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    fn worker(queues: &[&str], silent_seconds: f64) -> Worker {
        let at = chrono::DateTime::UNIX_EPOCH;
        Worker {
            epoch: uuid::Uuid::nil(),
            node: "n".to_owned(),
            pid: 7,
            queues: queues.iter().map(|&name| name.to_owned()).collect(),
            started_at: at,
            heartbeat_at: at,
            silent_seconds,
        }
    }

    fn depth(queue: &str, oldest: f64, is_paused: bool) -> QueueDepth {
        QueueDepth {
            queue: queue.to_owned(),
            available: 1,
            scheduled: 0,
            running: 0,
            oldest_available_seconds: oldest,
            paused_at: is_paused.then_some(chrono::DateTime::UNIX_EPOCH),
        }
    }

    fn lines(look: impl Fn(&mut Report)) -> Vec<(&'static str, Verdict, String)> {
        let mut report = Report::default();
        look(&mut report);
        let findings = report.findings.into_iter();
        findings.map(|it| (it.check, it.verdict, it.seen)).collect()
    }

    #[test]
    fn every_queue_needs_a_worker_that_is_alive() {
        let all: Vec<&str> = workers::queues::all().collect();
        let verdicts = |workers: &[Worker]| {
            let lines = lines(|report| look_at_workers(workers, report));
            lines
                .iter()
                .map(|line| (line.0, line.1))
                .collect::<Vec<_>>()
        };

        assert_eq!(verdicts(&[worker(&all, 0.4)]), [("workers", Verdict::Ok)]);
        assert_eq!(verdicts(&[]), [("workers", Verdict::Warn)]);
        assert_eq!(
            verdicts(&[worker(&["email"], 0.4)]),
            [("workers", Verdict::Warn)]
        );
        assert_eq!(
            verdicts(&[worker(&all, 0.4), worker(&all, 11.0)]),
            [("workers", Verdict::Ok), ("silent workers", Verdict::Warn)]
        );
    }

    #[test]
    fn a_job_may_wait_in_a_paused_queue_and_nowhere_else() {
        let lines = |depths: &[QueueDepth]| lines(|report| look_at_queues(depths, report));

        assert_eq!(lines(&[])[0].1, Verdict::Ok);
        assert_eq!(lines(&[depth("sms", 59.0, false)])[0].1, Verdict::Ok);
        let late = lines(&[depth("sms", 61.0, false), depth("email", 90.0, false)]);
        assert_eq!(late[0].1, Verdict::Warn);
        assert!(late[0].2.contains("90 s in `email`"), "{}", late[0].2);
        let paused = lines(&[depth("sms", 900.0, true)]);
        assert_eq!(
            paused
                .iter()
                .map(|line| (line.0, line.1))
                .collect::<Vec<_>>(),
            [
                ("paused queues", Verdict::Warn),
                ("oldest job", Verdict::Ok)
            ]
        );
    }
}

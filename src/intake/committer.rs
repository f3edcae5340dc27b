//! Gathers units and sees them through: tried again while Postgres is away, taken apart when it
//! refuses a row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queue::{Bell, Clock};
use store::Store;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::write::{Ending, WriteError, Writing, write};
use super::{Answer, Landing, Unavailable, Unit};
use crate::config::IntakeConfig;
use crate::metrics::Metrics;

/// Pause before the second try; doubled for each further one.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One of the tasks that write groups. Clones share the line of waiting units.
#[derive(Clone)]
pub(super) struct Committer {
    waiting: Arc<Mutex<mpsc::Receiver<Unit>>>,
    store: Store,
    bell: Bell,
    clock: Clock,
    metrics: Metrics,
    group_rows: usize,
    group_window: Duration,
    deadline: Duration,
}

impl Committer {
    pub(super) fn new(
        config: &IntakeConfig,
        store: Store,
        bell: Bell,
        clock: Clock,
        metrics: Metrics,
        waiting: mpsc::Receiver<Unit>,
    ) -> Self {
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
            store,
            bell,
            clock,
            metrics,
            group_rows: config.group_rows,
            group_window: config.group_window,
            deadline: config.deadline,
        }
    }

    /// Writes group after group. After `closing` it writes what was handed in before, and ends.
    pub(super) async fn run(self, closing: CancellationToken) {
        loop {
            // Only one committer gathers at a time; the others write meanwhile.
            let group = {
                let mut waiting = self.waiting.lock().await;
                self.gather(&mut waiting, &closing).await
            };
            if group.is_empty() {
                return;
            }
            self.commit(group).await;
        }
    }

    /// The next units: as many rows as make a group, or what came within the window.
    async fn gather(
        &self,
        waiting: &mut mpsc::Receiver<Unit>,
        closing: &CancellationToken,
    ) -> Vec<Unit> {
        let first = tokio::select! {
            biased;
            first = waiting.recv() => first,
            () = closing.cancelled() => {
                waiting.close();
                waiting.recv().await
            }
        };
        let mut group = Vec::from_iter(first);
        let window = Instant::now() + self.group_window;
        let mut rows = group.iter().map(|unit| unit.rows.len()).sum::<usize>();
        while !group.is_empty() && rows < self.group_rows {
            let Ok(Some(unit)) = timeout_at(window, waiting.recv()).await else {
                break;
            };
            rows += unit.rows.len();
            group.push(unit);
        }
        group
    }

    /// Writes a group and answers its units.
    async fn commit(&self, group: Vec<Unit>) {
        let landings = self.land(&group).await;
        for (unit, landing) in group.into_iter().zip(landings) {
            // The client may have gone; what landed has landed.
            drop(unit.answer.send(landing));
            drop(unit.room);
        }
    }

    /// Writes `units`, at first all at once. A part that the database refuses is halved until the
    /// culprit stands alone, and the others land.
    async fn land(&self, units: &[Unit]) -> Vec<Result<Landing, Unavailable>> {
        let deadline = Instant::now() + self.deadline;
        let nothing_refused = BTreeMap::new();
        let writing: Vec<_> = units
            .iter()
            .map(|unit| Writing {
                rows: &unit.rows,
                once: unit.once.as_ref(),
                refused: &nothing_refused,
            })
            .collect();
        let mut landings = Vec::with_capacity(units.len());
        // A stack with the first units on top, so that the answers come in order, and the first of
        // two repeats is the one that lands.
        let mut parts = Vec::from([writing.as_slice()]);
        while let Some(part) = parts.pop() {
            match self.write_until(part, deadline, Ending::Commit).await {
                Ok(landed) => landings.extend(landed.into_iter().map(Ok)),
                Err(WriteError::Passing(_) | WriteError::Late) => {
                    landings.extend(part.iter().map(|_| Err(Unavailable)));
                }
                Err(WriteError::Refused { detail }) => {
                    if let [alone] = part {
                        landings.push(self.land_good_rows(*alone, detail, deadline).await);
                    } else {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                }
            }
        }
        landings
    }

    /// Writes the rows of a unit that the database takes. Which it refuses is found out first, so
    /// that the others land in one transaction, with the answer to the whole.
    async fn land_good_rows(
        &self,
        unit: Writing<'_>,
        detail: String,
        deadline: Instant,
    ) -> Result<Landing, Unavailable> {
        let mut refused = BTreeMap::new();
        let mut parts = Vec::new();
        parts.push(0..unit.rows.len());
        while let Some(part) = parts.pop() {
            let rows = unit.rows.get(part.clone()).unwrap_or_default();
            let alone = Writing {
                rows,
                once: None,
                refused: &BTreeMap::new(),
            };
            match self.write_until(&[alone], deadline, Ending::Rollback).await {
                Ok(_) => {}
                Err(WriteError::Refused { detail }) if rows.len() == 1 => {
                    refused.insert(part.start, self.refused(detail));
                }
                Err(WriteError::Refused { .. }) => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([part.start..middle, middle..part.end]);
                }
                Err(WriteError::Passing(_) | WriteError::Late) => return Err(Unavailable),
            }
        }
        if refused.is_empty() {
            // Each row is fine by itself, so it is the whole that cannot be.
            let all = 0..unit.rows.len();
            refused.extend(all.map(|place| (place, detail.clone())));
        }
        let good = Writing {
            refused: &refused,
            ..unit
        };
        match self.write_until(&[good], deadline, Ending::Commit).await {
            Ok(mut landed) => landed.pop().ok_or(Unavailable),
            Err(_) => Err(Unavailable),
        }
    }

    /// Writes `part`, again and again while Postgres is away, until `deadline`.
    async fn write_until(
        &self,
        part: &[Writing<'_>],
        deadline: Instant,
        ending: Ending,
    ) -> Result<Vec<Landing>, WriteError> {
        let mut pause = PAUSE_MIN;
        let mut may_have_landed = false;
        loop {
            let started = Instant::now();
            let written = write(&self.store, part, &self.clock, may_have_landed, ending);
            match timeout_at(deadline, written)
                .await
                .unwrap_or(Err(WriteError::Late))
            {
                Ok(landings) => {
                    if ending == Ending::Commit {
                        self.committed(&landings, started.elapsed());
                    }
                    return Ok(landings);
                }
                Err(WriteError::Passing(error)) if Instant::now() + pause < deadline => {
                    warn!(
                        error = queue::describe(&error),
                        rows = part.iter().map(|unit| unit.rows.len()).sum::<usize>(),
                        "submissions could not be written and are tried again"
                    );
                    may_have_landed = ending == Ending::Commit;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Wakes the workers and counts.
    fn committed(&self, landings: &[Landing], took: Duration) {
        let (mut accepted, mut duplicates) = (0, 0);
        let landed = landings.iter().filter_map(|landing| match landing {
            Landing::Landed(answers) => Some(answers),
            Landing::Before(_) | Landing::Running => None,
        });
        for answer in landed.flatten() {
            match answer {
                Answer::Accepted { .. } => accepted += 1,
                Answer::Duplicate { .. } => duplicates += 1,
                Answer::Refused { .. } => {}
            }
        }
        if accepted > 0 {
            self.bell
                .ring(queue::JOBS_AVAILABLE, workers::queues::ROUTE);
        }
        let count = |outcome: &str, rows: u64| {
            self.metrics
                .intake_rows
                .with_label_values(&[outcome])
                .inc_by(rows);
        };
        count("accepted", accepted);
        count("duplicate", duplicates);
        self.metrics
            .intake_group_rows
            .observe((accepted + duplicates) as f64);
        self.metrics
            .intake_commit_seconds
            .observe(took.as_secs_f64());
    }

    /// Counts a row that the database refuses, and passes on why.
    fn refused(&self, detail: String) -> String {
        warn!(detail, "a submission was refused by the database");
        self.metrics
            .intake_rows
            .with_label_values(&["refused"])
            .inc();
        detail
    }
}

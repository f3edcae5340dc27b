//! Gathers units and sees them through: tried again while Postgres is away, taken apart when it
//! refuses a row.

use std::sync::Arc;
use std::time::Duration;

use queue::{Bell, Clock};
use store::Store;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::write::{WriteError, write};
use super::{Answer, Row, Unavailable, Unit};
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
        while rows > 0 && rows < self.group_rows {
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
        let mut rows = Vec::new();
        let mut waiting = Vec::with_capacity(group.len());
        for unit in group {
            let start = rows.len();
            rows.extend(unit.rows);
            waiting.push((start..rows.len(), unit.answer, unit.room));
        }
        let answers = self.land(&rows).await;
        for (range, answer, room) in waiting {
            let answers = answers.get(range).into_iter().flatten().cloned().collect();
            // The client may have gone; what landed has landed.
            drop(answer.send(answers));
            drop(room);
        }
    }

    /// Writes `rows`, at first all at once. A part that the database refuses is halved until the
    /// culprit stands alone, and the others land.
    async fn land(&self, rows: &[Row]) -> Vec<Result<Answer, Unavailable>> {
        let deadline = Instant::now() + self.deadline;
        let mut answers = Vec::with_capacity(rows.len());
        // A stack with the first rows on top, so that the answers come in order, and the first of
        // two repeats is the one that lands.
        let mut parts = Vec::from([rows]);
        while let Some(part) = parts.pop() {
            match self.write_until(part, deadline).await {
                Ok(landed) => answers.extend(landed.into_iter().map(Ok)),
                Err(WriteError::Passing(_) | WriteError::Late) => {
                    answers.extend(part.iter().map(|_| Err(Unavailable)));
                }
                Err(WriteError::Refused { detail }) if part.len() == 1 => {
                    answers.push(Ok(self.refused(detail)));
                }
                Err(WriteError::Refused { .. }) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        answers
    }

    /// Writes `part`, again and again while Postgres is away, until `deadline`.
    async fn write_until(
        &self,
        part: &[Row],
        deadline: Instant,
    ) -> Result<Vec<Answer>, WriteError> {
        let mut pause = PAUSE_MIN;
        let mut may_have_landed = false;
        loop {
            let started = Instant::now();
            let written = write(&self.store, part, &self.clock, may_have_landed);
            match timeout_at(deadline, written)
                .await
                .unwrap_or(Err(WriteError::Late))
            {
                Ok(answers) => {
                    self.committed(part, &answers, started.elapsed());
                    return Ok(answers);
                }
                Err(WriteError::Passing(error)) if Instant::now() + pause < deadline => {
                    warn!(
                        error = queue::describe(&error),
                        rows = part.len(),
                        "submissions could not be written and are tried again"
                    );
                    may_have_landed = true;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Wakes the workers and counts.
    fn committed(&self, part: &[Row], answers: &[Answer], took: Duration) {
        let accepted = answers
            .iter()
            .filter(|answer| matches!(answer, Answer::Accepted { .. }))
            .count();
        if accepted > 0 {
            self.bell
                .ring(queue::JOBS_AVAILABLE, workers::queues::ROUTE);
        }
        let count = |outcome: &str, rows: usize| {
            self.metrics
                .intake_rows
                .with_label_values(&[outcome])
                .inc_by(rows as u64);
        };
        count("accepted", accepted);
        count("duplicate", answers.len() - accepted);
        self.metrics.intake_group_rows.observe(part.len() as f64);
        self.metrics
            .intake_commit_seconds
            .observe(took.as_secs_f64());
    }

    fn refused(&self, detail: String) -> Answer {
        warn!(detail, "a submission was refused by the database");
        self.metrics
            .intake_rows
            .with_label_values(&["refused"])
            .inc();
        Answer::Refused { detail }
    }
}

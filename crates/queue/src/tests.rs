//! Any sequence of operations leaves the tables as a small model in memory says.
//!
//! Three epochs enqueue, claim, finish, crash and are taken over in orders no test would think of;
//! leases are finished late, twice, or after a peer took them. After each step every row is compared
//! with the model, so that the shortest sequence that goes wrong is what proptest reports.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlx::PgConnection;
use testkit::TestDatabase;
use uuid::Uuid;

use crate::allot::Share;
use crate::claim::{claim, claim_suspects, look_ahead};
use crate::control::{Cancelled, cancel};
use crate::dead_letter::replay;
use crate::finish::{Due, Exit, write_exits};
use crate::lease::Lease;
use crate::takeover::take_back;
use crate::{JobId, NewJob, Priority, enqueue};

const QUEUE: &str = "work";

/// One step. Numbers choose among what there is at that moment, modulo how many.
#[derive(Debug, Clone)]
enum Step {
    Enqueue {
        lane: u8,
        key: Option<u8>,
        later: bool,
        max_attempts: u16,
    },
    Claim {
        epoch: u8,
        jobs: u32,
    },
    ClaimSuspects {
        epoch: u8,
    },
    /// Ends leases, whether or not they are still held.
    Finish {
        leases: Vec<(usize, Exit)>,
    },
    /// The epoch dies, and the next one takes over.
    Crash {
        epoch: u8,
    },
    Cancel {
        job: usize,
    },
    Replay {
        letter: usize,
    },
    Wait {
        seconds: i64,
    },
}

fn exit() -> impl Strategy<Value = Exit> {
    let error = || "it failed".to_owned();
    prop_oneof![
        3 => Just(Exit::Delete),
        2 => (0..3_u64).prop_map(move |delay| Exit::Return {
            due: Due::After(Duration::from_secs(delay)),
            is_charged: true,
            error: Some(error()),
        }),
        1 => Just(Exit::Return { due: Due::After(Duration::ZERO), is_charged: false, error: None }),
        2 => Just(Exit::Bury { reason: "permanent".to_owned(), error: "hopeless".to_owned() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let finish = prop::collection::vec((any::<usize>(), exit()), 1..5);
    prop_oneof![
        6 => (0..3_u8, prop::option::of(0..4_u8), any::<bool>(), 1..4_u16).prop_map(
            |(lane, key, later, max_attempts)| Step::Enqueue { lane, key, later, max_attempts }),
        5 => (0..3_u8, 1..4_u32).prop_map(|(epoch, jobs)| Step::Claim { epoch, jobs }),
        2 => (0..3_u8).prop_map(|epoch| Step::ClaimSuspects { epoch }),
        5 => finish.prop_map(|leases| Step::Finish { leases }),
        3 => (0..3_u8).prop_map(|epoch| Step::Crash { epoch }),
        1 => any::<usize>().prop_map(|job| Step::Cancel { job }),
        2 => any::<usize>().prop_map(|letter| Step::Replay { letter }),
        1 => (1..4_i64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What the model knows of a job, open or dead.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    lane: u8,
    key: Option<String>,
    run_at: DateTime<Utc>,
    /// Whose it is while it runs.
    epoch: Option<Uuid>,
    attempt: i16,
    failures: i16,
    crashes: i16,
    errors: i32,
}

struct Model {
    now: DateTime<Utc>,
    open: BTreeMap<JobId, Known>,
    dead: BTreeMap<JobId, Known>,
    /// Every lease ever given, held or lost.
    leases: Vec<Lease>,
}

fn epoch(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number % 3) + 1)
}

impl Model {
    fn is_key_open(&self, key: Option<&String>) -> bool {
        key.is_some() && self.open.values().any(|job| job.key.as_ref() == key)
    }

    /// Takes note of a claim of a job that was available.
    fn claimed(&mut self, lease: Lease) {
        let job = self
            .open
            .get_mut(&lease.job_id)
            .expect("an open job was claimed");
        assert_eq!(job.epoch, None, "a running job was claimed");
        assert!(job.run_at <= self.now, "a job was claimed before its time");
        job.attempt += 1;
        job.epoch = Some(lease.epoch);
        assert_eq!(lease.attempt, job.attempt);
        self.leases.push(lease);
    }

    fn holds(&self, lease: &Lease) -> bool {
        self.open
            .get(&lease.job_id)
            .is_some_and(|job| job.epoch == Some(lease.epoch) && job.attempt == lease.attempt)
    }

    fn exits(&mut self, id: JobId, exit: &Exit) {
        match exit {
            Exit::Delete => {
                self.open.remove(&id);
            }
            Exit::Return {
                due,
                is_charged,
                error,
            } => {
                let job = self.open.get_mut(&id).expect("it is held");
                job.epoch = None;
                job.run_at = match due {
                    Due::After(delay) => self.now + *delay,
                    Due::At(moment) => *moment,
                };
                job.failures += i16::from(*is_charged);
                job.errors += i32::from(error.is_some());
            }
            Exit::Bury { .. } => {
                let mut job = self.open.remove(&id).expect("it is held");
                job.failures += 1;
                job.errors += 1;
                self.dead.insert(id, job);
            }
        }
    }

    /// Does the same to the tables and to itself.
    async fn take(&mut self, db: &mut PgConnection, step: Step) {
        match step {
            Step::Enqueue {
                lane,
                key,
                later,
                max_attempts,
            } => {
                self.enqueue(db, lane, key, later, max_attempts).await;
            }
            Step::Claim { epoch: of, jobs } => self.claim(db, epoch(of), jobs).await,
            Step::ClaimSuspects { epoch: of } => self.claim_suspects(db, epoch(of)).await,
            Step::Finish { leases } => self.finish(db, leases).await,
            Step::Crash { epoch: of } => self.crash(db, epoch(of), epoch(of + 1)).await,
            Step::Cancel { job } => {
                let ids: Vec<JobId> = self.open.keys().chain(self.dead.keys()).copied().collect();
                let Some(&id) = ids.get(job % ids.len().max(1)) else {
                    return;
                };
                let expected = match self.open.get(&id) {
                    Some(job) if job.epoch.is_none() => Cancelled::Done,
                    Some(_) => Cancelled::Running,
                    None => Cancelled::Absent,
                };
                assert_eq!(cancel(db, id).await.unwrap(), expected);
                if expected == Cancelled::Done {
                    self.open.remove(&id);
                }
            }
            Step::Replay { letter } => {
                let ids: Vec<JobId> = self.dead.keys().copied().collect();
                let Some(&id) = ids.get(letter % ids.len().max(1)) else {
                    return;
                };
                let is_kept = self.is_key_open(self.dead[&id].key.as_ref());
                let replayed = replay(db, &[id], Some(self.now)).await.unwrap();
                assert_eq!(replayed.len(), usize::from(!is_kept));
                if !is_kept {
                    let mut job = self.dead.remove(&id).expect("it was chosen from there");
                    (job.epoch, job.failures, job.crashes) = (None, 0, 0);
                    job.run_at = self.now;
                    self.open.insert(id, job);
                }
            }
            Step::Wait { seconds } => self.now += chrono::Duration::seconds(seconds),
        }
    }

    async fn enqueue(
        &mut self,
        db: &mut PgConnection,
        lane: u8,
        key: Option<u8>,
        later: bool,
        max_attempts: u16,
    ) {
        let run_at = self.now + chrono::Duration::seconds(if later { 2 } else { 0 });
        let job = NewJob {
            job_id: JobId::at(self.now),
            queue: QUEUE.to_owned(),
            kind: "work".to_owned(),
            payload: serde_json::json!({}),
            priority: Priority::Normal,
            lane,
            run_at: later.then_some(run_at),
            max_attempts,
            unique_key: key.map(|key| format!("key {key}")),
        };
        enqueue(db, [&job], Some(self.now)).await.unwrap();
        if !self.is_key_open(job.unique_key.as_ref()) {
            let known = Known {
                lane,
                key: job.unique_key,
                run_at,
                epoch: None,
                attempt: 0,
                failures: 0,
                crashes: 0,
                errors: 0,
            };
            self.open.insert(job.job_id, known);
        }
    }

    /// Claims up to `jobs` of each lane, and expects the oldest of it.
    async fn claim(&mut self, db: &mut PgConnection, epoch: Uuid, jobs: u32) {
        let mut due: BTreeMap<u8, Vec<DateTime<Utc>>> = BTreeMap::new();
        for job in self.open.values() {
            if job.epoch.is_none() && job.crashes < 2 && job.run_at <= self.now {
                due.entry(job.lane).or_default().push(job.run_at);
            }
        }
        let prospect = look_ahead(db, &[QUEUE.to_owned()], Some(self.now))
            .await
            .unwrap();
        let lanes: BTreeSet<u8> = prospect
            .waiting
            .iter()
            .map(|waiting| waiting.lane)
            .collect();
        assert_eq!(lanes, due.keys().copied().collect());

        let shares: Vec<Share> = prospect
            .waiting
            .into_iter()
            .map(|waiting| Share { waiting, jobs })
            .collect();
        for lease in claim(db, &shares, epoch, Some(self.now)).await.unwrap() {
            let job = &self.open[&lease.job_id];
            let waited = due
                .get_mut(&job.lane)
                .expect("claimed from a lane that waits");
            waited.sort_unstable();
            let oldest = waited.remove(waited.binary_search(&job.run_at).expect("due"));
            assert!(job.crashes < 2 && oldest == job.run_at);
            self.claimed(lease);
        }
        for (lane, left) in due {
            let claimed = self.leases.iter().rev().filter(|lease| {
                self.holds(lease) && lease.epoch == epoch && self.open[&lease.job_id].lane == lane
            });
            let is_full = claimed.count() >= jobs as usize;
            assert!(left.is_empty() || is_full, "lane {lane} was left waiting");
        }
    }

    async fn claim_suspects(&mut self, db: &mut PgConnection, epoch: Uuid) {
        let queues = [QUEUE.to_owned()];
        let leases = claim_suspects(db, &queues, epoch, Some(self.now))
            .await
            .unwrap();
        let suspects = self
            .open
            .values()
            .filter(|job| job.epoch.is_none() && job.crashes >= 2 && job.run_at <= self.now);
        let mut group: Vec<_> = suspects
            .clone()
            .filter(|job| job.crashes == 2)
            .map(|job| job.run_at)
            .collect();
        if group.is_empty() {
            group.extend(suspects.map(|job| job.run_at).min());
        }
        let mut claimed: Vec<_> = leases
            .iter()
            .map(|lease| self.open[&lease.job_id].run_at)
            .collect();
        group.sort_unstable();
        claimed.sort_unstable();
        assert_eq!(claimed, group);
        for lease in leases {
            self.claimed(lease);
        }
    }

    async fn finish(&mut self, db: &mut PgConnection, chosen: Vec<(usize, Exit)>) {
        if self.leases.is_empty() {
            return;
        }
        let mut ending: BTreeMap<usize, Exit> = BTreeMap::new();
        for (number, exit) in chosen {
            // The latest are the likeliest to be held still.
            ending.insert(
                self.leases.len() - 1 - number % self.leases.len().min(12),
                exit,
            );
        }
        let exits: Vec<(&Lease, &Exit)> = ending
            .iter()
            .map(|(&index, exit)| (&self.leases[index], exit))
            .collect();
        let expected: HashSet<JobId> = exits
            .iter()
            .filter(|(lease, _)| self.holds(lease))
            .map(|(lease, _)| lease.job_id)
            .collect();
        let survivors = write_exits(db, &exits, Some(self.now)).await.unwrap();
        assert_eq!(survivors, expected);
        for (index, exit) in ending {
            let lease = self.leases[index].clone();
            if self.holds(&lease) {
                self.exits(lease.job_id, &exit);
            }
        }
    }

    async fn crash(&mut self, db: &mut PgConnection, dead: Uuid, heir: Uuid) {
        let takeover = take_back(db, dead, heir).await.unwrap();
        let mut freed = 0;
        for job in self.open.values_mut().filter(|job| job.epoch == Some(dead)) {
            job.crashes += 1;
            if job.crashes < 5 {
                job.epoch = None;
                job.errors += 1;
                freed += 1;
            } else {
                job.epoch = Some(heir);
                job.attempt += 1;
            }
        }
        assert_eq!(takeover.freed.values().sum::<u64>(), freed);
        for lease in takeover.doomed {
            assert!(self.holds(&lease), "what is doomed is held, to be buried");
            self.leases.push(lease);
        }
    }

    async fn check(&self, db: &mut PgConnection) {
        let open = sqlx::query!(
            r#"select job_id as "job_id: JobId", lane, unique_key, run_at, epoch, attempt, failures,
                      crashes, coalesce(jsonb_array_length(errors), 0) as "errors!"
               from queue.jobs"#
        )
        .fetch_all(&mut *db)
        .await
        .unwrap();
        let open: BTreeMap<JobId, Known> = open
            .into_iter()
            .map(|row| {
                let known = Known {
                    lane: row.lane as u8,
                    key: row.unique_key,
                    run_at: row.run_at,
                    epoch: row.epoch,
                    attempt: row.attempt,
                    failures: row.failures,
                    crashes: row.crashes,
                    errors: row.errors,
                };
                (row.job_id, known)
            })
            .collect();
        assert_eq!(open, self.open);
        let dead = sqlx::query!(
            r#"select job_id as "job_id: JobId", attempt, failures, crashes,
                      jsonb_array_length(errors) as "errors!"
               from queue.dead_letters"#
        )
        .fetch_all(db)
        .await
        .unwrap();
        assert_eq!(dead.len(), self.dead.len());
        for row in dead {
            let known = &self.dead[&row.job_id];
            assert_eq!(
                (row.attempt, row.failures, row.crashes, row.errors),
                (known.attempt, known.failures, known.crashes, known.errors)
            );
        }
    }
}

#[test]
fn any_sequence_of_operations_leaves_what_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    let db = RefCell::new(runtime.block_on(database.connection()));
    let config = Config {
        cases: 30,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);

    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(step(), 40..140), |steps| {
            runtime.block_on(walk(&mut db.borrow_mut(), steps));
            Ok(())
        })
        .unwrap();
}

async fn walk(db: &mut PgConnection, steps: Vec<Step>) {
    sqlx::raw_sql("set synchronous_commit = off; truncate queue.jobs, queue.dead_letters")
        .execute(&mut *db)
        .await
        .unwrap();
    let mut model = Model {
        now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        open: BTreeMap::new(),
        dead: BTreeMap::new(),
        leases: Vec::new(),
    };
    for step in steps {
        model.take(db, step).await;
        model.check(db).await;
    }
}

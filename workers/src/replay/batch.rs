//! One batch of a replay, in one transaction: the lock of the replay, dead letters moved, what they
//! were about opened, results recorded, the cursor moved.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{NotificationId, Pace, ReplayId, ReplayResult, ReplayState, TraceStep};
use queue::JobId;
use queue::dead_letter::{
    self, DEAD_LETTERS_MAX, DeadLetterFilter, Order, Passed, Place, Replayed,
};
use serde_json::json;
use store::replay::{Reopened, lift_expiry, reopen_deliveries, reopen_notifications};
use store::replays::{self, Counts, Locked, Replay};
use store::settlement::apply;
use store::subjects::{self, list_owners, lock_deliveries, lock_notifications};
use store::{Connection, Effect, Store};
use uuid::Uuid;

use super::ReplayError;
use super::request::remove_job;
use crate::dead_letters::owner;
use crate::subject::{Subject, ids_of};

/// What a batch has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Advanced {
    pub step: Step,
    /// Results of this batch alone.
    pub counts: Counts,
    /// The replay as it stands; `None` if there is none of this id.
    pub replay: Option<Replay>,
    /// Queues that have jobs now. Ring [`queue::JOBS_AVAILABLE`] with them.
    pub queues: BTreeSet<String>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next batch, at once.
    More,
    /// The next batch, at a moment of the clock that judges the replay.
    Wait {
        until: DateTime<Utc>,
        wait: Duration,
    },
    /// Nothing.
    Over(ReplayState),
}

/// Runs the next batch of a replay, and commits it.
///
/// `now` is `None` in production: the database clock decides.
pub async fn advance(
    store: &Store,
    replay_id: ReplayId,
    now: Option<DateTime<Utc>>,
) -> Result<Advanced, ReplayError> {
    let mut tx = store.begin().await.map_err(ReplayError::Store)?;
    let locked = replays::lock_replay(&mut tx, replay_id, now)
        .await
        .map_err(ReplayError::Store)?;
    let Some(Locked { mut replay, now }) = locked else {
        return Ok(idle(None, Step::Over(ReplayState::Cancelled)));
    };
    if replay.state != ReplayState::Running {
        let step = Step::Over(replay.state);
        return Ok(idle(Some(replay), step));
    }
    if let Some(step) = wait(&replay, now) {
        return Ok(idle(Some(replay), step));
    }

    let pace = Pace::of(replay.rate);
    let taken = take(&mut tx, &replay, pace).await?;
    let outcome = run(&mut tx, &replay, taken.letters, now).await?;

    let mut counts = Counts::default();
    for (_, result) in &outcome.results {
        counts.add(*result);
        replay.counts.add(*result);
    }
    replay.cursor = taken.cursor.or(replay.cursor);
    let every = pace
        .every
        .filter(|_| counts.of(ReplayResult::Replayed) > 0)
        .and_then(|every| TimeDelta::from_std(every).ok());
    replay.due_at = every.map(|every| now + every).or(replay.due_at);
    replay.updated_at = now;
    if taken.is_last {
        replay.state = ReplayState::Done;
        replay.finished_at = Some(now);
        remove_job(&mut tx, replay_id).await?;
    }
    let write = async {
        replays::insert_items(&mut tx, replay_id, &outcome.results, now).await?;
        replays::update_progress(&mut tx, &replay, now).await?;
        tx.commit().await
    };
    write.await.map_err(ReplayError::Store)?;
    let step = match replay.state {
        ReplayState::Running => wait(&replay, now).unwrap_or(Step::More),
        ended => Step::Over(ended),
    };
    Ok(Advanced {
        step,
        counts,
        replay: Some(replay),
        queues: outcome.queues,
    })
}

fn idle(replay: Option<Replay>, step: Step) -> Advanced {
    Advanced {
        step,
        counts: Counts::default(),
        replay,
        queues: BTreeSet::new(),
    }
}

/// How long the rate asks to wait.
fn wait(replay: &Replay, now: DateTime<Utc>) -> Option<Step> {
    let until = replay.due_at.filter(|due_at| *due_at > now)?;
    let wait = (until - now).to_std().unwrap_or_default();
    Some(Step::Wait { until, wait })
}

/// The dead letters that come next.
struct Taken {
    letters: Vec<Passed>,
    cursor: Option<replays::Cursor>,
    is_last: bool,
}

/// Passes dead letters until a batch of those that are meant is full, or as many are passed as one
/// batch may.
async fn take(db: &mut Connection, replay: &Replay, pace: Pace) -> Result<Taken, ReplayError> {
    let asked: DeadLetterFilter =
        serde_json::from_value(replay.filter.clone()).map_err(ReplayError::Filter)?;
    let until = asked
        .until
        .map_or(replay.died_before, |until| until.min(replay.died_before));
    let filter = DeadLetterFilter {
        until: Some(until),
        ..asked
    };
    let after = replay.cursor.map(|(died_at, job_id)| Place {
        died_at,
        job_id: JobId(job_id),
    });
    // One more than the batch says whether it is the last; where not each one matches, more are
    // passed at once.
    let limit = if filter.kind.is_some() || filter.error.is_some() {
        DEAD_LETTERS_MAX
    } else {
        i64::from(pace.batch) + 1
    };
    let mut passed = dead_letter::pass(db, &filter, after, Order::OldestFirst, limit)
        .await
        .map_err(ReplayError::Queue)?;
    let mut is_last = (passed.len() as i64) < limit;
    let matches = passed.iter().enumerate().filter(|(_, row)| row.is_match);
    let full = matches
        .map(|(index, _)| index + 1)
        .nth(pace.batch as usize - 1);
    if let Some(full) = full.filter(|full| *full < passed.len()) {
        passed.truncate(full);
        is_last = false;
    }
    let cursor = passed.last().map(|row| (row.died_at, row.job_id.as_uuid()));
    passed.retain(|row| row.is_match);
    Ok(Taken {
        letters: passed,
        cursor,
        is_last,
    })
}

/// What became of a batch.
struct Ran {
    results: Vec<(Uuid, ReplayResult)>,
    queues: BTreeSet<String>,
}

/// Decides about each dead letter, and replays those that are to run.
async fn run(
    db: &mut Connection,
    replay: &Replay,
    letters: Vec<Passed>,
    now: DateTime<Utc>,
) -> Result<Ran, ReplayError> {
    if letters.is_empty() {
        return Ok(Ran {
            results: Vec::new(),
            queues: BTreeSet::new(),
        });
    }
    let standing = Standing::of(db, replay, &letters).await?;
    let mut results: HashMap<JobId, ReplayResult> = HashMap::new();
    let mut wanted = Vec::new();
    for letter in &letters {
        let subject = Subject::of(&letter.kind, &letter.payload);
        let Some(result) = standing.decide(replay, subject, now) else {
            continue;
        };
        results.insert(letter.job_id, result);
        if result == ReplayResult::Replayed {
            wanted.push(letter.job_id);
        }
    }
    let replayed = dead_letter::replay(db, &wanted, Some(now))
        .await
        .map_err(ReplayError::Queue)?;
    mark_left(db, &wanted, &replayed, &mut results).await?;
    reopen(db, replay, &replayed, &standing, now).await?;
    // In the order of the dead letters, so that a record reads like what was asked for.
    let results = letters
        .iter()
        .filter_map(|letter| Some((letter.job_id.as_uuid(), *results.get(&letter.job_id)?)))
        .collect();
    Ok(Ran {
        results,
        queues: replayed.into_iter().map(|job| job.queue).collect(),
    })
}

/// Where the subjects of a batch stand, under their locks.
struct Standing {
    owners: HashMap<Uuid, domain::TenantId>,
    subjects: HashMap<Uuid, subjects::Subject>,
}

impl Standing {
    /// Reads whose the letters are, and locks what those of the replay's tenant are about.
    async fn of(
        db: &mut Connection,
        replay: &Replay,
        letters: &[Passed],
    ) -> Result<Self, ReplayError> {
        let subjects = letters
            .iter()
            .filter_map(|letter| Subject::of(&letter.kind, &letter.payload));
        let mut ids = ids_of(subjects);
        let owners = list_owners(db, &ids).await.map_err(ReplayError::Store)?;
        if let Some(tenant_id) = &replay.tenant_id {
            let is_own = |id: Uuid| owners.get(&id) == Some(tenant_id);
            ids.deliveries.retain(|id| is_own(id.as_uuid()));
            ids.notifications.retain(|id| is_own(id.as_uuid()));
        }
        let read = async {
            let mut found = lock_deliveries(db, &ids.deliveries).await?;
            found.extend(lock_notifications(db, &ids.notifications).await?);
            Ok(found)
        };
        let found = read.await.map_err(ReplayError::Store)?;
        Ok(Self {
            owners,
            subjects: found.into_iter().map(|found| (found.id, found)).collect(),
        })
    }

    /// `None` for another tenant's, which the replay passes by without a word.
    fn decide(
        &self,
        replay: &Replay,
        subject: Option<Subject>,
        now: DateTime<Utc>,
    ) -> Option<ReplayResult> {
        if let Some(tenant_id) = &replay.tenant_id
            && owner(&self.owners, subject) != *tenant_id
        {
            return None;
        }
        Some(match subject {
            // Nothing of ours says whether it is still wanted, so the operator's word counts.
            None | Some(Subject::Replay(_)) => ReplayResult::Replayed,
            // What has been told or taken back is found so by the job.
            Some(subject @ (Subject::Event(_) | Subject::Digest(_)))
                if self.owners.contains_key(&subject.id()) =>
            {
                ReplayResult::Replayed
            }
            Some(subject) => {
                self.subjects
                    .get(&subject.id())
                    .map_or(ReplayResult::SkippedGone, |found| {
                        ReplayResult::of(
                            found.status,
                            has_expired(found, now),
                            replay.include_expired,
                        )
                    })
            }
        })
    }
}

fn has_expired(subject: &subjects::Subject, now: DateTime<Utc>) -> bool {
    subject
        .expires_at
        .is_some_and(|expires_at| expires_at <= now)
}

/// Says of dead letters that were to run and did not whether they are gone or stand back.
async fn mark_left(
    db: &mut Connection,
    wanted: &[JobId],
    replayed: &[Replayed],
    results: &mut HashMap<JobId, ReplayResult>,
) -> Result<(), ReplayError> {
    if wanted.len() == replayed.len() {
        return Ok(());
    }
    let ran: HashSet<JobId> = replayed.iter().map(|job| job.job_id).collect();
    let left: Vec<JobId> = wanted
        .iter()
        .copied()
        .filter(|id| !ran.contains(id))
        .collect();
    let there = dead_letter::find_all(db, &left)
        .await
        .map_err(ReplayError::Queue)?;
    for id in left {
        let is_there = there.iter().any(|letter| letter.job_id == id);
        let result = if is_there {
            ReplayResult::SkippedConflict
        } else {
            ReplayResult::SkippedGone
        };
        results.insert(id, result);
    }
    Ok(())
}

/// Opens what the replayed jobs are about, and says so in its trace.
async fn reopen(
    db: &mut Connection,
    replay: &Replay,
    replayed: &[Replayed],
    standing: &Standing,
    now: DateTime<Utc>,
) -> Result<(), ReplayError> {
    let (mut deliveries, mut sends, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    let mut expired: Vec<NotificationId> = Vec::new();
    let mut effects = Vec::new();
    for job in replayed {
        let Some(subject) = Subject::of(&job.kind, &job.payload) else {
            continue;
        };
        let found = standing.subjects.get(&subject.id());
        if let Some(found) = found.filter(|found| has_expired(found, now)) {
            expired.push(found.notification_id);
        }
        let traced = found.map_or(subject.id(), |found| found.notification_id.as_uuid());
        match subject {
            Subject::Delivery(delivery_id) => deliveries.push(Reopened {
                delivery_id,
                job_id: job.job_id.as_uuid(),
            }),
            Subject::Notification(id) => sends.push(id),
            Subject::Event(_) | Subject::Digest(_) => {}
            Subject::Replay(id) => {
                runs.push(id);
                continue;
            }
        }
        let reason = format!("an operator let the dead `{}` job run again", job.kind);
        let detail = json!({"replay_id": replay.replay_id, "job_id": job.job_id});
        effects.push(Effect::Traced {
            subject_id: traced,
            at: now,
            steps: vec![TraceStep::new("replay", "replayed", reason).with_detail(detail)],
        });
    }
    apply(db, &effects).await.map_err(ReplayError::Queue)?;
    let write = async {
        lift_expiry(db, &expired, now).await?;
        if !sends.is_empty() {
            reopen_notifications(db, &sends, now).await?;
        }
        replays::reopen_replays(db, &runs, now).await?;
        // Last, because it counts: the rows of the counts are everybody's.
        if !deliveries.is_empty() {
            reopen_deliveries(db, &deliveries, now).await?;
        }
        Ok(())
    };
    write.await.map_err(ReplayError::Store)
}

//! What an operator asks for: a replay begins, and is stopped.

use chrono::{DateTime, Utc};
use domain::{ReplayId, ReplayState, TenantId};
use queue::dead_letter::DeadLetterFilter;
use queue::{Clock, Job, control};
use serde_json::{Value, json};
use store::Connection;
use store::replays::{self, Locked, NewReplay};

use super::{Replay, ReplayError};
use crate::dead_letters;

/// Which dead letters are to run again, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    pub filter: DeadLetterFilter,
    /// Whose; `None` means everybody's.
    pub tenant_id: Option<TenantId>,
    /// At most so many a second.
    pub rate: Option<u32>,
    /// Whether what has expired meanwhile is sent nevertheless.
    pub include_expired: bool,
    /// Who asks.
    pub actor: String,
}

impl Request {
    /// What the audit keeps of it. Not the words that errors are searched for: they may quote
    /// somebody's address.
    pub fn audited(&self, matched: i64) -> Value {
        let filter = DeadLetterFilter {
            error: self.filter.error.as_ref().map(|_| "…".to_owned()),
            ..self.filter.clone()
        };
        json!({
            "matched": matched,
            "filter": filter,
            "rate": self.rate,
            "include_expired": self.include_expired,
        })
    }
}

/// A replay that has begun once the transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub replay_id: ReplayId,
    /// How many dead letters match at this moment.
    pub matched: i64,
}

/// Writes down a replay and the job that runs it, in the caller's transaction.
///
/// Ring [`queue::JOBS_AVAILABLE`] with [`queues::RETRY`](crate::queues::RETRY) afterwards.
pub async fn begin(
    db: &mut Connection,
    request: &Request,
    clock: &Clock,
) -> Result<Begun, ReplayError> {
    let matched = dead_letters::count(db, request.tenant_id.as_ref(), &request.filter).await?;
    let replay_id = ReplayId::at(clock.now());
    let replay = NewReplay {
        replay_id,
        tenant_id: request.tenant_id.clone(),
        actor: request.actor.clone(),
        filter: serde_json::to_value(&request.filter).map_err(ReplayError::Filter)?,
        rate: request.rate,
        include_expired: request.include_expired,
        matched,
    };
    replays::insert_replay(db, &replay, clock.fixed())
        .await
        .map_err(ReplayError::Store)?;
    let job = Replay { replay_id }.job(clock);
    queue::enqueue(db, [&job], clock.fixed())
        .await
        .map_err(|error| ReplayError::Queue(error.source))?;
    Ok(Begun { replay_id, matched })
}

/// Stops a replay that has not ended, in the caller's transaction, and answers it as it stands
/// then. What was replayed before stays so. `None` if there is no such replay.
pub async fn cancel(
    db: &mut Connection,
    replay_id: ReplayId,
    now: Option<DateTime<Utc>>,
) -> Result<Option<replays::Replay>, ReplayError> {
    let locked = replays::lock_replay(db, replay_id, now)
        .await
        .map_err(ReplayError::Store)?;
    let Some(Locked { mut replay, now }) = locked else {
        return Ok(None);
    };
    if matches!(replay.state, ReplayState::Running | ReplayState::Failed) {
        replay.state = ReplayState::Cancelled;
        replay.finished_at = Some(now);
        replays::update_progress(db, &replay, now)
            .await
            .map_err(ReplayError::Store)?;
        remove_job(db, replay_id).await?;
    }
    Ok(Some(replay))
}

/// Removes the job of a replay that is over, unless it runs: then it finds out by itself.
pub(super) async fn remove_job(
    db: &mut Connection,
    replay_id: ReplayId,
) -> Result<(), ReplayError> {
    let key = Replay { replay_id }.unique_key();
    control::remove_unique(db, Replay::KIND, &key)
        .await
        .map_err(ReplayError::Queue)
}

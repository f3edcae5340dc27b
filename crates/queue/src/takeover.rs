//! Takeover: the jobs of a dead process run elsewhere.
//!
//! A free lock is a suspicion, not a death: a restart of Postgres frees the locks of the living. A
//! peer takes over only what it has itself seen silent for long enough while it was connected, and
//! it takes the epoch's lock, its row and its jobs in one transaction. Beats are compared with what
//! the same observer saw before, so no two clocks are compared.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use crate::epoch::Epoch;
use crate::job::JobId;
use crate::lease::Lease;

/// Takeovers after which a job is buried instead of run.
const CRASHES_MAX: i32 = 5;

/// Most jobs taken back by one transaction; the rest follows with the next.
const ROWS_MAX: i64 = 5000;

/// What one peer looked like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) epoch: Uuid,
    pub(crate) beats: i64,
    pub(crate) is_locked: bool,
}

/// A peer that may be dead, and what it takes to be sure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Suspect {
    pub(crate) epoch: Uuid,
    pub(crate) beats: i64,
    /// Whether its lock must be free: unless it has been silent for a whole lease.
    pub(crate) needs_lock: bool,
}

/// Watches the heartbeats of peers. Forgets everything when its own connection is lost.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    seen: HashMap<Uuid, (i64, Instant)>,
}

impl Observer {
    /// Takes note of who beats, and answers who has been silent for too long.
    pub(crate) fn observe(
        &mut self,
        peers: &[Sighting],
        now: Instant,
        silence: Duration,
        lease_ttl: Duration,
    ) -> Vec<Suspect> {
        self.seen
            .retain(|epoch, _| peers.iter().any(|peer| peer.epoch == *epoch));
        let mut suspects = Vec::new();
        for peer in peers {
            let (beats, since) = self.seen.entry(peer.epoch).or_insert((peer.beats, now));
            if *beats != peer.beats {
                (*beats, *since) = (peer.beats, now);
                continue;
            }
            let silent_for = now.duration_since(*since);
            let has_expired = silent_for >= lease_ttl;
            if has_expired || (peer.is_locked && silent_for >= silence) {
                suspects.push(Suspect {
                    epoch: peer.epoch,
                    beats: peer.beats,
                    needs_lock: !has_expired,
                });
            }
        }
        suspects
    }
}

/// The peers of this process: every epoch with a row but its own.
pub(crate) async fn sight(
    db: &mut PgConnection,
    own: &[Uuid],
) -> Result<Vec<Sighting>, sqlx::Error> {
    sqlx::query_as!(
        Sighting,
        "select epoch, beats, locked as is_locked from queue.workers
         where epoch <> all($1) order by epoch limit 1000",
        own,
    )
    .fetch_all(db)
    .await
}

/// Epochs that hold running jobs although no process of that name exists. A loose index scan.
pub(crate) async fn orphans(db: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with recursive held as (
            (select epoch from queue.jobs where state = 'running' order by epoch limit 1)
            union all
            select (select job.epoch from queue.jobs as job
                    where job.state = 'running' and job.epoch > held.epoch
                    order by job.epoch limit 1)
            from held
            where held.epoch is not null
        )
        select held.epoch as "epoch!" from held
        where held.epoch is not null
          and not exists (select from queue.workers as worker where worker.epoch = held.epoch)
        limit 1000
        "#,
    )
    .fetch_all(db)
    .await
}

/// What a takeover brought.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    /// Jobs available again, per queue.
    pub(crate) freed: HashMap<String, u64>,
    /// Jobs that have now crashed too often; they are ours, to be buried.
    pub(crate) doomed: Vec<Lease>,
    /// Whether the epoch held more than one transaction takes back.
    pub(crate) has_more: bool,
}

/// Takes over from `suspect` in the caller's transaction; `None` if it lives or a peer was first.
pub(crate) async fn take_over(
    db: &mut PgConnection,
    suspect: &Suspect,
    own: Uuid,
) -> Result<Option<Takeover>, sqlx::Error> {
    if suspect.needs_lock {
        let is_free = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock($1) as "is_free!""#,
            Epoch::lock_key(suspect.epoch),
        )
        .fetch_one(&mut *db)
        .await?;
        if !is_free {
            return Ok(None);
        }
    }
    let gone = sqlx::query!(
        "delete from queue.workers where epoch = $1 and beats = $2",
        suspect.epoch,
        suspect.beats,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if gone == 0 {
        return Ok(None);
    }
    // What is beyond the limit or locked is found as orphaned, now that the row is gone.
    take_back(db, suspect.epoch, own).await.map(Some)
}

/// Makes the running jobs of `dead` available again, without charging an attempt.
pub(crate) async fn take_back(
    db: &mut PgConnection,
    dead: Uuid,
    own: Uuid,
) -> Result<Takeover, sqlx::Error> {
    // Skipping locked rows: a settlement of the dead process may still hold them in a session that
    // Postgres has not noticed is gone. They are found as orphaned later.
    let freed = sqlx::query_scalar!(
        "with held as (
             select job_id from queue.jobs
             where epoch = $1 and state = 'running' and crashes + 1 < $2
             limit $3
             for update skip locked
         )
         update queue.jobs as job
         set state = 'available', epoch = null, claimed_at = null, crashes = job.crashes + 1,
             errors = coalesce(job.errors, '[]') || jsonb_build_object(
                 'attempt', job.attempt, 'at', queue.moment(now()), 'error', 'the worker died')
         from held
         where job.job_id = held.job_id
         returning job.queue",
        dead,
        CRASHES_MAX,
        ROWS_MAX,
    )
    .fetch_all(&mut *db)
    .await?;
    let doomed = sqlx::query!(
        r#"
        with held as (
            select job_id from queue.jobs
            where epoch = $1 and state = 'running' and crashes + 1 >= $2
            limit $3
            for update skip locked
        )
        update queue.jobs as job
        set epoch = $4, attempt = job.attempt % 32767 + 1, crashes = job.crashes + 1
        from held
        where job.job_id = held.job_id
        returning job.job_id as "job_id: JobId", job.attempt, job.failures, job.crashes,
                  job.max_attempts, job.lane, job.queue, job.kind, job.payload
        "#,
        dead,
        CRASHES_MAX,
        ROWS_MAX,
        own,
    )
    .fetch_all(db)
    .await?;
    let has_more = freed.len() as i64 == ROWS_MAX || doomed.len() as i64 == ROWS_MAX;
    let mut takeover = Takeover {
        has_more,
        ..Takeover::default()
    };
    for queue in freed {
        *takeover.freed.entry(queue).or_default() += 1;
    }
    takeover.doomed = doomed
        .into_iter()
        .map(|row| Lease {
            job_id: row.job_id,
            attempt: row.attempt,
            epoch: own,
            failures: row.failures,
            crashes: row.crashes,
            max_attempts: row.max_attempts,
            lane: row.lane as u8,
            queue: row.queue,
            kind: row.kind,
            payload: row.payload,
            waited_seconds: 0.0,
        })
        .collect();
    Ok(takeover)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(2);
    const TTL: Duration = Duration::from_secs(10);

    fn peer(beats: i64, is_locked: bool) -> [Sighting; 1] {
        [Sighting {
            epoch: Uuid::from_u128(7),
            beats,
            is_locked,
        }]
    }

    #[test]
    fn a_peer_that_beats_is_never_suspected() {
        let mut observer = Observer::default();
        let start = Instant::now();

        for beat in 0..100 {
            let now = start + Duration::from_millis(beat * 1900);
            assert!(
                observer
                    .observe(&peer(beat as i64, true), now, SILENCE, TTL)
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_silent_peer_is_suspected_after_two_seconds_of_our_own_watching() {
        let mut observer = Observer::default();
        let start = Instant::now();

        assert!(
            observer
                .observe(&peer(5, true), start, SILENCE, TTL)
                .is_empty()
        );
        let early = start + Duration::from_millis(1900);
        assert!(
            observer
                .observe(&peer(5, true), early, SILENCE, TTL)
                .is_empty()
        );
        let suspects = observer.observe(&peer(5, true), start + SILENCE, SILENCE, TTL);

        assert_eq!(suspects.len(), 1);
        assert!(suspects[0].needs_lock);
    }

    #[test]
    fn without_a_lock_only_the_lease_decides() {
        let mut observer = Observer::default();
        let start = Instant::now();

        observer.observe(&peer(5, false), start, SILENCE, TTL);
        let early = start + Duration::from_secs(9);
        assert!(
            observer
                .observe(&peer(5, false), early, SILENCE, TTL)
                .is_empty()
        );
        let suspects = observer.observe(&peer(5, false), start + TTL, SILENCE, TTL);

        assert!(!suspects[0].needs_lock);
    }
}

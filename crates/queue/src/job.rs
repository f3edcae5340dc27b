//! What a job is: the row to insert, and the trait a payload type implements.
//!
//! A job carries ids, not content: rows are small, and a person's data stays in one place. Nothing
//! here knows what a job is for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

/// Lanes per queue and priority. Jobs of one (tenant, channel, destination) share a lane, and lanes
/// take turns, so a million jobs of one cost another at most 1/32 of the throughput.
pub const LANES: u8 = 32;

/// Attempts a job has unless its kind says otherwise: at most four minutes of waiting with the
/// default backoff.
pub const MAX_ATTEMPTS: u16 = 8;

/// Identifies a job. A `UUIDv7`, made by whoever enqueues it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// Makes an id that sorts by `now`, and after ids made before it in this process.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(crate::clock::uuid_at(now))
    }

    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A class of urgency within a queue. Classes share a claim by weight; none starves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The number stored in `queue.jobs.priority`: 0 is the most urgent.
    pub fn as_i16(self) -> i16 {
        self as i16
    }

    /// Reads the stored number; the column's check constraint keeps it in range.
    pub fn from_i16(number: i16) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Low)
    }
}

/// Maps a key such as `tenant/channel/destination` to its lane.
///
/// FNV-1a: the mapping is stored in rows, so it must be the same in every process and version.
pub fn lane_of(parts: &[&str]) -> u8 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // The low bits of FNV mix poorly for short keys; fold the high half in.
    ((hash ^ (hash >> 32)) % u64::from(LANES)) as u8
}

/// The payload of one kind of job.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + Clone + 'static {
    /// Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str;

    /// Attempts before the job becomes a dead letter.
    const MAX_ATTEMPTS: u16 = MAX_ATTEMPTS;
}

/// A job to insert.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub job_id: JobId,
    pub queue: String,
    pub kind: String,
    pub payload: Value,
    pub priority: Priority,
    /// 0 to 31, from [`lane_of`].
    pub lane: u8,
    /// Not before this moment; `None` means now, by the database clock.
    pub run_at: Option<DateTime<Utc>>,
    pub max_attempts: u16,
    /// At most one open job per (kind, key): a second one is dropped silently.
    pub unique_key: Option<String>,
}

impl NewJob {
    /// A job of `J`'s kind on `queue`, due now, of normal priority, in lane 0.
    ///
    /// # Panics
    ///
    /// If the payload cannot be written as JSON, which a struct of ids always can.
    pub fn new<J: Job>(job_id: JobId, queue: &str, job: &J) -> Self {
        Self {
            job_id,
            queue: queue.to_owned(),
            kind: J::KIND.to_owned(),
            payload: serde_json::to_value(job).expect("a payload is a struct of plain values"),
            priority: Priority::default(),
            lane: 0,
            run_at: None,
            max_attempts: J::MAX_ATTEMPTS,
            unique_key: None,
        }
    }

    #[must_use]
    pub fn lane(mut self, lane: u8) -> Self {
        self.lane = lane % LANES;
        self
    }

    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    #[must_use]
    pub fn run_at(mut self, run_at: Option<DateTime<Utc>>) -> Self {
        self.run_at = run_at;
        self
    }

    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u16) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    #[must_use]
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_spread_evenly_and_stay_in_range() {
        let mut counts = [0_u32; LANES as usize];
        for n in 0..32_000 {
            counts[lane_of(&["default", "in_app", &format!("user{n}")]) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| (800..1200).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_lane_of_a_key_never_changes() {
        assert_eq!(lane_of(&["default", "email", "example.com"]), 30);
        assert_ne!(lane_of(&["ab", "c"]), lane_of(&["a", "bc"]));
    }
}

//! Decides for a whole claim of sends: who has a slot, and until when the others wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::counter::{Counter, Quota};
use super::{Limit, WhenUnavailable};
use crate::Channel;

/// A limit that a send must keep to, and where its slots are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: Uuid,
    pub limit: Arc<Limit>,
}

/// What a send is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// It has a slot of each of its limits.
    Taken,
    /// It has none, and there is one at `until`.
    Full {
        limit: Arc<Limit>,
        until: DateTime<Utc>,
    },
}

impl Claim {
    fn quota(&self) -> Quota {
        Quota {
            max: self.limit.max,
            micros: self.limit.slot_micros(),
        }
    }

    /// What becomes of a send on `channel` with these limits when the slots cannot be counted: one
    /// that says to wait decides.
    pub fn when_unavailable(claims: &[Self], channel: Channel) -> WhenUnavailable {
        let waits = |claim: &Self| claim.limit.when_unavailable(channel) == WhenUnavailable::Defer;
        if claims.iter().any(waits) {
            WhenUnavailable::Defer
        } else {
            WhenUnavailable::Allow
        }
    }
}

/// Takes slots for `sends` in their order, all of one or none, and answers beside what each is told
/// the counters that have changed, with the moment from which nothing of them counts.
///
/// Of those that wait for the same limit the first is told its next free moment, the second the one
/// after that, and so on, so that they do not all come again at once.
pub fn decide(
    now: DateTime<Utc>,
    counters: &mut BTreeMap<Uuid, Counter>,
    sends: &[Vec<Claim>],
) -> (Vec<Room>, BTreeMap<Uuid, DateTime<Utc>>) {
    let now = now.timestamp_micros();
    let mut waiting: HashMap<Uuid, u32> = HashMap::new();
    let mut changed = BTreeMap::new();
    let rooms = sends.iter().map(|claims| {
        let mut latest: Option<(i64, &Claim)> = None;
        for claim in claims {
            let ahead = waiting.get(&claim.key).copied().unwrap_or_default();
            let counter = counters.entry(claim.key).or_default();
            if let Some(free_at) = counter.free_at(now, claim.quota(), ahead) {
                *waiting.entry(claim.key).or_default() += 1;
                if latest.is_none_or(|(other, _)| free_at > other) {
                    latest = Some((free_at, claim));
                }
            }
        }
        if let Some((until, claim)) = latest {
            return Room::Full {
                limit: Arc::clone(&claim.limit),
                until: moment(until),
            };
        }
        for claim in claims {
            let counter = counters.entry(claim.key).or_default();
            let ends_at = counter.take(now, claim.quota());
            changed.insert(claim.key, moment(ends_at));
        }
        Room::Taken
    });
    (rooms.collect(), changed)
}

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

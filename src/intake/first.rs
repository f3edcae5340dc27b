//! Which units of a group are carried out, and which repeat a request by its `Idempotency-Key`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use store::idempotency::{self, FirstAnswer, RequestKey};
use store::{StoreError, Tx};

use super::write::Writing;
use super::{Answer, Landing};

/// Where a unit stands after its key has been looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UnitStanding {
    /// It is carried out.
    Open,
    /// A request with this key was answered before.
    Before(FirstAnswer),
    /// Another transaction carries out a request with this key.
    Running,
    /// A unit of this group, by its place in it, has the same key and comes first.
    RepeatOf(usize),
}

/// Locks the keys of `units` for this transaction and looks for their first answers.
///
/// A key that another transaction holds is not waited for, because the whole group would.
pub(super) async fn look(
    tx: &mut Tx,
    units: &[Writing<'_>],
    now: DateTime<Utc>,
) -> Result<Vec<UnitStanding>, StoreError> {
    let mut standings = vec![UnitStanding::Open; units.len()];
    let mut firsts: HashMap<&RequestKey, usize> = HashMap::new();
    let mut keys = Vec::new();
    for (place, unit) in units.iter().enumerate() {
        let Some(once) = unit.once else { continue };
        let first = *firsts.entry(&once.request).or_insert(place);
        if first == place {
            keys.push((place, &once.request));
        } else {
            standings[place] = UnitStanding::RepeatOf(first);
        }
    }
    if keys.is_empty() {
        return Ok(standings);
    }
    let requests: Vec<_> = keys.iter().map(|(_, request)| *request).collect();
    let locked = idempotency::try_lock(tx, &requests).await?;
    let mut known = idempotency::find(tx, &requests, now).await?;
    for ((place, request), is_locked) in keys.into_iter().zip(locked) {
        if let Some(first) = known.remove(request) {
            standings[place] = UnitStanding::Before(first);
        } else if !is_locked {
            standings[place] = UnitStanding::Running;
        }
    }
    Ok(standings)
}

/// Keeps the answers of the units that were carried out, and says what became of every unit.
///
/// `answers` has those of the open units, by their place.
pub(super) async fn keep(
    tx: &mut Tx,
    units: &[Writing<'_>],
    standings: &[UnitStanding],
    mut answers: HashMap<usize, Vec<Answer>>,
    now: DateTime<Utc>,
) -> Result<Vec<Landing>, StoreError> {
    let mut firsts = HashMap::new();
    let mut kept = Vec::new();
    for (place, unit) in units.iter().enumerate() {
        let (Some(once), Some(answers)) = (unit.once, answers.get(&place)) else {
            continue;
        };
        if let Some((status, body)) = (once.compose)(answers) {
            let first = FirstAnswer {
                fingerprint: once.fingerprint,
                status,
                body,
            };
            firsts.insert(place, first.clone());
            kept.push((&once.request, first));
        }
    }
    if !kept.is_empty() {
        idempotency::keep(tx, &kept, now).await?;
    }
    let landing = |(place, standing): (usize, &UnitStanding)| match standing {
        UnitStanding::Open => Landing::Landed(answers.remove(&place).unwrap_or_default()),
        UnitStanding::Before(first) => Landing::Before(first.clone()),
        UnitStanding::Running => Landing::Running,
        // A first that was refused is not kept, so the repeat is to be tried by itself.
        UnitStanding::RepeatOf(first) => firsts
            .get(first)
            .cloned()
            .map_or(Landing::Running, Landing::Before),
    };
    Ok(standings.iter().enumerate().map(landing).collect())
}

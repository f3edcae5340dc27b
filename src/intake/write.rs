//! One transaction: keys claimed, rows inserted, jobs enqueued, answers kept, committed.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::{EventId, NotificationId};
use queue::Clock;
use store::{Store, StoreError, Tx};
use uuid::Uuid;

use super::claim::{Standing, first_of_each, settle};
use super::first::{self, UnitStanding};
use super::row::Content;
use super::{Answer, Landing, Once, Row};

/// SQLSTATE of a row whose key is there already.
const UNIQUE_VIOLATION: &str = "23505";

/// How a transaction can fail.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Postgres was away or busy: the same transaction may succeed later. Whether it was committed
    /// is open.
    Passing(StoreError),
    /// There was no answer in time. Whether it was committed is open.
    Late,
    /// A row of the group is not acceptable and never will be. Nothing was committed.
    Refused { detail: String },
}

/// What of a unit is written.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    pub(super) rows: &'a [Row],
    pub(super) once: Option<&'a Once>,
    /// Rows that the database is known to refuse, by their place, and why. They are left out.
    pub(super) refused: &'a BTreeMap<usize, String>,
}

/// Whether a transaction is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Commit,
    /// Only to see whether the database would take it.
    Rollback,
}

/// Writes `units` in one transaction and says what became of each.
///
/// `may_have_landed` is set when an earlier try of the same rows ended without an answer: rows
/// that are there already are then left alone and count as accepted.
pub(super) async fn write(
    store: &Store,
    units: &[Writing<'_>],
    clock: &Clock,
    may_have_landed: bool,
    ending: Ending,
) -> Result<Vec<Landing>, WriteError> {
    let verdict = |error| verdict(error, may_have_landed);
    let now = clock.now();
    let mut tx = store.begin().await.map_err(verdict)?;
    let units_stand = first::look(&mut tx, units, now).await.map_err(verdict)?;
    let rows: Vec<&Row> = units
        .iter()
        .zip(&units_stand)
        .filter(|(_, standing)| **standing == UnitStanding::Open)
        .flat_map(|(unit, _)| unit.good_rows())
        .collect();

    let standings = claim_keys(&mut tx, &rows, now).await.map_err(verdict)?;
    let landed = if may_have_landed {
        landed(&mut tx, &rows).await.map_err(verdict)?
    } else {
        HashSet::new()
    };
    insert(&mut tx, &rows, &standings, &landed, clock)
        .await
        .map_err(verdict)?;

    let mut answers = (0..rows.len()).map(|place| answer(&rows, &standings, place));
    let by_unit: HashMap<usize, Vec<Answer>> = units
        .iter()
        .enumerate()
        .filter(|(place, _)| units_stand.get(*place) == Some(&UnitStanding::Open))
        .map(|(place, unit)| (place, unit.answers(&mut answers)))
        .collect();
    let landings = first::keep(&mut tx, units, &units_stand, by_unit, now)
        .await
        .map_err(verdict)?;
    match ending {
        Ending::Commit => tx.commit().await,
        Ending::Rollback => tx.rollback().await,
    }
    .map_err(verdict)?;
    Ok(landings)
}

impl Writing<'_> {
    fn good_rows(&self) -> impl Iterator<Item = &Row> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(place, _)| !self.refused.contains_key(place))
            .map(|(_, row)| row)
    }

    /// The answers of all rows, taking those of the good ones from `answers`.
    fn answers(&self, answers: &mut impl Iterator<Item = Answer>) -> Vec<Answer> {
        let answer = |place| match self.refused.get(&place) {
            Some(detail) => Some(Answer::Refused {
                detail: detail.clone(),
            }),
            None => answers.next(),
        };
        (0..self.rows.len()).filter_map(answer).collect()
    }
}

/// Inserts the rows that are fresh and not there yet, and their jobs.
async fn insert(
    tx: &mut Tx,
    rows: &[&Row],
    standings: &[Standing],
    landed: &HashSet<Uuid>,
    clock: &Clock,
) -> Result<(), StoreError> {
    let (mut events, mut notifications, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for (row, standing) in rows.iter().zip(standings) {
        if *standing != Standing::Fresh || landed.contains(&row.id) {
            continue;
        }
        match &row.content {
            Content::Event(event) => events.push(event.as_ref()),
            Content::Notification(sent) => notifications.push(sent.as_ref()),
        }
        jobs.push(&row.job);
    }
    store::events::insert_events(tx, events).await?;
    store::notifications::insert_notifications(tx, notifications).await?;
    queue::enqueue(tx, jobs, clock.fixed())
        .await
        .map_err(|error| StoreError::Database {
            operation: "enqueue route jobs",
            source: error.source,
        })
}

/// Tells a passing fault from a refusal.
fn verdict(error: StoreError, may_have_landed: bool) -> WriteError {
    let code = code_of(&error);
    // The only unique columns not covered by a claim are our own ids: the transaction whose answer
    // was lost was still committing when we looked, and has landed now.
    let has_landed_meanwhile = may_have_landed && code.as_deref() == Some(UNIQUE_VIOLATION);
    if error.is_transient() || has_landed_meanwhile {
        return WriteError::Passing(error);
    }
    let detail = match code {
        Some(code) => format!("the database refuses this row (SQLSTATE {code})"),
        None => "the database refuses this row".to_owned(),
    };
    WriteError::Refused { detail }
}

fn code_of(error: &StoreError) -> Option<String> {
    let StoreError::Database { source, .. } = error else {
        return None;
    };
    Some(source.as_database_error()?.code()?.into_owned())
}

/// Claims the keys of `rows`: event ids first, then the dedupe keys of those still fresh.
async fn claim_keys(
    tx: &mut Tx,
    rows: &[&Row],
    now: DateTime<Utc>,
) -> Result<Vec<Standing>, StoreError> {
    let mut standings = vec![Standing::Fresh; rows.len()];

    let event_keys = rows.iter().enumerate().filter_map(|(place, row)| {
        let key = row.event_key.as_ref()?;
        Some((place, (&key.tenant_id, &key.producer, &key.event_id)))
    });
    let firsts = first_of_each(event_keys, &mut standings);
    let keys = keys_of(rows, &firsts, |row| row.event_key.clone());
    let claims = store::keys::claim_event_keys(tx, &keys, now).await?;
    settle(&firsts, &claims, &mut standings);

    let dedupe_keys = rows.iter().enumerate().filter_map(|(place, row)| {
        let key = row.dedupe_key.as_ref()?;
        Some((place, (&key.tenant_id, &key.kind, &key.dedupe_key)))
    });
    let firsts = first_of_each(dedupe_keys, &mut standings);
    let keys = keys_of(rows, &firsts, |row| row.dedupe_key.clone());
    let claims = store::keys::claim_dedupe_keys(tx, &keys, now).await?;
    settle(&firsts, &claims, &mut standings);
    Ok(standings)
}

/// The claims of the first rows, in the order of their keys.
fn keys_of<K, C>(
    rows: &[&Row],
    firsts: &BTreeMap<K, usize>,
    claim_of: impl Fn(&Row) -> Option<C>,
) -> Vec<C> {
    firsts
        .values()
        .filter_map(|place| rows.get(*place).copied())
        .filter_map(claim_of)
        .collect()
}

/// The ids of `rows` that are in the tables already.
async fn landed(tx: &mut Tx, rows: &[&Row]) -> Result<HashSet<Uuid>, StoreError> {
    let events: Vec<EventId> = rows.iter().map(|row| row.id.into()).collect();
    let notifications: Vec<NotificationId> = rows.iter().map(|row| row.id.into()).collect();
    let events = store::events::list_events_by_id(tx, &events).await?;
    let notifications = store::notifications::list_notifications_by_id(tx, &notifications).await?;
    let events = events.into_iter().map(|event| event.id.as_uuid());
    Ok(events
        .chain(notifications.into_iter().map(|sent| sent.id.as_uuid()))
        .collect())
}

/// What became of the row at `place`, following repeats within the group to the row they repeat.
fn answer(rows: &[&Row], standings: &[Standing], mut place: usize) -> Answer {
    let mut is_repeat = false;
    // A row only ever repeats an earlier one, so this ends.
    loop {
        match (standings.get(place), rows.get(place)) {
            (Some(Standing::RepeatOfPlace(first)), _) => {
                place = *first;
                is_repeat = true;
            }
            (Some(Standing::RepeatOf(id)), _) => return Answer::Duplicate { id: *id },
            (_, Some(row)) if is_repeat => return Answer::Duplicate { id: row.id },
            (_, Some(row)) => return Answer::Accepted { id: row.id },
            (_, None) => {
                return Answer::Refused {
                    detail: "there is no such row".to_owned(),
                };
            }
        }
    }
}

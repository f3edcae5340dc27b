//! Sorts effects by table and folds those of one delivery into one change of its row.
//!
//! One row is updated once per statement, so two effects of one delivery, an attempt and the move
//! that follows from it, must be one change before anything is written. A delivery that is planned
//! here, too, is inserted as what it has come to by the end of the settlement.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::{
    Channel, DeliveryId, Message, NotificationId, ReplayId, ReplayState, Status, TraceStep,
};
use uuid::Uuid;

use super::count::Facts;
use super::digests::Wanted;
use crate::effect::{
    DeliveryMove, Effect, InboxArrival, NewAttempt, NewDelivery, NewNotification, Stored,
};
use crate::events::NewEvent;

/// The effects of a settlement, by what they write; each list in effect order.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    pub(super) events: Vec<&'a NewEvent>,
    pub(super) notifications: Vec<&'a NewNotification>,
    pub(super) deliveries: Vec<&'a NewDelivery>,
    /// Stand-ins, which may be there.
    pub(super) added: Vec<&'a NewDelivery>,
    pub(super) routed: Vec<Routed<'a>>,
    pub(super) rendered: Vec<Rendered<'a>>,
    pub(super) changes: Vec<Change<'a>>,
    pub(super) traces: Vec<Trace<'a>>,
    pub(super) outbox: Vec<&'a Stored>,
    pub(super) digests: Wanted<'a>,
    pub(super) ended_replays: Vec<(ReplayId, ReplayState, DateTime<Utc>)>,
}

/// A direct send that was routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routed<'a> {
    pub(super) id: NotificationId,
    pub(super) status: Status,
    pub(super) delivery_count: u16,
    pub(super) category: Option<&'a str>,
    pub(super) locale: Option<&'a str>,
    pub(super) template_version: Option<u32>,
}

/// A row of `traces`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace<'a> {
    pub(crate) subject_id: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) steps: &'a [TraceStep],
}

/// An effect on a delivery that depends on where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Moved(&'a DeliveryMove),
    Arrived(&'a InboxArrival),
    Attempted(&'a NewAttempt),
}

impl Change<'_> {
    fn delivery_id(&self) -> DeliveryId {
        match self {
            Self::Moved(moved) => moved.id,
            Self::Arrived(arrival) => arrival.delivery_id,
            Self::Attempted(attempt) => attempt.delivery_id,
        }
    }
}

/// What rendering writes to a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rendered<'a> {
    pub(super) id: DeliveryId,
    pub(super) message: &'a Message,
    pub(super) template: Option<&'a str>,
    pub(super) locale: Option<&'a str>,
    pub(super) job_id: Option<Uuid>,
}

impl<'a> Sorted<'a> {
    pub(super) fn from_effects(effects: impl IntoIterator<Item = &'a Effect>) -> Self {
        let mut sorted = Self::default();
        for effect in effects {
            match effect {
                Effect::EventFired(fired) => sorted.events.push(fired),
                Effect::NotificationPlanned(planned) => sorted.notifications.push(planned),
                Effect::NotificationRouted {
                    id,
                    status,
                    delivery_count,
                    category,
                    locale,
                    template_version,
                } => {
                    sorted.routed.push(Routed {
                        id: *id,
                        status: *status,
                        delivery_count: *delivery_count,
                        category: category.as_deref(),
                        locale: locale.as_deref(),
                        template_version: *template_version,
                    });
                }
                Effect::DeliveryPlanned(planned) => sorted.deliveries.push(planned),
                Effect::DeliveryAdded(added) => sorted.added.push(added),
                Effect::DeliveryRendered {
                    id,
                    message,
                    template,
                    locale,
                    job_id,
                } => {
                    sorted.rendered.push(Rendered {
                        id: *id,
                        message,
                        template: template.as_deref(),
                        locale: locale.as_deref(),
                        job_id: *job_id,
                    });
                }
                Effect::DeliveryMoved(moved) => sorted.changes.push(Change::Moved(moved)),
                Effect::InboxArrived(arrival) => sorted.changes.push(Change::Arrived(arrival)),
                Effect::Attempted(attempt) => sorted.changes.push(Change::Attempted(attempt)),
                Effect::OutboxStored(stored) => sorted.outbox.push(stored),
                Effect::Traced {
                    subject_id,
                    at,
                    steps,
                } => {
                    sorted.traces.push(Trace {
                        subject_id: *subject_id,
                        at: *at,
                        steps,
                    });
                }
                Effect::DigestJoined(join) => sorted.digests.joins.push(join),
                Effect::DigestClosed(close) => sorted.digests.closings.push(close),
                Effect::DigestPostponed(postpone) => sorted.digests.postponed.push(postpone),
                Effect::DigestLeft { id, source_id } => sorted.digests.left.push((*id, *source_id)),
                Effect::DigestTold {
                    id,
                    notification_id,
                } => sorted.digests.told.push((*id, *notification_id)),
                Effect::ReplayEnded {
                    replay_id,
                    state,
                    at,
                } => sorted.ended_replays.push((*replay_id, *state, *at)),
            }
        }
        sorted
    }

    /// The direct sends among the `routed` rows that count as emitted: not those that ended before
    /// they were routed, and that an operator may yet replay.
    pub(super) fn emitted(&self, routed: &[(NotificationId, Facts)]) -> Vec<NotificationId> {
        let moved: HashSet<_> = routed.iter().map(|(id, _)| *id).collect();
        let is_emitted = |row: &&Routed<'_>| {
            let is_undone = matches!(
                row.status,
                Status::Cancelled | Status::Failed | Status::Expired
            );
            moved.contains(&row.id) && (row.delivery_count > 0 || !is_undone)
        };
        self.routed
            .iter()
            .filter(is_emitted)
            .map(|row| row.id)
            .collect()
    }

    /// The deliveries that are changed, sorted, each once.
    pub(super) fn changed_ids(&self) -> Vec<DeliveryId> {
        let changed = self.changes.iter();
        let mut ids: Vec<_> = changed.map(Change::delivery_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// A delivery's row, as locked or as planned, and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct DeliveryRow<'a> {
    pub(super) id: DeliveryId,
    pub(super) notification_id: NotificationId,
    pub(super) channel: Channel,
    pub(super) status: Status,
    /// Where it stood when it was locked.
    pub(super) was: Status,
    pub(super) attempts: u16,
    pub(super) seq: Option<i64>,
    pub(super) provider: Option<&'a str>,
    /// Why it moved; what was said before stays if it did not.
    pub(super) error: Option<&'a str>,
    pub(super) is_moved: bool,
    pub(super) job_id: Option<Uuid>,
    /// When it was changed; `None` while it is as it was read.
    pub(super) changed_at: Option<DateTime<Utc>>,
    /// Whether this settlement inserts it.
    pub(super) is_new: bool,
}

impl<'a> DeliveryRow<'a> {
    pub(super) fn planned(row: &'a NewDelivery) -> Self {
        Self {
            error: row.error.as_deref(),
            is_new: true,
            ..Self::locked(
                row.id,
                row.notification_id,
                row.channel,
                row.status,
                0,
                row.job_id,
            )
        }
    }

    pub(super) fn locked(
        id: DeliveryId,
        notification_id: NotificationId,
        channel: Channel,
        status: Status,
        attempts: u16,
        job_id: Option<Uuid>,
    ) -> Self {
        Self {
            id,
            notification_id,
            channel,
            status,
            was: status,
            attempts,
            seq: None,
            provider: None,
            error: None,
            is_moved: false,
            job_id,
            changed_at: None,
            is_new: false,
        }
    }
}

/// A status change that went through, for its notification and for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) delivery_id: DeliveryId,
    pub(super) notification_id: NotificationId,
    pub(super) channel: Channel,
    pub(super) from: Status,
    pub(super) status: Status,
    pub(super) at: DateTime<Utc>,
    pub(super) is_sole: bool,
}

/// The deliveries that a settlement changes or plans, as they come to be before they are written.
#[derive(Debug)]
pub(super) struct Deliveries<'a> {
    /// Those that were locked come sorted by id.
    rows: Vec<DeliveryRow<'a>>,
    places: HashMap<DeliveryId, usize>,
    /// Arrivals that went through, in effect order.
    pub(super) arrivals: Vec<&'a InboxArrival>,
    pub(super) attempts: Vec<&'a NewAttempt>,
    pub(super) moves: Vec<Moved>,
}

impl<'a> Deliveries<'a> {
    pub(super) fn new(rows: Vec<DeliveryRow<'a>>) -> Self {
        let places = rows
            .iter()
            .enumerate()
            .map(|(place, row)| (row.id, place))
            .collect();
        Self {
            rows,
            places,
            arrivals: Vec::new(),
            attempts: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// Folds one effect in; one that the status lattice forbids changes nothing.
    pub(super) fn change(&mut self, change: &Change<'a>) -> Result<(), sqlx::Error> {
        let place = self
            .places
            .get(&change.delivery_id())
            .ok_or(sqlx::Error::RowNotFound)?;
        let row = self.rows.get_mut(*place).ok_or(sqlx::Error::RowNotFound)?;
        match *change {
            Change::Moved(moved) => {
                if row.status.can_become(moved.status) {
                    let from = std::mem::replace(&mut row.status, moved.status);
                    row.provider = moved.provider.as_deref().or(row.provider);
                    row.error = moved.error.as_deref();
                    row.is_moved = true;
                    row.job_id = moved.job_id;
                    row.changed_at = Some(moved.at);
                    self.moves.push(Moved {
                        delivery_id: row.id,
                        notification_id: row.notification_id,
                        channel: row.channel,
                        from,
                        status: moved.status,
                        at: moved.at,
                        is_sole: moved.is_sole,
                    });
                }
            }
            Change::Arrived(arrival) => {
                if row.status.can_become(Status::Delivered) {
                    let from = std::mem::replace(&mut row.status, Status::Delivered);
                    row.provider = Some(domain::Channel::InApp.as_str());
                    row.error = None;
                    row.is_moved = true;
                    row.job_id = None;
                    row.attempts = row.attempts.max(arrival.attempt);
                    row.changed_at = Some(arrival.at);
                    self.arrivals.push(arrival);
                    self.moves.push(Moved {
                        delivery_id: row.id,
                        notification_id: row.notification_id,
                        channel: row.channel,
                        from,
                        status: Status::Delivered,
                        at: arrival.at,
                        is_sole: arrival.is_sole,
                    });
                }
            }
            Change::Attempted(attempt) => {
                row.attempts = row.attempts.max(attempt.number);
                row.provider = Some(&attempt.provider);
                row.changed_at = row.changed_at.max(Some(attempt.finished_at));
                self.attempts.push(attempt);
            }
        }
        Ok(())
    }

    /// Notes the number that an arrival was given.
    pub(super) fn number(&mut self, id: DeliveryId, seq: i64) {
        if let Some(row) = self
            .places
            .get(&id)
            .and_then(|&place| self.rows.get_mut(place))
        {
            row.seq = Some(seq);
        }
    }

    pub(super) fn row(&self, id: DeliveryId) -> Option<&DeliveryRow<'a>> {
        self.rows.get(*self.places.get(&id)?)
    }

    /// What was changed, planned here or not.
    pub(super) fn changed(&self) -> impl Iterator<Item = &DeliveryRow<'a>> {
        self.rows.iter().filter(|row| row.changed_at.is_some())
    }

    /// What the deliveries planned here make of their notifications, where any of them was moved.
    pub(super) fn statuses_of_new(&self) -> HashMap<NotificationId, Status> {
        let moved: HashSet<_> = self
            .changed()
            .filter(|row| row.is_new && row.is_moved)
            .map(|row| row.notification_id)
            .collect();
        let mut siblings: HashMap<_, Vec<_>> = HashMap::with_capacity(moved.len());
        let new = self.rows.iter().filter(|row| row.is_new);
        for row in new.filter(|row| moved.contains(&row.notification_id)) {
            siblings
                .entry(row.notification_id)
                .or_default()
                .push(row.status);
        }
        let summed = siblings.into_iter();
        summed
            .map(|(id, statuses)| (id, Status::aggregate(statuses)))
            .collect()
    }
}

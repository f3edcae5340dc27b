//! Counter: which slots of one limit are taken, and when the next is free.

/// Up to so many slots are remembered one by one; more of them in steps.
const RING_MAX: u32 = 100;

/// The steps in which the slots of a large limit are remembered, of its window.
const STEPS: i64 = 60;

/// Bytes of the moment at the front, and of each entry behind it.
const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 12;

/// The slots of one limit for one subject.
///
/// A small limit (up to 100) remembers each slot at its moment, so it admits exactly what the
/// definition admits. A large one remembers a slot at the end of its step, a sixtieth of the window:
/// it counts a little longer than it need, never shorter. Either way an entry says what it is, so a
/// limit can be changed while its slots are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counter {
    /// The latest moment at which a slot was taken. Time does not go back behind it: what was
    /// forgotten by then may count at an earlier moment.
    seen: i64,
    /// Oldest first.
    slots: Vec<Entry>,
}

/// Slots that are free at one moment again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// They count from here, in microseconds since 1970, for as long as the limit says.
    from: i64,
    count: u32,
}

/// What a counter is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) max: u32,
    /// How long a slot counts, in microseconds.
    pub(crate) micros: i64,
}

impl Counter {
    /// When there is a slot, behind `ahead` others that wait: `None` is now, else the exact moment.
    pub(crate) fn free_at(&self, now: i64, quota: Quota, ahead: u32) -> Option<i64> {
        let max = quota.max.max(1);
        let now = self.moment(now, quota);
        let taken: u64 = self
            .live(now, quota)
            .map(|entry| u64::from(entry.count))
            .sum();
        if taken + u64::from(ahead) < u64::from(max) {
            return None;
        }
        // Those who wait take the slots in turn; after `max` of them it begins again.
        let (rounds, turn) = (ahead / max, ahead % max);
        let needed = (taken + u64::from(turn) + 1).saturating_sub(u64::from(max));
        let mut freed = 0;
        let entry = self.live(now, quota).find(|entry| {
            freed += u64::from(entry.count);
            freed >= needed
        });
        let first = entry.map_or(now, |entry| entry.from + quota.micros);
        Some(first + i64::from(rounds).saturating_mul(quota.micros))
    }

    /// Takes a slot, whether there is one or not, and answers when all are free again.
    pub(crate) fn take(&mut self, now: i64, quota: Quota) -> i64 {
        let now = self.moment(now, quota);
        if self.seen > now {
            // The clock was set back by more than a window, so it had been wrong: what it said then
            // counts from now on.
            for entry in &mut self.slots {
                entry.from = entry.from.min(now);
            }
        }
        self.slots.retain(|entry| entry.from + quota.micros > now);
        self.seen = now;
        let from = if quota.max <= RING_MAX {
            now
        } else {
            let step = (quota.micros / STEPS).max(1);
            (now + step - 1).div_euclid(step) * step
        };
        match self.slots.last_mut() {
            Some(last) if last.from >= from => {
                last.count = last.count.saturating_add(1);
                last.from + quota.micros
            }
            _ => {
                self.slots.push(Entry { from, count: 1 });
                from + quota.micros
            }
        }
    }

    /// The moment it is for this counter: see [`seen`](Self::seen).
    fn moment(&self, now: i64, quota: Quota) -> i64 {
        let is_set_back = self.seen.saturating_sub(now) > quota.micros;
        if is_set_back { now } else { self.seen.max(now) }
    }

    fn live(&self, now: i64, quota: Quota) -> impl Iterator<Item = Entry> {
        let is_set_back = self.seen > now;
        let entries = self.slots.iter().map(move |&entry| Entry {
            from: if is_set_back {
                entry.from.min(now)
            } else {
                entry.from
            },
            ..entry
        });
        entries.filter(move |entry| entry.from + quota.micros > now)
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.slots.len() * ENTRY_BYTES);
        bytes.extend(self.seen.to_be_bytes());
        for entry in &self.slots {
            bytes.extend(entry.from.to_be_bytes());
            bytes.extend(entry.count.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; nothing at all is a counter that is empty.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (seen, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (entries, left) = rest.as_chunks::<ENTRY_BYTES>();
        let slots = entries.iter().map(|entry| {
            let (from, count) = entry.split_first_chunk()?;
            Some(Entry {
                from: i64::from_be_bytes(*from),
                count: u32::from_be_bytes(count.try_into().ok()?),
            })
        });
        let slots: Option<Vec<_>> = slots.collect();
        left.is_empty().then_some(Self {
            seen: i64::from_be_bytes(*seen),
            slots: slots?,
        })
    }

    /// Entries held, for tests of how large one becomes.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.slots.len()
    }

    /// The latest moment at which a slot was taken.
    #[cfg(test)]
    pub(super) fn seen(&self) -> i64 {
        self.seen
    }
}

//! Room for bodies: how many bytes of them are read and worked on at once.
//!
//! Small bodies have a part of their own, so that a single event never waits behind batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes per permit: a semaphore counts to less than the bytes of a big machine's memory.
const UNIT_BYTES: usize = 1024;

/// Up to this a body is small.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// How long a request waits for room: not much longer than a batch takes to be written.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A body's room. Dropping it gives it back.
pub(super) type Room = OwnedSemaphorePermit;

/// The room of one process.
#[derive(Debug)]
pub(super) struct BodyBudget {
    small: Part,
    large: Part,
}

#[derive(Debug)]
struct Part {
    room: Arc<Semaphore>,
    units: u32,
}

impl Part {
    fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS / 2);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Self {
            room: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }
}

impl BodyBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            small: Part::new(bytes / 8),
            large: Part::new(bytes - bytes / 8),
        }
    }

    /// Waits for room for `bytes`; `None` if there is none in time. What is larger than everything
    /// has everything to itself.
    pub(super) async fn room(&self, bytes: usize) -> Option<Room> {
        let part = if bytes <= SMALL_BYTES_MAX {
            &self.small
        } else {
            &self.large
        };
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&part.room).acquire_many_owned(units.clamp(1, part.units));
        timeout(WAIT_MAX, room).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_each_other_and_small_ones_for_none_of_them() {
        let budget = BodyBudget::new(8 * 1024 * 1024);
        let all = budget.room(16 * 1024 * 1024).await.unwrap();

        assert!(budget.room(SMALL_BYTES_MAX + 1).await.is_none());
        assert!(budget.room(SMALL_BYTES_MAX).await.is_some());
        drop(all);
        assert!(budget.room(7 * 1024 * 1024).await.is_some());
    }
}

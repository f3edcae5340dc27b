//! Pure: how many slots of a queue one lane may take.
//!
//! A lane is a destination. One that answers slowly would fill every slot with its waiting senders,
//! and a job for another destination would wait until one of them gives up. So where handlers wait
//! for somebody, a lane may hold at most twice as many slots as are still free: alone it gets two
//! thirds of them, two get two fifths each, and whoever comes next finds room at once. No lane is
//! counted that holds nothing, so nothing is set aside for the absent beyond that last part.
//!
//! This is the dynamic threshold that switches use for buffers which many ports share (Choudhury
//! and Hahne, 1998).

use crate::job::LANES;

/// A lane may hold this many times the slots that are free.
const SPREAD: u32 = 2;

/// The slots of one queue on this node, as a claim finds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u32,
    /// Held per lane; `None` where lanes need not spare each other.
    held: Option<[u32; LANES as usize]>,
}

impl Room {
    /// `free` slots for whoever comes first.
    pub(crate) fn open(free: u32) -> Self {
        Self { free, held: None }
    }

    /// `free` slots, shared by lanes that hold so many already.
    pub(crate) fn shared(free: u32, held: [u32; LANES as usize]) -> Self {
        Self {
            free,
            held: Some(held),
        }
    }

    /// Whether `lane` may take one more.
    pub(crate) fn admits(&self, lane: u8) -> bool {
        self.free > 0
            && self.held.as_ref().is_none_or(|held| {
                let held = held[usize::from(lane % LANES)];
                held < self.free.saturating_mul(SPREAD)
            })
    }

    /// Notes that `lane` took one.
    pub(crate) fn take(&mut self, lane: u8) {
        self.free = self.free.saturating_sub(1);
        if let Some(held) = &mut self.held {
            held[usize::from(lane % LANES)] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets `lane` take what it may, and answers how much that was.
    fn fill(room: &mut Room, lane: u8) -> u32 {
        let before = room.free;
        while room.admits(lane) {
            room.take(lane);
        }
        before - room.free
    }

    #[test]
    fn lanes_that_never_give_back_leave_room_for_the_next_one() {
        let mut room = Room::shared(240, [0; 32]);

        let taken = [0, 1, 2, 3].map(|lane| fill(&mut room, lane));

        assert_eq!(taken, [160, 54, 18, 6]);
        assert_eq!(room.free, 2);
    }

    #[test]
    fn an_open_room_is_filled_by_one_lane() {
        let mut room = Room::open(240);
        assert_eq!(fill(&mut room, 7), 240);
    }

    proptest! {
        #[test]
        fn whoever_holds_nothing_is_admitted_while_a_slot_is_free(
            free in 1_u32..1000,
            held in prop::array::uniform32(0_u32..100),
            lane in 0_u8..32,
        ) {
            let mut held = held;
            held[usize::from(lane)] = 0;
            prop_assert!(Room::shared(free, held).admits(lane));
        }
    }
}

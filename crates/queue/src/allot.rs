//! Pure: how the next claim is shared among what waits.
//!
//! Queues take turns, the classes of a queue share by weight, the lanes of a class take turns. So
//! an urgent job goes first without a less urgent one starving, and one tenant's million jobs cost
//! another at most its share of the lanes.

use std::collections::HashMap;

use crate::job::{LANES, Priority};
use crate::room::Room;

/// Share of a claim per class, while all classes wait: 8 critical to 1 low.
const WEIGHTS: [i32; 4] = [8, 4, 2, 1];

/// One (queue, priority, lane) in which jobs wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    pub(crate) lane: u8,
}

/// How many jobs to take from one (queue, priority, lane).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    pub(crate) waiting: Waiting,
    pub(crate) jobs: u32,
}

/// Remembers whose turn it is from claim to claim.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queue: usize,
    /// Per queue: credits of the smooth weighted round robin over classes.
    credits: HashMap<String, [i32; 4]>,
    /// Per (queue, class): the lane that was served last.
    lanes: HashMap<(String, Priority), u8>,
}

/// One queue's waiting lanes by class, during one call of [`Turns::allot`].
struct Pending<'a> {
    queue: &'a str,
    room: Room,
    /// Per class: (lane, jobs given so far), by lane.
    classes: [Vec<(u8, u32)>; 4],
    /// Per class: index of the lane whose turn is next.
    next: [usize; 4],
}

impl Turns {
    /// Shares up to `batch` jobs among `waiting`, of each queue as many as its `room` admits.
    pub(crate) fn allot(
        &mut self,
        waiting: &[Waiting],
        room: impl Fn(&str) -> Room,
        batch: u32,
    ) -> Vec<Share> {
        let mut pending = self.pending(waiting, room);
        let mut left = batch;
        while left > 0 {
            let count = pending.len();
            let Some(index) = (0..count)
                .map(|step| (self.queue + step) % count)
                .find(|&index| pending[index].has_turn())
            else {
                break;
            };
            self.queue = index + 1;
            let queue = &mut pending[index];
            let credits = self.credits.entry(queue.queue.to_owned()).or_default();
            queue.give_one(credits);
            left -= 1;
        }
        self.remember(&pending);
        shares(&pending)
    }

    fn pending<'a>(&self, waiting: &'a [Waiting], room: impl Fn(&str) -> Room) -> Vec<Pending<'a>> {
        let mut pending: Vec<Pending<'a>> = Vec::new();
        for item in waiting {
            let index = pending.iter().position(|queue| queue.queue == item.queue);
            let index = index.unwrap_or_else(|| {
                pending.push(Pending {
                    queue: &item.queue,
                    room: room(&item.queue),
                    classes: [const { Vec::new() }; 4],
                    next: [0; 4],
                });
                pending.len() - 1
            });
            pending[index].classes[item.priority as usize].push((item.lane, 0));
        }
        for queue in &mut pending {
            for class in Priority::ALL {
                let lanes = &mut queue.classes[class as usize];
                lanes.sort_unstable_by_key(|&(lane, _)| lane);
                let last = self.lanes.get(&(queue.queue.to_owned(), class)).copied();
                let after = last.map_or(0, |lane| (lane + 1) % LANES);
                queue.next[class as usize] = lanes
                    .iter()
                    .position(|&(lane, _)| lane >= after)
                    .unwrap_or(0);
            }
        }
        pending
    }

    fn remember(&mut self, pending: &[Pending<'_>]) {
        for queue in pending {
            for class in Priority::ALL {
                let lanes = &queue.classes[class as usize];
                if lanes.iter().all(|&(_, jobs)| jobs == 0) {
                    continue;
                }
                let served = (queue.next[class as usize] + lanes.len() - 1) % lanes.len();
                self.lanes
                    .insert((queue.queue.to_owned(), class), lanes[served].0);
            }
        }
    }
}

impl Pending<'_> {
    /// Whether any lane may take a job.
    fn has_turn(&self) -> bool {
        (0..4).any(|class| self.turn(class).is_some())
    }

    /// The next lane of a class that its queue's room admits.
    fn turn(&self, class: usize) -> Option<usize> {
        let (lanes, next) = (&self.classes[class], self.next[class]);
        (0..lanes.len())
            .map(|step| (next + step) % lanes.len())
            .find(|&index| self.room.admits(lanes[index].0))
    }

    /// Gives one job to the class with the most credit, and in it to the lane whose turn it is.
    fn give_one(&mut self, credits: &mut [i32; 4]) {
        let mut total = 0;
        let mut chosen = None;
        for class in 0..4 {
            if self.turn(class).is_none() {
                continue;
            }
            credits[class] += WEIGHTS[class];
            total += WEIGHTS[class];
            if chosen.is_none_or(|best: usize| credits[class] > credits[best]) {
                chosen = Some(class);
            }
        }
        if let Some((class, turn)) = chosen.and_then(|class| Some((class, self.turn(class)?))) {
            credits[class] -= total;
            let lanes = &mut self.classes[class];
            lanes[turn].1 += 1;
            self.room.take(lanes[turn].0);
            self.next[class] = (turn + 1) % lanes.len();
        }
    }
}

fn shares(pending: &[Pending<'_>]) -> Vec<Share> {
    let mut shares = Vec::new();
    for queue in pending {
        for priority in Priority::ALL {
            for &(lane, jobs) in &queue.classes[priority as usize] {
                if jobs > 0 {
                    let waiting = Waiting {
                        queue: queue.queue.to_owned(),
                        priority,
                        lane,
                    };
                    shares.push(Share { waiting, jobs });
                }
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(queue: &str, priority: Priority, lane: u8) -> Waiting {
        Waiting {
            queue: queue.to_owned(),
            priority,
            lane,
        }
    }

    fn taken(shares: &[Share], matches: impl Fn(&Waiting) -> bool) -> u32 {
        shares
            .iter()
            .filter(|share| matches(&share.waiting))
            .map(|share| share.jobs)
            .sum()
    }

    #[test]
    fn classes_share_by_weight_and_the_lowest_is_served() {
        let all: Vec<_> = Priority::ALL.map(|class| waiting("email", class, 0)).into();

        let shares = Turns::default().allot(&all, |_| Room::open(150), 150);

        let by_class = Priority::ALL.map(|class| taken(&shares, |w| w.priority == class));
        assert_eq!(by_class, [80, 40, 20, 10]);
    }

    #[test]
    fn even_one_slot_at_a_time_serves_every_class_within_fifteen_claims() {
        let all: Vec<_> = Priority::ALL.map(|class| waiting("email", class, 0)).into();
        let mut turns = Turns::default();

        let mut served = [0; 4];
        for _ in 0..15 {
            for share in turns.allot(&all, |_| Room::open(1), 1) {
                served[share.waiting.priority as usize] += share.jobs;
            }
        }

        assert_eq!(served, [8, 4, 2, 1]);
    }

    #[test]
    fn a_class_alone_takes_everything() {
        let only = [waiting("email", Priority::Low, 3)];

        let shares = Turns::default().allot(&only, |_| Room::open(1000), 500);

        assert_eq!(
            shares,
            [Share {
                waiting: only[0].clone(),
                jobs: 500
            }]
        );
    }

    #[test]
    fn lanes_take_turns_from_claim_to_claim() {
        let lanes = [1, 5, 9].map(|lane| waiting("email", Priority::Normal, lane));
        let mut turns = Turns::default();

        let order: Vec<u8> = (0..6)
            .map(|_| turns.allot(&lanes, |_| Room::open(1), 1)[0].waiting.lane)
            .collect();

        assert_eq!(order, [1, 5, 9, 1, 5, 9]);
    }

    #[test]
    fn no_queue_gets_more_than_its_free_slots_and_none_is_left_out() {
        let all = [
            waiting("email", Priority::Normal, 0),
            waiting("sms", Priority::Normal, 0),
            waiting("push", Priority::Normal, 0),
        ];
        let room = |queue: &str| Room::open(if queue == "sms" { 2 } else { 400 });

        let shares = Turns::default().allot(&all, room, 500);

        assert_eq!(taken(&shares, |w| w.queue == "sms"), 2);
        assert_eq!(taken(&shares, |w| w.queue == "email"), 249);
        assert_eq!(taken(&shares, |w| w.queue == "push"), 249);
    }

    #[test]
    fn a_full_queue_takes_nothing_and_does_not_block_the_others() {
        let all = [
            waiting("email", Priority::Critical, 0),
            waiting("sms", Priority::Low, 0),
        ];

        let room = |queue: &str| Room::open(u32::from(queue == "sms") * 10);
        let shares = Turns::default().allot(&all, room, 500);

        assert_eq!(taken(&shares, |w| w.queue == "email"), 0);
        assert_eq!(taken(&shares, |w| w.queue == "sms"), 10);
    }

    #[test]
    fn a_lane_that_holds_its_part_is_passed_over_and_the_others_go_on() {
        let all = [3, 9].map(|lane| waiting("webhook", Priority::Normal, lane));
        let mut held = [0; 32];
        held[3] = 60;
        let room = |_: &str| Room::shared(30, held);

        let shares = Turns::default().allot(&all, room, 500);

        assert_eq!(taken(&shares, |w| w.lane == 3), 0);
        assert_eq!(taken(&shares, |w| w.lane == 9), 20);
    }
}

//! How many jobs of each queue a process holds.

use domain::Channel;
use queue::Limits;

/// Limits per queue, from the configured concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Sends at once per outside channel.
    pub concurrency: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { concurrency: 256 }
    }
}

/// Jobs held of a queue whose handlers only compute. Twice a claim, so that one claim is worked on
/// while the next is on its way and the settlement of the last is under way.
const COMPUTED_AHEAD: usize = 1500;

impl WorkerLimits {
    /// The limits of one queue.
    ///
    /// Routing, rendering and in-app delivery wait for nobody, so many are held at once. The senders
    /// of an outside channel wait for its destinations, so these share them, and nothing is claimed
    /// ahead. Sms and voice are claimed durably as well, since a message that may have gone out must
    /// not be sent again unasked.
    pub(crate) fn of(self, queue: &str) -> Limits {
        match Channel::parse(queue) {
            None | Some(Channel::InApp) => Limits::new(256, COMPUTED_AHEAD),
            Some(Channel::Sms | Channel::Voice) => Limits::careful(self.concurrency).shared(),
            Some(_) => Limits::new(self.concurrency, 0).shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues;

    #[test]
    fn sms_and_voice_are_claimed_into_free_senders_only() {
        let limits = WorkerLimits { concurrency: 8 };

        assert!(limits.of("sms").is_careful && limits.of("voice").is_careful);
        assert_eq!(limits.of("sms").held_max(), 8);
        assert!(!limits.of("email").is_careful);
        assert!(limits.of(queues::ROUTE).held_max() > 1000);
    }
}

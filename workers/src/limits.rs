//! How many jobs of each queue a process holds.

use std::collections::BTreeMap;

use domain::Channel;
use queue::Limits;

/// Limits per queue, from the configured concurrency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Sends at once per outside channel.
    pub concurrency: usize,
    /// Sends at once of channels where that does not fit.
    pub overrides: BTreeMap<Channel, usize>,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            concurrency: 256,
            overrides: BTreeMap::new(),
        }
    }
}

/// Jobs held of a queue whose handlers only compute: several claims, so that one is loaded while the
/// next is on its way and others are being settled. What is held goes before whatever comes next,
/// however urgent: half of this many jobs are a quarter of a second.
const COMPUTED_AHEAD: usize = 4000;

impl WorkerLimits {
    /// The limits of one queue.
    ///
    /// Routing, rendering and in-app delivery wait for nobody, so many are held at once. The senders
    /// of an outside channel wait for its destinations, so these share them, and nothing is claimed
    /// ahead. Sms and voice are claimed durably as well, since a message that may have gone out must
    /// not be sent again unasked.
    pub(crate) fn of(&self, queue: &str) -> Limits {
        let sends = |channel| {
            let sends = self.overrides.get(&channel);
            sends.copied().unwrap_or(self.concurrency)
        };
        match Channel::parse(queue) {
            None | Some(Channel::InApp) => Limits::new(256, COMPUTED_AHEAD),
            Some(channel @ (Channel::Sms | Channel::Voice)) => {
                Limits::careful(sends(channel)).shared()
            }
            Some(channel) => Limits::new(sends(channel), 0).shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues;

    #[test]
    fn sms_and_voice_are_claimed_into_free_senders_only() {
        let limits = WorkerLimits {
            concurrency: 8,
            ..WorkerLimits::default()
        };

        assert!(limits.of("sms").is_careful && limits.of("voice").is_careful);
        assert_eq!(limits.of("sms").held_max(), 8);
        assert!(!limits.of("email").is_careful);
        assert!(limits.of(queues::ROUTE).held_max() > 1000);
    }

    #[test]
    fn a_channel_may_have_a_limit_of_its_own() {
        let limits = WorkerLimits {
            concurrency: 8,
            overrides: BTreeMap::from([(Channel::Sms, 2)]),
        };

        assert_eq!(limits.of("sms").concurrency, 2);
        assert_eq!(limits.of("email").concurrency, 8);
    }
}

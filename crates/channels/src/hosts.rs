//! How many messages may be under way to one host: fewer to one that does not answer.
//!
//! A host begins with a few places. Every answer, whatever it says, opens one more up to the limit;
//! every message without an answer halves them. A host that let several in a row go unanswered is
//! silent: one message at a time tries it, and all others fail at once. Otherwise each of them would
//! hold a sender for the whole timeout, and one dead host would cost the living ones theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Places of a host that nothing is known of.
const PLACES_AT_FIRST: usize = 4;

/// Messages in a row without an answer, after which a host is silent.
const SILENT_AFTER: u32 = 3;

/// Hosts that are remembered before those without a message under way are forgotten.
const HOSTS_KEPT: usize = 1024;

/// The hosts of one provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hosts {
    places_max: usize,
    known: Arc<Mutex<HashMap<String, Host>>>,
}

/// What is known of one host.
struct Host {
    places: usize,
    under_way: usize,
    /// Messages in a row without an answer.
    unanswered: u32,
    freed: Arc<Notify>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken by messages that are being answered.
    Busy,
    /// The host does not answer, and another message is finding out whether it still does not.
    Silent,
}

impl Hosts {
    /// At most `places_max` messages at once to each.
    pub(crate) fn new(places_max: usize) -> Self {
        Self {
            places_max: places_max.max(1),
            known: Arc::default(),
        }
    }

    /// Waits until `deadline` for a place at `host`.
    pub(crate) async fn place(&self, host: &str, deadline: Instant) -> Result<Place, NoPlace> {
        loop {
            let freed = match self.try_place(host) {
                Ok(place) => return Ok(place),
                Err(Some(freed)) => freed,
                Err(None) => return Err(NoPlace::Silent),
            };
            let news = freed.notified();
            // What was freed before the wait began is not told again.
            if let Ok(place) = self.try_place(host) {
                return Ok(place);
            }
            if timeout_at(deadline, news).await.is_err() {
                return Err(NoPlace::Busy);
            }
        }
    }

    /// A place, or what tells when one is free; nothing for a silent host.
    fn try_place(&self, host: &str) -> Result<Place, Option<Arc<Notify>>> {
        let mut known = self.lock();
        if !known.contains_key(host) && known.len() >= HOSTS_KEPT {
            known.retain(|_, host| host.under_way > 0);
        }
        let state = known.entry(host.to_owned()).or_insert_with(|| Host {
            places: PLACES_AT_FIRST.min(self.places_max),
            under_way: 0,
            unanswered: 0,
            freed: Arc::default(),
        });
        if state.unanswered >= SILENT_AFTER && state.under_way > 0 {
            return Err(None);
        }
        if state.under_way >= state.places {
            return Err(Some(Arc::clone(&state.freed)));
        }
        state.under_way += 1;
        Ok(Place {
            hosts: self.clone(),
            host: host.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have one message under way to one host, until it is dropped.
pub(crate) struct Place {
    hosts: Hosts,
    host: String,
}

impl Place {
    /// Notes whether the host answered, in whatever way.
    pub(crate) fn ended(self, has_answered: bool) {
        let mut known = self.hosts.lock();
        if let Some(state) = known.get_mut(&self.host) {
            if has_answered {
                state.unanswered = 0;
                state.places = (state.places + 1).min(self.hosts.places_max);
                state.freed.notify_one();
            } else {
                state.unanswered = state.unanswered.saturating_add(1);
                state.places = (state.places / 2).max(1);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(state) = self.hosts.lock().get_mut(&self.host) {
            state.under_way -= 1;
            state.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOST: &str = "https://far.example";

    /// Takes places without waiting, until there is none.
    fn take_all(hosts: &Hosts) -> Vec<Place> {
        std::iter::from_fn(|| hosts.try_place(HOST).ok()).collect()
    }

    async fn refusal(hosts: &Hosts) -> NoPlace {
        let deadline = Instant::now() + Duration::from_secs(1);
        hosts.place(HOST, deadline).await.err().expect("no place")
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_answers_gets_more_up_to_the_limit() {
        let hosts = Hosts::new(10);

        let mut rounds = Vec::new();
        for _ in 0..4 {
            let places = take_all(&hosts);
            rounds.push(places.len());
            assert_eq!(refusal(&hosts).await, NoPlace::Busy);
            places.into_iter().for_each(|place| place.ended(true));
        }

        assert_eq!(rounds, [4, 8, 10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_tried_by_one_message_at_a_time_until_it_answers() {
        let hosts = Hosts::new(10);
        take_all(&hosts)
            .into_iter()
            .for_each(|place| place.ended(false));

        let tries = take_all(&hosts);
        assert_eq!(tries.len(), 1);
        let started = Instant::now();
        assert_eq!(refusal(&hosts).await, NoPlace::Silent);
        assert_eq!(started.elapsed(), Duration::ZERO, "nobody waits for it");

        tries.into_iter().for_each(|place| place.ended(true));
        assert_eq!(take_all(&hosts).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_goes_to_who_waits() {
        let hosts = Hosts::new(1);
        let first = take_all(&hosts).pop().unwrap();

        let waiting = hosts.clone();
        let second = tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(1);
            waiting.place(HOST, deadline).await.is_ok()
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.ended(true);

        assert!(second.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_do_not_share_places_and_those_at_rest_are_forgotten() {
        let hosts = Hosts::new(10);
        let held = take_all(&hosts);
        for n in 0..3 * HOSTS_KEPT {
            drop(hosts.try_place(&format!("https://{n}.example")));
        }

        assert!(hosts.lock().len() <= HOSTS_KEPT);
        assert_eq!(refusal(&hosts).await, NoPlace::Busy);
        drop(held);
        assert_eq!(take_all(&hosts).len(), 4);
    }
}

//! How many messages may be under way to one host: fewer to one that does not answer.
//!
//! A host begins with a few places. Every answer, whatever it says, opens one more up to the limit;
//! every message without an answer halves them. A host that let several in a row go unanswered is
//! silent: one message at a time tries it, and all others fail at once. Otherwise each of them would
//! hold a sender for the whole timeout, and one dead host would cost the living ones theirs. For the
//! same reason nobody waits long for a place at a host that has not answered lately.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Places of a host that nothing is known of.
const PLACES_AT_FIRST: usize = 4;

/// Messages in a row without an answer, after which a host is silent.
const SILENT_AFTER: u32 = 3;

/// How long after its last answer a host is trusted to answer soon.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long a place is waited for at a host that is trusted, and at one that is not. A dead host
/// costs as many senders as messages come to it during the second.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_UNTRUSTED: Duration = Duration::from_millis(100);

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
    answered_at: Option<Instant>,
    freed: Arc<Notify>,
}

impl Host {
    fn is_trusted(&self) -> bool {
        let answered_at = self.answered_at;
        answered_at.is_some_and(|at| at.elapsed() < TRUSTED_FOR)
    }
}

/// What to do where there is no place.
enum Full {
    /// Wait until one is free, but no longer than this in all.
    Wait(Arc<Notify>, Duration),
    GoAway(NoPlace),
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
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

    /// Waits a moment for a place at `host`.
    pub(crate) async fn place(&self, host: &str) -> Result<Place, NoPlace> {
        let since = Instant::now();
        loop {
            let (freed, patience) = match self.try_place(host) {
                Ok(place) => return Ok(place),
                Err(Full::Wait(freed, patience)) => (freed, patience),
                Err(Full::GoAway(reason)) => return Err(reason),
            };
            let mut news = pin!(freed.notified());
            // What is told to all is heard from here on; what was told before shows in the state.
            news.as_mut().enable();
            if let Ok(place) = self.try_place(host) {
                return Ok(place);
            }
            if timeout_at(since + patience, news).await.is_err() {
                return Err(NoPlace::Busy);
            }
        }
    }

    fn try_place(&self, host: &str) -> Result<Place, Full> {
        let mut known = self.lock();
        if !known.contains_key(host) && known.len() >= HOSTS_KEPT {
            known.retain(|_, host| host.under_way > 0);
        }
        let state = known.entry(host.to_owned()).or_insert_with(|| Host {
            places: PLACES_AT_FIRST.min(self.places_max),
            under_way: 0,
            unanswered: 0,
            answered_at: None,
            freed: Arc::default(),
        });
        if state.unanswered >= SILENT_AFTER && state.under_way > 0 {
            return Err(Full::GoAway(NoPlace::Silent));
        }
        if state.under_way >= state.places {
            let patience = if state.is_trusted() {
                PATIENCE
            } else {
                PATIENCE_UNTRUSTED
            };
            return Err(Full::Wait(Arc::clone(&state.freed), patience));
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
                if !state.is_trusted() {
                    // They may wait longer now.
                    state.freed.notify_waiters();
                }
                state.unanswered = 0;
                state.answered_at = Some(Instant::now());
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
    use super::*;

    const HOST: &str = "https://far.example";

    /// Takes places without waiting, until there is none.
    fn take_all(hosts: &Hosts) -> Vec<Place> {
        std::iter::from_fn(|| hosts.try_place(HOST).ok()).collect()
    }

    /// Ends all with one verdict.
    fn end(places: Vec<Place>, has_answered: bool) {
        for place in places {
            place.ended(has_answered);
        }
    }

    async fn refusal(hosts: &Hosts) -> NoPlace {
        hosts.place(HOST).await.err().expect("no place")
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_answers_gets_more_up_to_the_limit() {
        let hosts = Hosts::new(10);

        let mut rounds = Vec::new();
        for _ in 0..4 {
            let places = take_all(&hosts);
            rounds.push(places.len());
            assert_eq!(refusal(&hosts).await, NoPlace::Busy);
            end(places, true);
        }

        assert_eq!(rounds, [4, 8, 10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_tried_by_one_message_at_a_time_until_it_answers() {
        let hosts = Hosts::new(10);
        end(take_all(&hosts), false);

        let tries = take_all(&hosts);
        assert_eq!(tries.len(), 1);
        let started = Instant::now();
        assert_eq!(refusal(&hosts).await, NoPlace::Silent);
        assert_eq!(started.elapsed(), Duration::ZERO, "nobody waits for it");

        end(tries, true);
        assert_eq!(take_all(&hosts).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_goes_to_who_waits() {
        let hosts = Hosts::new(1);
        take_all(&hosts).pop().unwrap().ended(true);
        let first = take_all(&hosts).pop().unwrap();

        let waiting = hosts.clone();
        let second = async { waiting.place(HOST).await.is_ok() };
        let freed = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            first.ended(true);
        };

        assert!(tokio::join!(second, freed).0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_waited_for_longer_once_it_has_shown_that_it_answers() {
        let hosts = Hosts::new(10);
        let hanging = take_all(&hosts);
        let waited = async || {
            let started = Instant::now();
            assert_eq!(refusal(&hosts).await, NoPlace::Busy);
            started.elapsed()
        };
        assert_eq!(waited().await, PATIENCE_UNTRUSTED);

        end(hanging, true);
        let _hanging = take_all(&hosts);
        assert_eq!(waited().await, PATIENCE);
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

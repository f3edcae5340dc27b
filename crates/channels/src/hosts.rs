//! How many messages may be under way to one host: fewer to one that does not answer.
//!
//! A host begins with a few places. Every answer, whatever it says, opens one more up to the limit;
//! every message without an answer halves them. A host that let several in a row go unanswered is
//! silent: one message at a time tries it, and all others fail at once. Otherwise each of them would
//! hold a sender for the whole timeout, and one dead host would cost the living ones theirs. For the
//! same reason nobody waits long for a place at a host that has not answered lately.
//!
//! Who would wait longer than that is told when its turn may be, by the time the host takes for an
//! answer: a backlog of thousands comes again one after the other, and not all of it every second.

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

/// How long a place is waited for at a host that is trusted, and at one that is not: a message that
/// waits holds a sender.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_UNTRUSTED: Duration = Duration::from_millis(100);

/// The soonest and the latest that a message is told to come again. Turns beyond the latest are not
/// given out: whoever would have one asks again.
const TURN_MIN: Duration = Duration::from_secs(1);
const TURN_MAX: Duration = Duration::from_mins(1);

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
    /// Messages that wait for a place.
    waiting: usize,
    /// How long an answer takes, averaged over the last few.
    answer_time: Duration,
    /// The last turn that was given out.
    turn_at: Option<Instant>,
    /// Messages in a row without an answer.
    unanswered: u32,
    answered_at: Option<Instant>,
    freed: Arc<Notify>,
}

impl Host {
    /// How long one more message would wait for a place.
    fn expected_wait(&self) -> Duration {
        let before = u32::try_from(self.waiting + 1).unwrap_or(u32::MAX);
        self.answer_share().saturating_mul(before)
    }

    /// How often a place becomes free while all are taken.
    fn answer_share(&self) -> Duration {
        self.answer_time / u32::try_from(self.places).unwrap_or(u32::MAX)
    }

    /// When the next message that finds no place should come again.
    fn next_turn(&mut self) -> Duration {
        let now = Instant::now();
        let last = self.turn_at.map_or(now, |turn| turn.max(now));
        let turn = (last + self.answer_share()).min(now + TURN_MAX);
        self.turn_at = Some(turn);
        (turn - now).max(TURN_MIN)
    }

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
    /// All are taken; come again after so long.
    Busy(Duration),
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
            let waiting = Waiting::new(self, host);
            if timeout_at(since + patience, news).await.is_err() {
                return Err(NoPlace::Busy(waiting.next_turn()));
            }
        }
    }

    fn try_place(&self, host: &str) -> Result<Place, Full> {
        let mut known = self.lock();
        if !known.contains_key(host) && known.len() >= HOSTS_KEPT {
            known.retain(|_, host| host.under_way > 0 || host.waiting > 0);
        }
        let state = known.entry(host.to_owned()).or_insert_with(|| Host {
            places: PLACES_AT_FIRST.min(self.places_max),
            under_way: 0,
            waiting: 0,
            answer_time: Duration::ZERO,
            turn_at: None,
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
            if state.expected_wait() > patience {
                return Err(Full::GoAway(NoPlace::Busy(state.next_turn())));
            }
            return Err(Full::Wait(Arc::clone(&state.freed), patience));
        }
        state.under_way += 1;
        Ok(Place {
            hosts: self.clone(),
            host: host.to_owned(),
            since: Instant::now(),
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
    since: Instant,
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
                state.answer_time = (state.answer_time * 3 + self.since.elapsed()) / 4;
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

/// A message that waits for a place, until it is dropped.
struct Waiting<'a> {
    hosts: &'a Hosts,
    host: &'a str,
}

impl<'a> Waiting<'a> {
    fn new(hosts: &'a Hosts, host: &'a str) -> Self {
        if let Some(state) = hosts.lock().get_mut(host) {
            state.waiting += 1;
        }
        Self { hosts, host }
    }

    fn next_turn(&self) -> Duration {
        let mut known = self.hosts.lock();
        known.get_mut(self.host).map_or(TURN_MIN, Host::next_turn)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.hosts.lock().get_mut(self.host) {
            state.waiting = state.waiting.saturating_sub(1);
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
            assert_eq!(refusal(&hosts).await, NoPlace::Busy(TURN_MIN));
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
            assert_eq!(refusal(&hosts).await, NoPlace::Busy(TURN_MIN));
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
        assert_eq!(refusal(&hosts).await, NoPlace::Busy(TURN_MIN));
        drop(held);
        assert_eq!(take_all(&hosts).len(), 4);
    }

    /// A thousand at once to a host that takes a second for each of ten: a few wait, and the others
    /// are given turns at the rate it answers, up to a minute ahead.
    #[tokio::test(start_paused = true)]
    async fn a_backlog_is_told_to_come_one_after_the_other() {
        let hosts = Hosts::new(10);
        for _ in 0..40 {
            let places = take_all(&hosts);
            tokio::time::sleep(Duration::from_secs(1)).await;
            end(places, true);
        }
        let _under_way = take_all(&hosts);

        let asked = (0..1000).map(|_| hosts.place(HOST));
        let answers = futures_util::future::join_all(asked).await;

        let turns: Vec<Duration> = answers
            .into_iter()
            .map(|answer| match answer.err().expect("no place") {
                NoPlace::Busy(turn) => turn,
                NoPlace::Silent => panic!("it answers"),
            })
            .collect();
        let within = |from: u64, to: u64| {
            let turn = Duration::from_secs(from)..Duration::from_secs(to);
            turns.iter().filter(|it| turn.contains(*it)).count()
        };
        assert!((90..=110).contains(&within(10, 20)), "{}", within(10, 20));
        assert!((90..=110).contains(&within(40, 50)), "{}", within(40, 50));
        assert!(
            turns
                .iter()
                .all(|turn| (TURN_MIN..=TURN_MAX).contains(turn))
        );
    }
}

//! How fast clients may ask: by caller, by address, and by address for bad credentials.
//!
//! A client may make a burst of requests at once, and gets them back one by one over the time that
//! the rate allows for as many. Each process counts for itself. What is remembered is bounded:
//! clients that have all they may have are forgotten, and past [`CLIENTS_MAX`] the others share
//! accounts, so that a flood of addresses costs them their rate and us no memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::CallerKey;
use crate::config::LimitsConfig;

/// Clients remembered for each rate.
const CLIENTS_MAX: usize = 50_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    Caller,
    Address,
}

impl Rate {
    /// Its name in the headers.
    fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Address => "address",
        }
    }

    pub(super) fn excess(self) -> &'static str {
        match self {
            Self::Caller => "this caller asks more often than it may",
            Self::Address => "this address asks more often than it may",
        }
    }
}

/// How a client stands after its request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub(super) rate: Rate,
    burst: u32,
    /// In which all of the burst comes back.
    window: Duration,
    left: u32,
}

impl Standing {
    /// An item of `RateLimit-Policy`: a quota of `q` in every `w` seconds.
    pub(super) fn policy(&self) -> String {
        format!(
            "\"{}\";q={};w={}",
            self.rate.name(),
            self.burst,
            seconds(self.window)
        )
    }

    /// An item of `RateLimit`: `r` are left, and the quota is whole again in `t` seconds.
    pub(super) fn state(&self) -> String {
        let used = f64::from(self.burst - self.left.min(self.burst)) / f64::from(self.burst);
        let whole = self.window.mul_f64(used);
        format!(
            "\"{}\";r={};t={}",
            self.rate.name(),
            self.left,
            seconds(whole)
        )
    }
}

/// Whole seconds, rounded up: after them it is certain.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Whether a request may pass, and how its client stands then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) standing: Standing,
    /// When the next one would pass, if this one may not.
    pub(super) wait: Option<Duration>,
}

/// The rates of one process; those that are not configured are absent.
pub(super) struct Rates {
    callers: Option<Accounts<CallerKey>>,
    addresses: Option<Accounts<IpAddr>>,
    failures: Option<Failures>,
}

impl Rates {
    pub(super) fn new(config: &LimitsConfig) -> Self {
        let second = Duration::from_secs(1);
        let accounts = |rate: Option<u32>, burst: Option<u32>| quota(rate, burst, second);
        let failures = quota(
            config.failures_per_minute_per_ip,
            None,
            Duration::from_mins(1),
        );
        Self {
            callers: accounts(config.requests_per_second, config.burst).map(Accounts::new),
            addresses: accounts(config.requests_per_second_per_ip, config.burst_per_ip)
                .map(Accounts::new),
            failures: failures.map(Failures::new),
        }
    }

    /// Counts a request of `caller`; `None` if nobody counts.
    pub(super) fn spend(&self, rate: Rate, caller: &CallerKey) -> Option<Verdict> {
        Some(self.callers.as_ref()?.spend(rate, caller.clone()))
    }

    /// Counts a request from `ip`; `None` if nobody counts.
    pub(super) fn spend_address(&self, ip: IpAddr) -> Option<Verdict> {
        Some(self.addresses.as_ref()?.spend(Rate::Address, household(ip)))
    }

    /// How long unknown credentials from `ip` are not looked at, if they are not.
    pub(super) fn barred_for(&self, ip: IpAddr) -> Option<Duration> {
        self.failures.as_ref()?.barred_for(ip)
    }

    /// Counts a bad credential from `ip`.
    pub(super) fn count_failure(&self, ip: IpAddr) {
        if let Some(failures) = &self.failures {
            failures.count(ip);
        }
    }

    /// Forgets who has all that may be had.
    pub(super) fn prune(&self) {
        if let Some(callers) = &self.callers {
            callers.prune();
        }
        if let Some(addresses) = &self.addresses {
            addresses.prune();
        }
        if let Some(failures) = &self.failures {
            failures.prune();
        }
    }
}

fn quota(rate: Option<u32>, burst: Option<u32>, per: Duration) -> Option<Quota> {
    let rate = NonZeroU32::new(rate?)?;
    let burst = burst.and_then(NonZeroU32::new).unwrap_or(rate);
    Some(Quota::with_period(per / rate.get())?.allow_burst(burst))
}

/// One household has a whole IPv6 network of 64 bits; counted singly, its addresses never end.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let network = u128::from(ip) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Account<K> {
    Of(K),
    /// Clients that came when too many were known, by their hash.
    Shared(u16),
}

type Limiter<K, C> =
    RateLimiter<Account<K>, DefaultKeyedStateStore<Account<K>>, C, StateInformationMiddleware>;

/// The accounts of one rate.
struct Accounts<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    limiter: Limiter<K, C>,
    quota: Quota,
    clients_max: usize,
    hasher: RandomState,
}

impl<K: Hash + Eq + Clone> Accounts<K> {
    fn new(quota: Quota) -> Self {
        Self::with_clock(quota, DefaultClock::default(), CLIENTS_MAX)
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Accounts<K, C> {
    fn with_clock(quota: Quota, clock: C, clients_max: usize) -> Self {
        let limiter = RateLimiter::dashmap_with_clock(quota, clock);
        Self {
            limiter: limiter.with_middleware(),
            quota,
            clients_max,
            hasher: RandomState::new(),
        }
    }

    fn spend(&self, rate: Rate, client: K) -> Verdict {
        let account = if self.limiter.len() < self.clients_max {
            Account::Of(client)
        } else {
            Account::Shared(self.hasher.hash_one(&client) as u16)
        };
        let (left, wait) = match self.limiter.check_key(&account) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(not_until) => (
                0,
                Some(not_until.wait_time_from(self.limiter.clock().now())),
            ),
        };
        let burst = self.quota.burst_size().get();
        let standing = Standing {
            rate,
            burst,
            window: self.quota.replenish_interval() * burst,
            left,
        };
        Verdict { standing, wait }
    }

    fn prune(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Addresses that have used up their bad credentials, and until when.
struct Failures {
    accounts: Accounts<IpAddr>,
    barred: Mutex<HashMap<IpAddr, Instant>>,
}

impl Failures {
    fn new(quota: Quota) -> Self {
        let barred = Mutex::default();
        Self {
            accounts: Accounts::new(quota),
            barred,
        }
    }

    /// How long nothing unknown is tried for `ip`.
    fn barred_for(&self, ip: IpAddr) -> Option<Duration> {
        let until = *self.lock().get(&household(ip))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    fn count(&self, ip: IpAddr) {
        let ip = household(ip);
        let verdict = self.accounts.spend(Rate::Address, ip);
        if verdict.standing.left > 0 {
            return;
        }
        // Until the next one may come, or at most that.
        let wait = verdict
            .wait
            .unwrap_or_else(|| self.accounts.quota.replenish_interval());
        let mut barred = self.lock();
        if barred.len() < CLIENTS_MAX {
            barred.insert(ip, Instant::now() + wait);
        }
    }

    fn prune(&self) {
        self.accounts.prune();
        let now = Instant::now();
        self.lock().retain(|_, until| *until > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        let barred = self.barred.lock();
        barred.expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn accounts(rate: u32, burst: u32, clients_max: usize) -> Accounts<u8, FakeRelativeClock> {
        let quota = quota(Some(rate), Some(burst), Duration::from_secs(1)).unwrap();
        Accounts::with_clock(quota, FakeRelativeClock::default(), clients_max)
    }

    #[test]
    fn after_the_burst_a_request_passes_when_its_wait_is_over_and_not_before() {
        let accounts = accounts(2, 3, 10);
        for left in [2, 1, 0] {
            let verdict = accounts.spend(Rate::Caller, 7);
            assert_eq!((verdict.standing.left, verdict.wait), (left, None));
        }

        let wait = accounts.spend(Rate::Caller, 7).wait.unwrap();
        assert_eq!(wait, Duration::from_millis(500));
        let other = accounts.spend(Rate::Caller, 8);
        assert_eq!(other.wait, None, "another client");

        accounts.limiter.clock().advance(Duration::from_millis(499));
        assert!(accounts.spend(Rate::Caller, 7).wait.is_some());
        accounts.limiter.clock().advance(Duration::from_millis(1));
        assert!(accounts.spend(Rate::Caller, 7).wait.is_none());
    }

    #[test]
    fn the_headers_say_what_may_be_had_and_what_is_left() {
        let accounts = accounts(2, 10, 10);

        let standing = accounts.spend(Rate::Caller, 7).standing;

        assert_eq!(standing.policy(), "\"caller\";q=10;w=5");
        assert_eq!(standing.state(), "\"caller\";r=9;t=1");
    }

    #[test]
    fn quiet_clients_are_forgotten_and_no_more_are_remembered_than_may_be() {
        let accounts = accounts(1, 1, 3);
        for client in 0..=255 {
            accounts.spend(Rate::Address, client);
        }
        assert!(accounts.limiter.len() <= 3 + 256);
        assert!(accounts.limiter.len() > 3, "the others share accounts");

        accounts.limiter.clock().advance(Duration::from_secs(2));
        accounts.prune();

        assert_eq!(accounts.limiter.len(), 0);
    }

    #[test]
    fn an_ipv6_household_is_one_client_and_an_ipv4_address_is_one_however_it_is_written() {
        let same = |one: &str, other: &str| {
            household(one.parse().unwrap()) == household(other.parse().unwrap())
        };

        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}

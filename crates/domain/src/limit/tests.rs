//! Limits against their plain definition, and what is counted apart from what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::counter::Quota;
use super::*;
use crate::{TenantId, UserId};

/// A moment that lies on no step of any window here.
const START: i64 = 1_800_000_000_123_457;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(START).unwrap()
}

/// The definition: at `now` there is a slot if fewer than `max` were taken in the window before it.
fn admits(taken: &[i64], now: i64, max: u32, micros: i64) -> bool {
    let recent = taken.iter().filter(|&&at| at > now - micros && at <= now);
    recent.count() < max as usize
}

/// The most that any window holds.
fn fullest(taken: &[i64], micros: i64) -> usize {
    let in_window = |&from: &i64| {
        let held = taken.iter().filter(|&&at| at >= from && at < from + micros);
        held.count()
    };
    taken.iter().map(in_window).max().unwrap_or_default()
}

/// Steps of a clock, mostly forwards, a little backwards as between two nodes.
fn arrivals(micros: i64) -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        4 => 0..=micros / 7,
        2 => Just(0),
        1 => 0..=micros,
        1 => -micros / 3..=0,
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #[test]
    fn a_small_limit_admits_exactly_what_the_definition_does(
        steps in arrivals(1_000_000), max in 1_u32..=8,
    ) {
        let quota = Quota { max, micros: 1_000_000 };
        let (mut counter, mut taken, mut now) = (Counter::default(), Vec::new(), START);
        for step in steps {
            // Where a clock lags, by less than a window, the counter's own time stands still.
            now = (now + step).max(counter.seen() - quota.micros / 2);
            let moment = now.max(counter.seen());
            let free_at = counter.free_at(now, quota, 0);
            prop_assert_eq!(free_at.is_none(), admits(&taken, moment, max, quota.micros));
            if let Some(free_at) = free_at {
                prop_assert!(!admits(&taken, free_at - 1, max, quota.micros));
                prop_assert!(admits(&taken, free_at, max, quota.micros));
            } else {
                counter.take(now, quota);
                taken.push(moment);
            }
            prop_assert!(counter.entries() <= max as usize);
        }
        prop_assert!(fullest(&taken, quota.micros) <= max as usize);
    }

    #[test]
    fn a_large_limit_is_never_exceeded_and_wastes_a_step_at_most(
        steps in arrivals(6_000_000), max in 101_u32..=140,
    ) {
        let quota = Quota { max, micros: 6_000_000 };
        let step_micros = quota.micros / 60;
        let (mut counter, mut taken, mut now) = (Counter::default(), Vec::new(), START);
        for step in steps.iter().flat_map(|&step| [step / 4, 0, 0]) {
            now = (now + step).max(counter.seen() - quota.micros / 2);
            let moment = now.max(counter.seen());
            match counter.free_at(now, quota, 0) {
                None => {
                    prop_assert!(admits(&taken, moment, max, quota.micros));
                    counter.take(now, quota);
                    taken.push(moment);
                }
                Some(free_at) => {
                    prop_assert!(free_at > moment);
                    prop_assert!(!admits(&taken, moment, max, quota.micros + step_micros));
                }
            }
            prop_assert!(counter.entries() <= 62);
        }
        prop_assert!(fullest(&taken, quota.micros) <= max as usize);
    }

    #[test]
    fn those_who_wait_are_all_admitted_at_the_moments_they_were_told(
        before in prop::collection::vec(0_i64..2_000_000, 0..6), max in 1_u32..=4, waiters in 1_u32..12,
    ) {
        let quota = Quota { max, micros: 1_000_000 };
        let mut counter = Counter::default();
        let mut now = START;
        for step in before {
            now += step;
            if counter.free_at(now, quota, 0).is_none() {
                counter.take(now, quota);
            }
        }
        while counter.free_at(now, quota, 0).is_none() {
            counter.take(now, quota);
        }
        let told: Vec<_> = (0..waiters).map(|ahead| counter.free_at(now, quota, ahead).unwrap()).collect();
        prop_assert!(told.is_sorted());
        let mut last = now;
        for moment in told {
            // Several slots may be free at one moment, and none of them before.
            prop_assert!(moment == last || counter.free_at(moment - 1, quota, 0).is_some());
            prop_assert_eq!(counter.free_at(moment, quota, 0), None);
            last = moment;
            counter.take(moment, quota);
        }
    }

    #[test]
    fn a_counter_reads_back_as_it_was(steps in arrivals(1_000_000), max in 1_u32..=300) {
        let quota = Quota { max, micros: 1_000_000 };
        let (mut counter, mut now) = (Counter::default(), START);
        for step in steps {
            now += step;
            counter.take(now, quota);
        }
        prop_assert_eq!(Counter::from_bytes(&counter.to_bytes()), Some(counter));
    }

    #[test]
    fn claims_of_many_sends_keep_all_their_limits_whatever_their_order(
        sends in prop::collection::vec((0_usize..3, 0_usize..3, 0_i64..400_000), 1..120),
        batch in 1_usize..20,
    ) {
        let limits: Vec<_> = (0..3).map(|n| limit(&format!("of {n}"), 2 + n, 1)).collect();
        let claim = |n: usize| Claim {
            key: Uuid::from_u128(n as u128),
            limit: Arc::new(limits[n].clone()),
        };
        let mut counters = BTreeMap::new();
        let mut taken: HashMap<usize, Vec<i64>> = HashMap::new();
        let mut now = START;
        for batch in sends.chunks(batch) {
            now += batch[0].2;
            let wants: Vec<Vec<_>> = batch
                .iter()
                .map(|&(a, b, _)| if a == b { vec![claim(a)] } else { vec![claim(a), claim(b)] })
                .collect();
            let at = DateTime::from_timestamp_micros(now).unwrap();
            let (rooms, changed) = decide(at, &mut counters, &wants);
            for (&(a, b, _), room) in batch.iter().zip(rooms) {
                match room {
                    Room::Taken => {
                        for n in if a == b { vec![a] } else { vec![a, b] } {
                            taken.entry(n).or_default().push(now);
                            prop_assert!(changed.contains_key(&Uuid::from_u128(n as u128)));
                        }
                    }
                    Room::Full { until, .. } => prop_assert!(until > at),
                }
            }
        }
        for (n, taken) in taken {
            // The moment between taking and using a slot is on top.
            prop_assert!(fullest(&taken, 1_100_000) <= 2 + n);
        }
    }
}

#[test]
fn a_send_takes_a_slot_of_all_its_limits_or_of_none() {
    let (wide, narrow) = (limit("wide", 2, 60), limit("narrow", 1, 60));
    let claims = vec![claim_of(1, &wide), claim_of(2, &narrow)];
    let mut counters = BTreeMap::new();

    let (rooms, _) = decide(start(), &mut counters, &[claims.clone(), claims.clone()]);
    assert_eq!(rooms[0], Room::Taken);
    let Room::Full { limit: by, until } = &rooms[1] else {
        panic!("the narrow limit is full: {rooms:?}");
    };
    assert_eq!(
        (by.name.as_str(), *until),
        ("narrow", start() + TimeDelta::seconds(61))
    );

    // The second took none of the wide limit, so there is one left.
    let (rooms, changed) = decide(start(), &mut counters, &[claims[..1].to_vec(), claims]);
    assert_eq!(rooms[0], Room::Taken);
    assert!(matches!(rooms[1], Room::Full { .. }));
    assert_eq!(
        changed.into_keys().collect::<Vec<_>>(),
        [Uuid::from_u128(1)]
    );
}

#[test]
fn a_limit_that_is_lowered_waits_until_enough_slots_are_free() {
    let micros = 1_000_000;
    let mut counter = Counter::default();
    for n in 0..4 {
        counter.take(START + n * 100_000, Quota { max: 4, micros });
    }

    let lowered = Quota { max: 2, micros };
    let free_at = counter.free_at(START + 500_000, lowered, 0);
    assert_eq!(free_at, Some(START + 200_000 + micros));
}

#[test]
fn a_clock_that_was_far_ahead_blocks_nobody_for_longer_than_a_window() {
    let quota = Quota {
        max: 1,
        micros: 1_000_000,
    };
    let mut counter = Counter::default();
    counter.take(START + 3_600_000_000, quota);

    assert_eq!(counter.free_at(START, quota, 0), Some(START + quota.micros));
    counter.take(START, quota);
    assert_eq!(counter.free_at(START, quota, 0), Some(START + quota.micros));
    assert_eq!(counter.free_at(START + quota.micros, quota, 0), None);
}

#[test]
fn a_state_that_was_cut_short_is_not_read() {
    assert_eq!(Counter::from_bytes(&[]), Some(Counter::default()));
    assert_eq!(Counter::from_bytes(&[0; 7]), None);
    assert_eq!(Counter::from_bytes(&[0; 9]), None);
}

fn limit(name: &str, max: u32, seconds: u64) -> Limit {
    Limit {
        id: Uuid::nil(),
        name: name.to_owned(),
        scope: Scope::UserChannel,
        of: LimitOf::default(),
        max,
        window: Duration::from_secs(seconds),
        when_unavailable: None,
        enabled: true,
        created_at: start(),
        updated_at: start(),
    }
}

fn claim_of(key: u128, limit: &Limit) -> Claim {
    Claim {
        key: Uuid::from_u128(key),
        limit: Arc::new(limit.clone()),
    }
}

struct Send {
    tenant_id: TenantId,
    user_id: UserId,
    channel: Channel,
    category: Option<&'static str>,
    event_type: &'static str,
    provider: Option<&'static str>,
    address: Option<&'static str>,
}

fn mail() -> Send {
    Send {
        tenant_id: "default".into(),
        user_id: "ada".into(),
        channel: Channel::Email,
        category: None,
        event_type: "order.filled",
        provider: Some("smtp"),
        address: Some("ada@example.com"),
    }
}

impl Send {
    fn claims(&self, book: &LimitBook) -> Vec<(String, Uuid)> {
        let claims = book.of(&SendFacts {
            tenant_id: &self.tenant_id,
            user_id: &self.user_id,
            channel: self.channel,
            category: self.category,
            event_type: self.event_type,
            provider: self.provider,
            address: self.address,
        });
        claims
            .into_iter()
            .map(|claim| (claim.limit.name.clone(), claim.key))
            .collect()
    }

    fn names(&self, book: &LimitBook) -> Vec<String> {
        self.claims(book)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }
}

#[test]
fn the_defaults_are_those_of_the_systems_before() {
    let book = LimitBook::default();
    let on = |channel| Send { channel, ..mail() }.names(&book);

    assert_eq!(on(Channel::Email), ["email_per_user", "email_total"]);
    assert_eq!(on(Channel::Sms), ["sms_per_user", "sms_total"]);
    assert_eq!(on(Channel::Push), ["push_per_user"]);
    assert_eq!(on(Channel::Slack), ["slack_per_channel", "slack_total"]);
    for free in [
        Channel::Voice,
        Channel::WebPush,
        Channel::Webhook,
        Channel::Pagerduty,
    ] {
        assert!(on(free).is_empty(), "{free}");
    }
    let marketing = Send {
        category: Some("marketing"),
        ..mail()
    };
    assert!(
        marketing
            .names(&book)
            .contains(&"marketing_per_user".to_owned())
    );

    let shown: Vec<_> = LimitBook::with_defaults(Vec::new())
        .into_iter()
        .map(|limit| (limit.name, limit.max, limit.window.as_secs()))
        .collect();
    let expected = [
        ("email_per_user", 100, 3600),
        ("email_total", 10_000, 3600),
        ("marketing_per_user", 5, 86_400),
        ("push_per_user", 50, 3600),
        ("slack_per_channel", 1, 1),
        ("slack_total", 100, 60),
        ("sms_per_user", 10, 3600),
        ("sms_total", 1000, 3600),
        ("transactional_per_user", 1000, 3600),
    ];
    assert_eq!(
        shown,
        expected.map(|(name, max, seconds)| (name.to_owned(), max, seconds))
    );
}

#[test]
fn a_feed_is_limited_only_where_it_is_named() {
    let feed = Send {
        channel: Channel::InApp,
        category: Some("marketing"),
        ..mail()
    };
    assert!(feed.names(&LimitBook::default()).is_empty());

    let any = limit("any", 1, 60);
    let named = Limit {
        of: LimitOf {
            channel: Some(Channel::InApp),
            ..LimitOf::default()
        },
        ..limit("feed", 1, 60)
    };
    assert_eq!(feed.names(&LimitBook::new(vec![any, named])), ["feed"]);
}

#[test]
fn a_stored_limit_replaces_the_default_of_its_name_or_switches_it_off() {
    let other = Limit {
        scope: Scope::Channel,
        ..limit("email_total", 7, 60)
    };
    let off = Limit {
        enabled: false,
        ..limit("email_per_user", 1, 60)
    };
    let book = LimitBook::new(vec![other, off]);

    let claims = mail().claims(&book);
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].0, "email_total");
}

#[test]
fn each_scope_counts_its_own_apart() {
    let same = |scope, of: LimitOf, other: Send| {
        let book = LimitBook::new(vec![Limit {
            scope,
            of,
            ..limit("l", 1, 60)
        }]);
        let key = |send: &Send| {
            let claims = send.claims(&book);
            claims
                .into_iter()
                .find(|(name, _)| name == "l")
                .map(|(_, key)| key)
        };
        let mine = Send {
            category: Some("news"),
            ..mail()
        };
        key(&mine).map(|mine| key(&other) == Some(mine))
    };
    let any = LimitOf::default;
    let other_user = || Send {
        user_id: "bob".into(),
        category: Some("news"),
        ..mail()
    };
    let other_channel = || Send {
        channel: Channel::Push,
        category: Some("news"),
        ..mail()
    };

    assert_eq!(same(Scope::UserChannel, any(), other_user()), Some(false));
    assert_eq!(
        same(Scope::UserChannel, any(), other_channel()),
        Some(false)
    );
    assert_eq!(same(Scope::Channel, any(), other_user()), Some(true));
    assert_eq!(same(Scope::Channel, any(), other_channel()), Some(false));
    assert_eq!(
        same(Scope::UserCategory, any(), other_channel()),
        Some(true)
    );
    assert_eq!(same(Scope::UserCategory, any(), other_user()), Some(false));
    assert_eq!(same(Scope::UserCategory, any(), mail()), Some(false));
    assert_eq!(same(Scope::EventType, any(), other_user()), Some(true));
    assert_eq!(
        same(
            Scope::Provider,
            any(),
            Send {
                provider: Some("ses"),
                ..mail()
            }
        ),
        Some(false)
    );
    let other_tenant = Send {
        tenant_id: "other".into(),
        category: Some("news"),
        ..mail()
    };
    assert_eq!(same(Scope::Channel, any(), other_tenant), Some(false));

    let of_type = LimitOf {
        event_type: Some("ORDER_FILLED".into()),
        ..any()
    };
    assert_eq!(
        same(Scope::EventType, of_type.clone(), other_channel()),
        Some(true)
    );
    let other_type = Send {
        event_type: "order.placed",
        ..mail()
    };
    assert_eq!(same(Scope::EventType, of_type, other_type), Some(false));
    let of_ses = LimitOf {
        provider: Some("ses".into()),
        ..any()
    };
    assert_eq!(same(Scope::Provider, of_ses, other_user()), None);
}

#[test]
fn slots_of_slack_are_counted_by_where_it_goes() {
    let book = LimitBook::default();
    let to = |address| {
        let send = Send {
            channel: Channel::Slack,
            address,
            ..mail()
        };
        send.claims(&book)[0].1
    };

    assert_eq!(to(Some("#ops")), to(Some("#ops")));
    assert_ne!(to(Some("#ops")), to(Some("#risk")));
}

#[test]
fn what_costs_money_waits_when_nobody_can_count() {
    let allow = Limit {
        when_unavailable: Some(WhenUnavailable::Allow),
        ..limit("a", 1, 60)
    };
    let silent = limit("b", 1, 60);
    let of = |limits: &[&Limit], channel| {
        let claims: Vec<_> = limits.iter().map(|limit| claim_of(1, limit)).collect();
        Claim::when_unavailable(&claims, channel)
    };

    assert_eq!(of(&[&silent], Channel::Email), WhenUnavailable::Allow);
    assert_eq!(of(&[&silent], Channel::Sms), WhenUnavailable::Defer);
    assert_eq!(of(&[&allow], Channel::Sms), WhenUnavailable::Allow);
    assert_eq!(of(&[&allow, &silent], Channel::Sms), WhenUnavailable::Defer);
}

#[test]
fn a_body_is_read_whole_or_refused_by_field() {
    let body = json!({
        "name": "news", "scope": "USER_CATEGORY", "category": "news", "max": 3, "window": "1d",
    });
    let read = LimitSubmission::parse(body).unwrap();
    assert_eq!((read.scope, read.max), (Scope::UserCategory, 3));
    assert_eq!(read.window, Duration::from_hours(24));
    assert!(read.enabled && read.when_unavailable.is_none());
    let texts = [1, 90, 120, 7200, 86_400 * 31].map(|seconds| limit("a", 1, seconds).window_text());
    assert_eq!(texts, ["1s", "90s", "2m", "2h", "31d"]);

    let pointers = |change: Value| {
        let mut body = json!({"name": "a", "scope": "channel", "max": 1, "window": "1h"});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let errors = LimitSubmission::parse(body).expect_err("the body is bad");
        errors
            .into_iter()
            .map(|error| error.pointer)
            .collect::<Vec<_>>()
    };
    for (change, expected) in [
        (json!({"max": 0}), "/max"),
        (json!({"max": 1.5}), "/max"),
        (json!({"max": 10_000_000_000_u64}), "/max"),
        (json!({"max": null}), "/max"),
        (json!({"window": "1"}), "/window"),
        (json!({"window": "0s"}), "/window"),
        (json!({"window": "32d"}), "/window"),
        (json!({"window": "99999999999999999999d"}), "/window"),
        (json!({"window": 60}), "/window"),
        (json!({"scope": "user"}), "/scope"),
        (json!({"channel": "fax"}), "/channel"),
        (
            json!({"scope": "slack_channel", "channel": "sms"}),
            "/channel",
        ),
        (json!({"name": Uuid::nil().to_string()}), "/name"),
        (json!({"when_unavailable": "drop"}), "/when_unavailable"),
        (json!({"burst": 1}), "/burst"),
    ] {
        assert_eq!(pointers(change), [expected]);
    }
}

#[test]
fn a_limit_is_loosened_by_what_may_let_something_through() {
    let mail = LimitBook::default_of("email_per_user").unwrap();
    let changed = |change: fn(&mut Limit)| {
        let mut after = mail.clone();
        change(&mut after);
        mail.is_loosened_by(Some(&after))
    };

    assert!(changed(|limit| limit.max += 1));
    assert!(changed(|limit| limit.window /= 2));
    assert!(changed(|limit| limit.enabled = false));
    assert!(changed(|limit| limit.of.category = Some("news".to_owned())));
    assert!(changed(|limit| limit.name = "another".to_owned()));
    assert!(mail.is_loosened_by(None));

    assert!(!changed(|limit| limit.max -= 1));
    assert!(!changed(|limit| limit.window *= 2));
    assert!(!changed(|_| {}));
    let off = Limit {
        enabled: false,
        ..mail
    };
    assert!(!off.is_loosened_by(None), "nothing waits for it");
}

#[test]
fn a_limit_counts_the_channels_that_it_is_on() {
    let channels = |name| LimitBook::default_of(name).unwrap().channels();

    assert_eq!(channels("sms_total"), [Channel::Sms]);
    assert_eq!(channels("slack_per_channel"), [Channel::Slack]);
    let of_marketing = channels("marketing_per_user");
    assert_eq!(of_marketing.len(), Channel::ALL.len() - 1);
    assert!(!of_marketing.contains(&Channel::InApp));
    assert_eq!(LimitBook::default_of("news"), None);
}

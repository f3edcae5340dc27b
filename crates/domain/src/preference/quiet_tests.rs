//! Quiet hours against an oracle that walks the wall clock minute by minute, over every change of
//! the clocks there is.

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::*;
use crate::{Channel, Priority, Severity};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// What the oracle looks at: from two minutes before a change to past the end of any window that is
/// open then.
const BEFORE: i64 = 2;
const AFTER: i64 = 28 * 60;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn clock(minutes: i64) -> WallClock {
    let minutes = minutes.rem_euclid(24 * 60);
    WallClock::parse(&format!("{:02}:{:02}", minutes / 60, minutes % 60)).unwrap()
}

fn window(zone: Tz, start: &str, end: &str) -> QuietWindow {
    QuietWindow {
        start: WallClock::parse(start).unwrap(),
        end: WallClock::parse(end).unwrap(),
        zone,
    }
}

fn offset(zone: Tz, at: i64) -> i64 {
    let at = DateTime::from_timestamp(at, 0).unwrap();
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    i64::from(offset.local_minus_utc())
}

/// Every instant between two at which a zone changes its offset: looked for by day, found by
/// bisection.
fn changes(zone: Tz, from: i64, until: i64) -> Vec<i64> {
    let mut found = Vec::new();
    let mut day = from;
    let mut before = offset(zone, day);
    while day < until {
        let after = offset(zone, day + DAY);
        if before != after {
            let (mut same, mut changed) = (day, day + DAY);
            while changed - same > 1 {
                let middle = same + (changed - same) / 2;
                if offset(zone, middle) == before {
                    same = middle;
                } else {
                    changed = middle;
                }
            }
            found.push(changed);
        }
        before = after;
        day += DAY;
    }
    found
}

/// What the wall shows around a change, minute by minute.
struct Oracle {
    first: i64,
    walls: Vec<i64>,
}

impl Oracle {
    fn around(zone: Tz, change: i64) -> Self {
        let first = change - BEFORE * MINUTE;
        let minutes = 0..BEFORE + AFTER;
        let wall = |minute: i64| {
            let at = first + minute * MINUTE;
            (at + offset(zone, at)).rem_euclid(DAY) / MINUTE
        };
        Self {
            first,
            walls: minutes.map(wall).collect(),
        }
    }

    /// The end of the quiet at `at`, if it is quiet.
    fn until(&self, at: i64, start: i64, end: i64) -> Option<i64> {
        let place = ((at - self.first) / MINUTE) as usize;
        let is_quiet = |&wall: &i64| {
            if start < end {
                start <= wall && wall < end
            } else {
                start <= wall || wall < end
            }
        };
        if !is_quiet(&self.walls[place]) {
            return None;
        }
        let wait = self.walls[place..].iter().position(|wall| !is_quiet(wall));
        let wait = wait.expect("the oracle sees far enough");
        Some(at + wait as i64 * MINUTE)
    }
}

/// Windows, in minutes since midnight, that have something to do with a change of the clocks from
/// `before` to `after`: ends within, at and around what is left out or repeated.
fn windows(before: i64, after: i64) -> Vec<(i64, i64)> {
    let (low, high) = (before.min(after), before.max(after));
    let middle = low + (high - low) / 2;
    let windows = [
        (22 * 60, 8 * 60),
        (low, high),
        (high, low),
        (middle - 60, middle),
        (middle, middle + 60),
        (middle - 5, middle + 5),
        (middle, middle - 1),
        (low - 20 * 60, middle),
    ];
    let day = 24 * 60;
    let windows = windows.map(|(start, end)| (start.rem_euclid(day), end.rem_euclid(day)));
    let windows = windows.into_iter().filter(|(start, end)| start != end);
    windows.collect()
}

#[test]
fn in_every_zone_around_every_change_quiet_ends_where_a_walk_by_minutes_ends() {
    let from = instant("2020-01-01T00:00:00Z").timestamp();
    let until = instant("2036-01-01T00:00:00Z").timestamp();
    let mut checked = 0_u32;
    for zone in TZ_VARIANTS {
        for change in changes(zone, from, until) {
            let oracle = Oracle::around(zone, change);
            let wall = |at: i64| (at + offset(zone, at)).rem_euclid(DAY) / MINUTE;
            let before = (wall(change - MINUTE) + 1) % (24 * 60);
            for (start, end) in windows(before, wall(change)) {
                let window = QuietWindow {
                    start: clock(start),
                    end: clock(end),
                    zone,
                };
                for at in [change - MINUTE, change, change + MINUTE] {
                    let expected = oracle.until(at, start, end);
                    let found = window.quiet_until(DateTime::from_timestamp(at, 0).unwrap());
                    assert_eq!(
                        found.map(|until| until.timestamp()),
                        expected,
                        "{zone} at {at}, quiet from {} to {}",
                        window.start,
                        window.end,
                    );
                    checked += 1;
                }
            }
        }
    }
    // Some 250 zones change their clocks twice a year.
    assert!(checked > 100_000, "{checked}");
}

#[test]
fn offsets_of_odd_seconds_and_days_that_were_left_out_are_exact_to_the_second() {
    let cases = [
        // Half an hour of summer time.
        (Tz::Australia__Lord_Howe, "2024-10-05T15:30:00Z"),
        // A quarter of an hour.
        (Tz::Asia__Kathmandu, "1985-12-31T18:30:00Z"),
        (Tz::Pacific__Chatham, "2024-09-28T14:00:00Z"),
        // Two hours, and back.
        (Tz::Antarctica__Troll, "2024-03-31T01:00:00Z"),
        // The thirtieth of December was left out.
        (Tz::Pacific__Apia, "2011-12-30T10:00:00Z"),
        // From 44 minutes and 30 seconds behind to none.
        (Tz::Africa__Monrovia, "1972-01-07T00:44:30Z"),
        // From local mean time.
        (Tz::Europe__Paris, "1911-03-10T23:50:39Z"),
        (Tz::America__Caracas, "2016-05-01T07:00:00Z"),
        (Tz::Africa__Casablanca, "2024-03-10T02:00:00Z"),
    ];
    for (zone, change) in cases {
        let change = instant(change).timestamp();
        assert_ne!(
            offset(zone, change - 1),
            offset(zone, change),
            "{zone} changes its clocks then",
        );
        for (start, end) in [("22:00", "08:00"), ("00:10", "02:20"), ("02:10", "01:50")] {
            let window = window(zone, start, end);
            let at = DateTime::from_timestamp(change - 3 * 3600 - 17, 0).unwrap();
            let mut walked = at;
            while window.is_quiet(walked) == window.is_quiet(at) {
                walked += TimeDelta::seconds(1);
            }
            assert_eq!(window.next_change(at), walked, "{zone} {start} {end}");
        }
    }
}

#[test]
fn a_gap_ends_what_would_end_in_it_and_a_fold_is_quiet_twice() {
    // Clocks go from 02:00 to 03:00 at 01:00 UTC.
    let spring = window(Tz::Europe__Berlin, "22:00", "02:30");
    let evening = instant("2026-03-28T22:15:30.5Z");
    let jump = instant("2026-03-29T01:00:00Z");
    assert_eq!(spring.quiet_until(evening), Some(jump));
    assert!(!spring.is_quiet(jump));

    // And back from 03:00 to 02:00 at 01:00 UTC.
    let autumn = QuietWindow {
        start: clock(30),
        ..spring
    };
    let before = instant("2026-10-25T00:00:00Z");
    let first_end = instant("2026-10-25T00:30:00Z");
    assert_eq!(autumn.quiet_until(before), Some(first_end));
    let again = instant("2026-10-25T01:00:00Z");
    assert_eq!(autumn.next_change(first_end), again);
    let second_end = instant("2026-10-25T01:30:00Z");
    assert_eq!(autumn.quiet_until(again), Some(second_end));

    let within_the_gap = window(Tz::Europe__Berlin, "02:10", "02:40");
    let next_night = instant("2026-03-30T00:10:00Z");
    assert_eq!(
        within_the_gap.next_change(instant("2026-03-28T12:00:00Z")),
        next_night
    );
}

fn said(body: serde_json::Value) -> Preferences {
    Preferences::parse(body).unwrap()
}

/// 23:30 in Berlin.
fn night() -> DateTime<Utc> {
    instant("2026-11-21T22:30:00Z")
}

fn matter(priority: Priority) -> Matter<'static> {
    Matter {
        category: Some("marketing"),
        priority,
        severity: None,
    }
}

#[test]
fn the_zone_is_that_of_the_quiet_hours_else_the_preferences_else_the_user_else_utc() {
    let normal = matter(Priority::Normal);
    let until = |preferences: &Preferences, fallback| {
        let quiet = preferences.quiet(Channel::Email, &normal, false, fallback, night());
        quiet.map(|quiet| quiet.until)
    };
    let quiet_hours = serde_json::json!({"enabled": true});
    let nobody = said(serde_json::json!({"quiet_hours": quiet_hours}));
    assert_eq!(until(&nobody, None), Some(instant("2026-11-22T08:00:00Z")));
    assert_eq!(
        until(&nobody, Some("Europe/Berlin")),
        Some(instant("2026-11-22T07:00:00Z"))
    );
    let own = serde_json::json!({"quiet_hours": quiet_hours, "timezone": "Asia/Tokyo"});
    assert_eq!(
        until(&said(own), Some("Europe/Berlin")),
        Some(instant("2026-11-21T23:00:00Z"))
    );
    let narrower = serde_json::json!({
        "quiet_hours": {"enabled": true, "timezone": "America/New_York"}, "timezone": "Asia/Tokyo",
    });
    assert_eq!(until(&said(narrower), None), None);
}

#[test]
fn a_bedside_is_spared_what_makes_a_noise_unless_channels_are_named() {
    let holds = |preferences: &Preferences| -> Vec<_> {
        let normal = matter(Priority::Normal);
        let all = Channel::ALL.into_iter();
        all.filter(|&channel| {
            preferences
                .quiet(channel, &normal, false, None, night())
                .is_some()
        })
        .collect()
    };
    let usual = said(serde_json::json!({"quiet_hours": {"enabled": true}}));
    let noisy = [
        Channel::Email,
        Channel::Sms,
        Channel::Voice,
        Channel::Push,
        Channel::WebPush,
    ];
    assert_eq!(holds(&usual), noisy);
    let named =
        serde_json::json!({"quiet_hours": {"enabled": true, "channels": ["slack", "in_app"]}});
    assert_eq!(holds(&said(named)), [Channel::Slack, Channel::InApp]);
    let off = serde_json::json!({"quiet_hours": {"enabled": false, "channels": ["slack"]}});
    assert_eq!(holds(&said(off)), []);
}

#[test]
fn what_is_critical_in_either_word_passes_unless_the_user_said_no() {
    let with = |allow_critical: bool| {
        let quiet_hours = serde_json::json!({"enabled": true, "allow_critical": allow_critical});
        said(serde_json::json!({"quiet_hours": quiet_hours}))
    };
    let severe = Matter {
        severity: Some(Severity::Critical),
        ..matter(Priority::Low)
    };
    for critical in [matter(Priority::Critical), severe] {
        let quiet = |preferences: &Preferences, bypass| {
            preferences.quiet(Channel::Sms, &critical, bypass, None, night())
        };
        assert_eq!(quiet(&with(true), false), None);
        assert!(quiet(&with(false), false).is_some());
        assert_eq!(quiet(&with(false), true), None);
    }
    let high = matter(Priority::High);
    let quiet = with(true).quiet(Channel::Sms, &high, false, None, night());
    assert!(quiet.is_some());
}

#[test]
fn a_category_says_what_becomes_of_it_and_the_row_is_named() {
    let normal = matter(Priority::Normal);
    let quiet = |mode: Option<&str>| {
        let categories = serde_json::json!({"marketing": {"quiet_hours": mode}});
        let body = serde_json::json!({"quiet_hours": {"enabled": true}, "categories": categories});
        said(body).quiet(Channel::Email, &normal, false, None, night())
    };
    let found = quiet(Some("drop")).unwrap();
    assert_eq!(found.mode, QuietMode::Drop);
    assert_eq!(found.row, "/categories/marketing/quiet_hours");
    assert_eq!(found.step("route", Channel::Email).decision, "suppressed");
    assert_eq!(quiet(Some("digest")).unwrap().mode, QuietMode::Digest);
    assert_eq!(quiet(Some("deliver")), None);
    let usual = quiet(None).unwrap();
    assert_eq!(
        (usual.mode, usual.row.as_str()),
        (QuietMode::Defer, "/quiet_hours")
    );
    let step = usual.step("quiet_hours", Channel::Email);
    assert_eq!(
        step.detail,
        serde_json::json!({
            "channel": "email", "until": "2026-11-22T08:00:00Z", "zone": "UTC",
            "local": {"start": "22:00", "end": "08:00"}, "row": "/quiet_hours",
        })
    );
}

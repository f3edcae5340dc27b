//! Schedules against an oracle that looks at the wall minute by minute, and across changes of the
//! clocks in both directions.

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(expression: &str, timezone: Tz) -> Schedule {
    Schedule {
        every: Every::Cron(expression.to_owned()),
        timezone,
    }
}

fn interval(seconds: u64) -> Schedule {
    Schedule {
        every: Every::Interval(Duration::from_secs(seconds)),
        timezone: Tz::UTC,
    }
}

/// All firings in `(from, until]`.
fn firings(schedule: &Schedule, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some(next) = schedule.next_after(at).filter(|&next| next <= until) {
        assert!(next > at, "{schedule:?} goes back from {at} to {next}");
        found.push(next);
        at = next;
    }
    found
}

fn texts(instants: &[DateTime<Utc>]) -> Vec<String> {
    let text = |at: &DateTime<Utc>| at.format("%dT%H:%M").to_string();
    instants.iter().map(text).collect()
}

#[test]
fn a_time_that_is_left_out_fires_at_the_jump_and_one_shown_twice_when_it_is_shown_first() {
    let daily = cron("30 2 * * *", Tz::Europe__Berlin);

    let spring = firings(
        &daily,
        instant("2026-03-27T12:00:00Z"),
        instant("2026-03-30T12:00:00Z"),
    );
    assert_eq!(texts(&spring), ["28T01:30", "29T01:00", "30T00:30"]);

    let autumn = firings(
        &daily,
        instant("2026-10-23T12:00:00Z"),
        instant("2026-10-26T12:00:00Z"),
    );
    assert_eq!(texts(&autumn), ["24T00:30", "25T00:30", "26T01:30"]);
    // Asked in the middle of what is shown twice.
    let second_time = instant("2026-10-25T01:15:00Z");
    assert_eq!(
        daily.next_after(second_time),
        Some(instant("2026-10-26T01:30:00Z"))
    );
}

#[test]
fn every_quarter_of_an_hour_is_so_in_real_time() {
    let quarters = cron("*/15 * * * *", Tz::Europe__Berlin);
    for night in ["2026-03-28T22:00:00Z", "2026-10-24T22:00:00Z"] {
        let from = instant(night);
        let fired = firings(&quarters, from, from + TimeDelta::hours(6));
        let expected: Vec<_> = (1..=24)
            .map(|n| from + TimeDelta::minutes(15 * n))
            .collect();
        assert_eq!(fired, expected);
    }
}

/// What a schedule of whole minutes should fire in `(from, until]`, by its definition.
fn expected(
    zone: Tz,
    matches: impl Fn(NaiveDateTime) -> bool,
    is_hourly: bool,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Vec<DateTime<Utc>> {
    let minute = TimeDelta::minutes(1);
    let wall = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    // From a while before, to know what has been shown already.
    let mut at = from - TimeDelta::hours(4);
    let mut shown_until = wall(at);
    let mut found = BTreeSet::new();
    while at < until {
        at += minute;
        let now = wall(at);
        if is_hourly {
            if matches(now) {
                found.insert(at);
            }
            continue;
        }
        // Everything that the wall has come to or passed since, for the first time.
        while shown_until < now {
            shown_until += minute;
            if matches(shown_until) {
                found.insert(at);
            }
        }
    }
    found.into_iter().filter(|&at| at > from).collect()
}

#[test]
fn in_every_zone_around_the_changes_of_a_year_a_schedule_fires_as_the_wall_says() {
    let start = instant("2026-01-01T00:00:00Z");
    let offset = |zone: Tz, at: DateTime<Utc>| {
        use chrono::Offset;
        zone.offset_from_utc_datetime(&at.naive_utc()).fix()
    };
    let mut changes = 0;
    for zone in TZ_VARIANTS {
        for day in 0..365 {
            let from = start + TimeDelta::days(day);
            let until = from + TimeDelta::days(1);
            if offset(zone, from) == offset(zone, until) {
                continue;
            }
            changes += 1;
            let span = (from - TimeDelta::hours(1), until + TimeDelta::hours(6));
            let twice_an_hour = |wall: NaiveDateTime| wall.minute().is_multiple_of(30);
            for (expression, hours) in [("*/30 0-4 * * *", 0..=4), ("*/30 * * * *", 0..=23)] {
                let is_hourly = *hours.end() == 23;
                let matches =
                    |wall: NaiveDateTime| twice_an_hour(wall) && hours.contains(&wall.hour());
                assert_eq!(
                    firings(&cron(expression, zone), span.0, span.1),
                    expected(zone, matches, is_hourly, span),
                    "{expression} in {zone} on {from}",
                );
            }
        }
    }
    assert!(changes > 300, "{changes}");
}

#[test]
fn intervals_are_anchored_to_the_epoch_and_do_not_drift() {
    let six_hours = interval(6 * 3600);
    let asked = instant("2026-11-21T07:13:04.5Z");
    let fired = firings(&six_hours, asked, asked + TimeDelta::days(1));
    assert_eq!(
        texts(&fired),
        ["21T12:00", "21T18:00", "22T00:00", "22T06:00"]
    );
    let at = instant("2026-11-21T12:00:00Z");
    assert_eq!(six_hours.next_after(at), Some(at + TimeDelta::hours(6)));
    assert_eq!(interval(0).check(at), Err(ScheduleError::TooShort));
}

#[test]
fn of_what_was_missed_the_latest_is_found() {
    let now = instant("2026-11-21T07:13:04Z");
    for schedule in [
        cron("0 9 * * *", Tz::Europe__Berlin),
        cron("*/20 * * * * *", Tz::UTC),
        cron("0 0 1 * *", Tz::Asia__Kathmandu),
        cron("*/5 9-17 * * MON-FRI", Tz::America__New_York),
        interval(90),
    ] {
        for days in [0, 1, 40, 400] {
            let since = now - TimeDelta::days(days) - TimeDelta::minutes(3);
            let since = schedule.next_after(since).unwrap();
            let mut walked = since;
            if days < 2 {
                while let Some(next) = schedule.next_after(walked).filter(|&next| next <= now) {
                    walked = next;
                }
                assert_eq!(schedule.latest(since, now), walked, "{schedule:?}");
            } else {
                let latest = schedule.latest(since, now);
                assert!(latest <= now && schedule.next_after(latest).unwrap() > now);
            }
        }
    }
}

#[test]
fn what_never_comes_or_is_no_expression_is_told() {
    let at = instant("2026-11-21T00:00:00Z");
    assert_eq!(
        cron("0 0 30 2 *", Tz::UTC).check(at),
        Err(ScheduleError::Never)
    );
    assert!(matches!(
        cron("every day", Tz::UTC).check(at),
        Err(ScheduleError::Unreadable(_))
    ));
    let leap_day = cron("0 0 29 2 *", Tz::UTC).next_after(at).unwrap();
    assert_eq!(
        (leap_day.year(), leap_day.month(), leap_day.day()),
        (2028, 2, 29)
    );
}

#[test]
fn a_rule_fires_while_it_is_on_and_valid() {
    let at = instant("2026-11-21T07:00:00Z");
    let nine = instant("2026-11-21T09:00:00Z");
    let rule = Rule {
        id: RuleId::at(at),
        version: 1,
        name: "Report".into(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: Vec::new(),
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: Some(cron("0 9 * * *", Tz::UTC)),
        actions: Vec::new(),
    };
    assert_eq!(rule.fires_after(at), Some(nine));
    let of = |change: fn(&mut Rule, DateTime<Utc>)| {
        let mut changed = rule.clone();
        change(&mut changed, nine);
        changed.fires_after(at)
    };
    assert_eq!(of(|rule, _| rule.enabled = false), None);
    assert_eq!(of(|rule, _| rule.schedule = None), None);
    assert_eq!(of(|rule, nine| rule.valid_until = Some(nine)), None);
    assert_eq!(of(|rule, nine| rule.valid_from = Some(nine)), Some(nine));
    let later = of(|rule, nine| rule.valid_from = Some(nine + TimeDelta::seconds(1)));
    assert_eq!(later, Some(nine + TimeDelta::days(1)));
}

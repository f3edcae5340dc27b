//! Quiet hours beside Python's `zoneinfo`: other code over the same release of the zones.

use std::io::Write;
use std::process::{Command, Stdio};

use chrono::{DateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};
use domain::{QuietWindow, WallClock};
use serde_json::{Value, json};

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn offset(zone: Tz, at: DateTime<Utc>) -> i32 {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    offset.local_minus_utc()
}

/// A minute of the day.
fn wall(zone: Tz, at: DateTime<Utc>) -> i64 {
    let wall: NaiveTime = at.with_timezone(&zone).time();
    i64::from(wall.num_seconds_from_midnight() / 60)
}

fn clock(minute: i64) -> WallClock {
    WallClock::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap()
}

/// The changes of a zone's clocks in four years, and a day on which there is none.
fn moments(zone: Tz) -> Vec<DateTime<Utc>> {
    let mut moments = vec![instant("2026-11-21T12:00:00Z")];
    let mut day = instant("2024-01-01T00:00:00Z");
    while day < instant("2028-01-01T00:00:00Z") {
        let next = day + TimeDelta::days(1);
        if offset(zone, day) != offset(zone, next) {
            let minutes = (1..=24 * 60).map(|minute| day + TimeDelta::minutes(minute));
            let mut later = minutes.skip_while(|&at| offset(zone, at) == offset(zone, day));
            moments.push(later.next().unwrap());
        }
        day = next;
    }
    moments
}

/// What is asked around a moment: windows that end, start or lie in what is left out or repeated.
fn asked(zone: Tz, moment: DateTime<Utc>) -> Vec<(DateTime<Utc>, i64, i64)> {
    let day = 24 * 60;
    let minute = TimeDelta::minutes(1);
    let before = (wall(zone, moment - minute) + 1) % day;
    let after = wall(zone, moment);
    let middle = i64::midpoint(before, after);
    let windows = [
        (22 * 60, 8 * 60),
        (middle - 60, middle),
        (middle, middle + 60),
        (before, after),
        (middle, middle - 1),
    ];
    let windows = windows.map(|(start, end)| (start.rem_euclid(day), end.rem_euclid(day)));
    let windows = windows.into_iter().filter(|(start, end)| start != end);
    let each = windows.flat_map(|(start, end)| {
        [moment - minute, moment, moment + minute].map(|at| (at, start, end))
    });
    each.collect()
}

fn ask_python(cases: &Value) -> Value {
    let python = std::env::var("POSTRIDER_TEST_PYTHON").expect(
        "POSTRIDER_TEST_PYTHON names no Python with tzdata; run the tests by script/test, which \
         gets one",
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quiet_hours.py");
    let mut child = Command::new(python)
        .arg(script)
        // The zones of the package, rather than of the machine.
        .env("PYTHONTZPATH", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(cases.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

#[test]
fn quiet_ends_where_pythons_zoneinfo_says_it_does() {
    let mut cases = Vec::new();
    let mut ours = Vec::new();
    for zone in TZ_VARIANTS {
        for moment in moments(zone) {
            let asked = asked(zone, moment);
            let ends = asked.iter().map(|&(at, start, end)| {
                let window = QuietWindow {
                    start: clock(start),
                    end: clock(end),
                    zone,
                };
                window.quiet_until(at).map(|until| until.timestamp())
            });
            ours.push((zone, ends.collect::<Vec<_>>()));
            let asked = asked
                .iter()
                .map(|(at, start, end)| json!({"at": at.timestamp(), "start": start, "end": end}));
            let first = moment - TimeDelta::minutes(1);
            cases.push(json!({
                "zone": zone.name(), "first": first.timestamp(), "asked": asked.collect::<Vec<_>>(),
            }));
        }
    }

    let answer = ask_python(&json!({"zones": cases}));

    assert_eq!(
        answer["release"], IANA_TZDB_VERSION,
        "pin the tzdata of the release that chrono-tz was made of in script/lib/foreign.sh",
    );
    let theirs = answer["ends"].as_array().unwrap();
    assert_eq!(theirs.len(), ours.len());
    assert!(ours.len() > 2000, "{} moments", ours.len());
    for ((zone, ours), (theirs, case)) in ours.into_iter().zip(theirs.iter().zip(&cases)) {
        assert_eq!(json!(ours), *theirs, "{zone}: {case}");
    }
}

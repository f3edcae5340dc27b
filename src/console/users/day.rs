//! Quiet hours as a day: a bar from midnight to midnight on the user's own walls.
//!
//! By the function that holds messages back. A day on which clocks change has 23 or 25 hours, and
//! the bar has them too.

use chrono::{DateTime, Days, Offset, TimeDelta, TimeZone, Timelike, Utc};
use domain::QuietWindow;

use crate::console::text;

/// How wide the bar is drawn.
const WIDTH: f64 = 720.0;

/// Changes of one day at most; the clocks of no place make more.
const CHANGES_MAX: usize = 8;

/// Hours between two marks.
const MARK_HOURS: u32 = 3;

/// The day as it is drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Day {
    pub(super) quiet: Vec<Stretch>,
    pub(super) marks: Vec<Mark>,
    /// Where it is now.
    pub(super) now: f64,
    pub(super) is_quiet: bool,
    /// What holds, and when it changes, in words.
    pub(super) words: String,
    /// What is unusual about the day.
    pub(super) unusual: Option<String>,
}

/// A part of the bar.
#[derive(Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) x: f64,
    pub(super) width: f64,
}

/// An hour below the bar.
#[derive(Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) label: String,
}

impl Day {
    pub(super) fn of(window: &QuietWindow, now: DateTime<Utc>) -> Self {
        let (start, end) = bounds(window, now);
        let length = (end - start).as_seconds_f64().max(1.0);
        let place = |at: DateTime<Utc>| {
            let passed = (at - start).as_seconds_f64() / length;
            (passed.clamp(0.0, 1.0) * WIDTH * 10.0).round() / 10.0
        };
        let mut quiet = Vec::new();
        let mut at = start;
        for _ in 0..CHANGES_MAX {
            let next = window.next_change(at).min(end);
            if window.is_quiet(at) {
                let (x, until) = (place(at), place(next));
                quiet.push(Stretch {
                    x,
                    width: until - x,
                });
            }
            if next >= end || next <= at {
                break;
            }
            at = next;
        }
        let hours = (end - start).num_hours();
        let unusual = (hours != 24).then(|| {
            format!(
                "Clocks change in {} today: the day has {hours} hours.",
                window.zone
            )
        });
        Self {
            quiet,
            marks: marks(window, start, end, place),
            now: place(now),
            is_quiet: window.is_quiet(now),
            words: words(window, now),
            unusual,
        }
    }
}

/// The midnights around `now`, there.
fn bounds(window: &QuietWindow, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let today = now.with_timezone(&window.zone).date_naive();
    let midnight = |days: u64| {
        let day = today.checked_add_days(Days::new(days))?;
        // Where clocks jump at midnight the day begins an hour later.
        (0..24).find_map(|hour| {
            let local = day.and_hms_opt(hour, 0, 0)?;
            let first = window.zone.from_local_datetime(&local).earliest()?;
            Some(first.with_timezone(&Utc))
        })
    };
    let start = midnight(0).unwrap_or(now);
    (start, midnight(1).unwrap_or(start + TimeDelta::days(1)))
}

fn marks(
    window: &QuietWindow,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    place: impl Fn(DateTime<Utc>) -> f64,
) -> Vec<Mark> {
    let hours = (0..=(end - start).num_hours()).map(|hour| start + TimeDelta::hours(hour));
    let marked = hours.filter_map(|at| {
        let local = at.with_timezone(&window.zone);
        let is_marked = local.hour() % MARK_HOURS == 0 || at == end;
        is_marked.then(|| Mark {
            x: place(at),
            label: if at == end {
                "24".to_owned()
            } else {
                format!("{:02}", local.hour())
            },
        })
    });
    marked.collect()
}

fn words(window: &QuietWindow, now: DateTime<Utc>) -> String {
    let next = window.next_change(now);
    let local = next.with_timezone(&window.zone);
    let day = match (local.date_naive() - now.with_timezone(&window.zone).date_naive()).num_days() {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        _ => local.format("on %Y-%m-%d").to_string(),
    };
    let offset = local.offset().fix();
    let wait = text::seconds((next - now).as_seconds_f64());
    let clock = local.format("%H:%M");
    if window.is_quiet(now) {
        format!("It is quiet now, until {clock} {day} (UTC{offset}), for another {wait}.")
    } else {
        format!("It is not quiet now. It becomes quiet at {clock} {day} (UTC{offset}), in {wait}.")
    }
}

#[cfg(test)]
mod tests {
    use domain::Preferences;
    use serde_json::json;

    use super::*;

    fn window(start: &str, end: &str) -> QuietWindow {
        let body = json!({"quiet_hours": {"enabled": true, "start": start, "end": end,
            "timezone": "Europe/Berlin"}});
        Preferences::parse(body)
            .unwrap()
            .quiet_window(None)
            .unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_is_drawn_at_both_ends_of_the_day() {
        let day = Day::of(&window("22:00", "08:00"), at("2026-06-15T10:00:00Z"));

        let stretch = |x, width| Stretch { x, width };
        assert_eq!(day.quiet, [stretch(0.0, 240.0), stretch(660.0, 60.0)]);
        assert!((day.now - 360.0).abs() < 0.001);
        assert!(!day.is_quiet && day.unusual.is_none());
        assert_eq!(
            day.words,
            "It is not quiet now. It becomes quiet at 22:00 today (UTC+02:00), in 10 h."
        );
        let labels: Vec<_> = day.marks.iter().map(|mark| mark.label.as_str()).collect();
        assert_eq!(
            labels,
            ["00", "03", "06", "09", "12", "15", "18", "21", "24"]
        );
        let night = Day::of(&window("22:00", "08:00"), at("2026-06-15T21:00:00Z"));
        assert!(
            night.words.contains("until 08:00 tomorrow"),
            "{}",
            night.words
        );
    }

    #[test]
    fn a_day_on_which_clocks_change_has_its_own_length() {
        let window = window("01:00", "04:00");
        // From 02:00 to 03:00 there is nothing: two hours of 23.
        let spring = Day::of(&window, at("2026-03-29T10:00:00Z"));
        assert!(spring.unusual.as_deref().unwrap().contains("23 hours"));
        assert_eq!(spring.quiet.len(), 1);
        assert!((spring.quiet[0].width - WIDTH * 2.0 / 23.0).abs() < 0.2);
        // From 02:00 to 03:00 there are two: four hours of 25.
        let autumn = Day::of(&window, at("2026-10-25T10:00:00Z"));
        assert!(autumn.unusual.as_deref().unwrap().contains("25 hours"));
        let width: f64 = autumn.quiet.iter().map(|it| it.width).sum();
        assert!((width - WIDTH * 4.0 / 25.0).abs() < 0.3, "{width}");
    }

    #[test]
    fn a_day_that_begins_an_hour_late_is_drawn_too() {
        let body = json!({"quiet_hours": {"enabled": true, "timezone": "America/Santiago"}});
        let window = Preferences::parse(body)
            .unwrap()
            .quiet_window(None)
            .unwrap();

        let day = Day::of(&window, at("2026-09-06T12:00:00Z"));

        assert!(day.unusual.is_some(), "{day:?}");
        assert!(!day.quiet.is_empty());
    }
}

//! Schedules: when a rule fires by the clock.
//!
//! **Cron** is read on the wall of the schedule's zone; five fields, or six with seconds first.
//! Where the clocks change:
//!
//! - Hours other than `*` name times of the day, and each fires once a day: one that is left out
//!   (02:30 when the clocks jump from 02:00 to 03:00) fires at the jump, one that is shown twice
//!   fires when it is shown first. Several that are left out together are one firing.
//! - `*` for the hours means all of real time: what is left out is not made up for, and what is
//!   shown twice fires twice. `*/15 * * * *` fires every fifteen minutes that night too.
//!
//! **Intervals** are anchored to the epoch, 1970-01-01T00:00:00Z, and know no zone: six hours fire
//! at 00:00, 06:00, 12:00 and 18:00 UTC, whoever saved the rule and when. So they neither drift nor
//! start over when the rule is changed.
//!
//! What was missed while nobody worked fires once, for the latest instant of them
//! ([`Schedule::latest`]).

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;

use super::{Every, Rule, Schedule};

/// Wall times that are looked at for one that is still to come: as many as the seconds of the
/// longest range that was ever shown twice.
const REPEATED_MAX: usize = 86_400;

/// Between two firings, at least: what a cron expression with seconds can ask for.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Why a rule would never fire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("is not a cron expression of five or six fields: {0}")]
    Unreadable(String),
    #[error("names no time that ever comes")]
    Never,
    #[error("must be at least a second")]
    TooShort,
}

/// A schedule that was read.
enum Beat {
    /// `is_hourly` is whether it names every hour.
    Cron {
        cron: Box<Cron>,
        zone: Tz,
        is_hourly: bool,
    },
    Interval(TimeDelta),
}

impl Schedule {
    /// Whether it fires at all after `at`.
    pub fn check(&self, at: DateTime<Utc>) -> Result<(), ScheduleError> {
        let beat = self.beat()?;
        beat.next_after(at).map(drop).ok_or(ScheduleError::Never)
    }

    /// The first instant after `at` at which it fires; `None` if it never does.
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.beat().ok()?.next_after(at)
    }

    /// The last instant until `now` at which it fires, from `since` on, at which it fires too.
    pub fn latest(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let Ok(beat) = self.beat() else {
            return since;
        };
        let mut latest = since;
        // Nothing fires in `(beyond, now]`.
        let mut beyond = now;
        while beyond - latest > TimeDelta::seconds(1) {
            let middle = latest + (beyond - latest) / 2;
            match beat.next_after(middle).filter(|&next| next <= now) {
                Some(next) => latest = next,
                None => beyond = middle,
            }
        }
        let last = beat.next_after(latest);
        last.filter(|&last| last <= now).unwrap_or(latest)
    }

    fn beat(&self) -> Result<Beat, ScheduleError> {
        match &self.every {
            Every::Cron(expression) => {
                let cron = Cron::from_str(expression)
                    .map_err(|error| ScheduleError::Unreadable(error.to_string()))?;
                let is_hourly =
                    (0..24).all(|hour| matches!(cron.pattern.hour_match(hour), Ok(true)));
                Ok(Beat::Cron {
                    cron: Box::new(cron),
                    zone: self.timezone,
                    is_hourly,
                })
            }
            Every::Interval(interval) if *interval < INTERVAL_MIN => Err(ScheduleError::TooShort),
            Every::Interval(interval) => TimeDelta::from_std(*interval)
                .map(Beat::Interval)
                .map_err(|_too_long| ScheduleError::Never),
        }
    }
}

impl Rule {
    /// The first instant after `at` at which it fires by its schedule: `None` if it has none, is
    /// off, or is no longer valid then.
    pub fn fires_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let schedule = self.schedule.as_ref().filter(|_| self.enabled)?;
        // It may fire at the very instant from which it is valid.
        let valid_from = self
            .valid_from
            .map(|from| from - TimeDelta::microseconds(1));
        let after = valid_from.map_or(at, |from| from.max(at));
        let is_valid = |next: &DateTime<Utc>| self.valid_until.is_none_or(|until| *next < until);
        schedule.next_after(after).filter(is_valid)
    }
}

impl Beat {
    fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron {
                cron,
                zone,
                is_hourly: true,
            } => {
                let next = cron.find_next_occurrence(&at.with_timezone(zone), false);
                next.ok().map(|next| next.to_utc())
            }
            Self::Cron { cron, zone, .. } => next_of_day(cron, *zone, at),
            Self::Interval(interval) => next_multiple(*interval, at),
        }
    }
}

/// The first of the times of the day that `cron` names which comes after `at`.
///
/// The wall has every time of the day here, so that croner knows nothing of changes of the clocks.
fn next_of_day(cron: &Cron, zone: Tz, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut wall = at.with_timezone(&zone).naive_local();
    for _ in 0..REPEATED_MAX {
        wall = cron.find_next_occurrence(&wall, false).ok()?;
        // While what was shown before is shown again, all of it has come already.
        if let Some(next) = first_shown(wall, zone).filter(|&next| next > at) {
            return Some(next);
        }
    }
    None
}

/// The first instant at which the wall shows `wall`; where it never does, the one at which it is
/// past.
fn first_shown(wall: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let shown = zone.from_local_datetime(&wall).earliest();
    let shown = shown.or_else(|| GapInfo::new(&wall, &zone)?.end);
    shown.map(|shown| shown.to_utc())
}

fn next_multiple(interval: TimeDelta, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let step = interval.num_microseconds()?;
    let past = at.timestamp_micros().rem_euclid(step);
    let next = at.timestamp_micros().checked_add(step - past)?;
    DateTime::from_timestamp_micros(next)
}

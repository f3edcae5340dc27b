//! Quiet hours: whether an instant is quiet for someone, and until when.
//!
//! **What is quiet.** An instant is quiet if and only if the clock on the wall of the user's zone
//! then shows a time in `[start, end)`, over midnight where `start` comes after `end`. A deferral
//! ends at the first instant that is not quiet. Nothing else is said about changes of the clocks,
//! for this settles all of them:
//!
//! - **The end falls into a gap** (the clocks jump from 02:00 to 03:00, quiet until 02:30): the
//!   wall never shows 02:30; the first instant that is not quiet is that of the jump, 03:00.
//! - **The start falls into a gap**: it is quiet from the jump on, if the wall then shows a time in
//!   the window.
//! - **The window lies within a gap**: that night it is not quiet at all.
//! - **The end falls into a fold** (from 03:00 back to 02:00, quiet until 02:30): quiet until 02:30
//!   is shown for the first time. From the moment the clocks go back it is quiet again, until 02:30
//!   is shown for the second time. What was deferred goes out at the first end.
//! - **The window lies within a fold**: it is quiet twice.
//!
//! **Whose zone**: `quiet_hours.timezone`, else `timezone` of the preferences, else that of the
//! user's row, else UTC.
//!
//! **What is held back**: `quiet_hours.channels`, whichever they are; else those that make a noise.
//! Not what bypasses, and not what is critical in priority or severity, unless `allow_critical` is
//! off.
//!
//! An answer costs one look at the zone's offset, an end a few more: no minutes are walked.

use chrono::{DateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::{Matter, Preferences, QuietHours, QuietMode, WallClock};
use crate::{Channel, Severity, TraceStep};

const DAY: i64 = 86_400;

/// Between two looks at a zone's offset: no zone has ever changed it twice within a week.
const SAMPLE: i64 = 6 * 3600;

/// Changes of the clocks that one window may span: it ends a day after the last of them.
const CHANGES_MAX: usize = 16;

/// The row that speaks where a category does not.
const USUAL_ROW: &str = "/quiet_hours";

impl Channel {
    /// Whether it makes a noise at somebody's bedside, so that quiet hours hold it back unless they
    /// name channels of their own.
    pub const fn is_noisy(self) -> bool {
        match self {
            Self::Email | Self::Sms | Self::Voice | Self::Push | Self::WebPush => true,
            Self::Slack | Self::Webhook | Self::InApp | Self::Pagerduty => false,
        }
    }
}

/// A daily window on the wall of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietWindow {
    pub start: WallClock,
    pub end: WallClock,
    pub zone: Tz,
}

/// Something is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// The first instant that is not quiet.
    pub until: DateTime<Utc>,
    /// What becomes of it until then. Never [`QuietMode::Deliver`]: then nothing is held back.
    pub mode: QuietMode,
    pub window: QuietWindow,
    /// What decided the mode, as a JSON pointer into the preferences.
    pub row: String,
}

impl Preferences {
    /// The window of quiet hours, if they are on. `fallback_zone` is that of the user's row.
    pub fn quiet_window(&self, fallback_zone: Option<&str>) -> Option<QuietWindow> {
        let said = &self.quiet_hours;
        let window = QuietWindow {
            start: said.start,
            end: said.end,
            zone: self.quiet_zone(fallback_zone),
        };
        // Refused where preferences are read; a window without a length is never quiet.
        (said.enabled && said.start != said.end).then_some(window)
    }

    /// The zone on whose walls quiet hours are read.
    pub fn quiet_zone(&self, fallback_zone: Option<&str>) -> Tz {
        let said = self.quiet_hours.timezone.or(self.timezone);
        said.or_else(|| fallback_zone?.parse().ok())
            .unwrap_or(Tz::UTC)
    }

    /// Decides whether `matter` is held back from `channel` at `at`. `None` lets it go out now.
    pub fn quiet(
        &self,
        channel: Channel,
        matter: &Matter<'_>,
        bypass: bool,
        fallback_zone: Option<&str>,
        at: DateTime<Utc>,
    ) -> Option<Quiet> {
        let said = &self.quiet_hours;
        let is_critical = said.allow_critical && matter.urgency() == Severity::Critical;
        if !said.enabled || bypass || is_critical || !said.holds(channel) {
            return None;
        }
        let (mode, row) = self.quiet_mode(matter.category);
        if mode == QuietMode::Deliver {
            return None;
        }
        let window = self.quiet_window(fallback_zone)?;
        let until = window.quiet_until(at)?;
        Some(Quiet {
            until,
            mode,
            window,
            row,
        })
    }

    /// The decision that `matter` goes out on `channel` though it is quiet at `at`, for the trace;
    /// `None` where it is not quiet, or where it is held back.
    pub fn passed(
        &self,
        channel: Channel,
        matter: &Matter<'_>,
        bypass: bool,
        fallback_zone: Option<&str>,
        at: DateTime<Utc>,
    ) -> Option<TraceStep> {
        let said = &self.quiet_hours;
        if !said.enabled || !said.holds(channel) {
            return None;
        }
        let (mode, row) = self.quiet_mode(matter.category);
        let (reason, row) = if bypass {
            ("quiet hours: whoever sends it bypasses them", None)
        } else if said.allow_critical && matter.urgency() == Severity::Critical {
            let row = "/quiet_hours/allow_critical".to_owned();
            ("quiet hours: what is critical is sent", Some(row))
        } else if mode == QuietMode::Deliver {
            ("quiet hours: the category is sent", Some(row))
        } else {
            return None;
        };
        let window = self.quiet_window(fallback_zone)?;
        let until = window.quiet_until(at)?;
        let step = TraceStep::new("quiet_hours", "passed", reason);
        Some(step.with_detail(window.detail(channel, until, row.as_deref())))
    }

    /// What becomes of a category in quiet hours, and the row that says so.
    fn quiet_mode(&self, category: Option<&str>) -> (QuietMode, String) {
        let named = category.and_then(|name| self.categories.get_key_value(name));
        match named.and_then(|(name, said)| Some((name, said.quiet_hours?))) {
            Some((name, mode)) => (mode, super::decide::row_of(name, "quiet_hours")),
            None => (QuietMode::Defer, USUAL_ROW.to_owned()),
        }
    }
}

impl QuietHours {
    /// Whether it holds `channel` back at all.
    pub fn holds(&self, channel: Channel) -> bool {
        match &self.channels {
            Some(named) => named.contains(&channel),
            None => channel.is_noisy(),
        }
    }

    /// The channels it holds back.
    pub fn held(&self) -> Vec<Channel> {
        let all = Channel::ALL.into_iter();
        all.filter(|&channel| self.holds(channel)).collect()
    }
}

impl Quiet {
    /// The decision for the trace, taken in `step` about `channel`.
    pub fn step(&self, step: &'static str, channel: Channel) -> TraceStep {
        let (decision, reason) = match self.mode {
            QuietMode::Digest => ("digest", "quiet hours: told together when they end"),
            QuietMode::Drop => (
                "suppressed",
                "quiet hours: the user does not want it then or later",
            ),
            QuietMode::Defer | QuietMode::Deliver => {
                ("deferred", "quiet hours: sent when they end")
            }
        };
        let row = Some(self.row.as_str());
        let detail = self.window.detail(channel, self.until, row);
        TraceStep::new(step, decision, reason).with_detail(detail)
    }
}

impl QuietWindow {
    /// What a trace says of it.
    fn detail(&self, channel: Channel, until: DateTime<Utc>, row: Option<&str>) -> Value {
        json!({
            "channel": channel,
            "until": until,
            "zone": self.zone,
            "local": {"start": self.start, "end": self.end},
            "row": row,
        })
    }

    /// Whether `at` is quiet.
    pub fn is_quiet(&self, at: DateTime<Utc>) -> bool {
        self.is_quiet_at(at.timestamp())
    }

    /// The end of the quiet that `at` lies in, if it does: the first instant that is not quiet.
    pub fn quiet_until(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.is_quiet(at).then(|| self.next_change(at))
    }

    /// The first instant after `at` that is quiet if `at` is not, and is not if `at` is.
    pub fn next_change(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        // Windows and offsets are whole seconds, so what holds at the full second holds until the
        // next.
        let is_quiet = self.is_quiet(at);
        let goal = seconds_of(if is_quiet { self.end } else { self.start });
        let mut from = at.timestamp();
        for _ in 0..CHANGES_MAX {
            let wait = (goal - self.wall(from)).rem_euclid(DAY);
            let Some(change) = self.offset_change(from, from + wait) else {
                from += wait;
                break;
            };
            from = change;
            if self.is_quiet_at(from) != is_quiet {
                break;
            }
        }
        DateTime::from_timestamp(from, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn is_quiet_at(&self, at: i64) -> bool {
        let (start, end) = (seconds_of(self.start), seconds_of(self.end));
        let wall = self.wall(at);
        if start <= end {
            (start..end).contains(&wall)
        } else {
            wall >= start || wall < end
        }
    }

    /// What the clock on the wall shows, in seconds since its midnight.
    fn wall(&self, at: i64) -> i64 {
        (at + self.offset(at)).rem_euclid(DAY)
    }

    /// The zone's offset from UTC in seconds.
    fn offset(&self, at: i64) -> i64 {
        let offset = DateTime::from_timestamp(at, 0)
            .map(|at| self.zone.offset_from_utc_datetime(&at.naive_utc()).fix());
        offset.map_or(0, |offset| i64::from(offset.local_minus_utc()))
    }

    /// The first instant in `(after, until]` with another offset than `after`.
    fn offset_change(&self, after: i64, until: i64) -> Option<i64> {
        let before = self.offset(after);
        let mut same = after;
        while same < until {
            let next = (same + SAMPLE).min(until);
            if self.offset(next) != before {
                return Some(self.bisect(same, next, before));
            }
            same = next;
        }
        None
    }

    /// The first instant in `(same, changed]` whose offset is not `before`.
    fn bisect(&self, mut same: i64, mut changed: i64, before: i64) -> i64 {
        while changed - same > 1 {
            let middle = same + (changed - same) / 2;
            if self.offset(middle) == before {
                same = middle;
            } else {
                changed = middle;
            }
        }
        changed
    }
}

fn seconds_of(clock: WallClock) -> i64 {
    let time: NaiveTime = clock.time();
    i64::from(time.num_seconds_from_midnight())
}

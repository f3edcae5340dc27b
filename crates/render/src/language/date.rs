//! Dates and times, as a language writes them, in the reader's zone.
//!
//! The calendar is the Gregorian one everywhere: that is what events are dated by. Where the
//! reader's zone is not known the time is in UTC and says so.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use chrono_tz::Tz;
use icu_calendar::{Date, Gregorian};
use icu_datetime::fieldsets::{T, YMD, YMDT};
use icu_datetime::input::{DateTime as LocalDateTime, Time};
use icu_datetime::options::YearStyle;
use icu_datetime::{
    DateTimeFormatterLoadError, DateTimeFormatterPreferences, FixedCalendarDateTimeFormatter,
    NoCalendarFormatter,
};
use icu_locale::Locale;
use minijinja::Value;

/// Seconds beyond which an epoch number must be milliseconds: the year 5138.
const EPOCH_SECONDS_MAX: f64 = 1e11;

/// How much of a date is spelt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `1/15/2026`
    Short,
    /// `Jan 15, 2026`
    Medium,
    /// `January 15, 2026`
    Long,
}

impl Style {
    pub(crate) fn parse(word: Option<&str>) -> Result<Self, String> {
        match word {
            Some("short") => Ok(Self::Short),
            None | Some("medium") => Ok(Self::Medium),
            Some("long") => Ok(Self::Long),
            Some(_) => Err("`style` must be short, medium or long".to_owned()),
        }
    }
}

/// What a value says of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Instant(DateTime<Utc>),
    /// A day without a time is the same day in every zone.
    Day(NaiveDate),
}

impl Moment {
    /// Takes an RFC 3339 text, a date as `2026-01-15`, or seconds or milliseconds since 1970.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        if let Some(text) = value.as_str() {
            let text = text.trim();
            return match text.parse::<NaiveDate>() {
                Ok(day) if text.len() == 10 => Some(Self::Day(day)),
                _ => DateTime::parse_from_rfc3339(text)
                    .ok()
                    .map(|at| Self::Instant(at.to_utc())),
            };
        }
        if !value.is_number() {
            return None;
        }
        let number = f64::try_from(value.clone()).ok()?;
        let millis = if number.abs() < EPOCH_SECONDS_MAX {
            number * 1000.0
        } else {
            number
        };
        // Beyond the calendar there is no date; a float that large is cut to one that is none.
        DateTime::from_timestamp_millis(millis as i64)
            .filter(|at| (1..=9999).contains(&at.year()))
            .map(Self::Instant)
    }
}

/// The formatters of one style in one language.
pub(crate) struct DateFormatters {
    date: FixedCalendarDateTimeFormatter<Gregorian, YMD>,
    datetime: FixedCalendarDateTimeFormatter<Gregorian, YMDT>,
    time: NoCalendarFormatter<T>,
}

impl DateFormatters {
    pub(crate) fn load(locale: &Locale, style: Style) -> Result<Self, DateTimeFormatterLoadError> {
        let prefs = DateTimeFormatterPreferences::from(locale);
        let day = match style {
            // In full, for `1/2/26` has three readings.
            Style::Short => YMD::short().with_year_style(YearStyle::Full),
            Style::Medium => YMD::medium(),
            Style::Long => YMD::long(),
        };
        let time = match style {
            Style::Short | Style::Medium => T::hm(),
            Style::Long => T::hms(),
        };
        Ok(Self {
            date: FixedCalendarDateTimeFormatter::try_new(prefs, day)?,
            datetime: FixedCalendarDateTimeFormatter::try_new(prefs, day.with_time_hm())?,
            time: NoCalendarFormatter::try_new(prefs, time)?,
        })
    }

    pub(crate) fn date(&self, moment: Moment, zone: Tz) -> Option<String> {
        let day = match moment {
            Moment::Instant(at) => at.with_timezone(&zone).date_naive(),
            Moment::Day(day) => day,
        };
        Some(self.date.format(&gregorian(&day)?).to_string())
    }

    /// `None` if the moment has no time.
    pub(crate) fn time(&self, moment: Moment, zone: Tz) -> Option<String> {
        let Moment::Instant(at) = moment else {
            return None;
        };
        let time = time_of_day(&at.with_timezone(&zone))?;
        Some(self.time.format(&time).to_string())
    }

    /// `None` if the moment has no time.
    pub(crate) fn datetime(&self, moment: Moment, zone: Tz) -> Option<String> {
        let Moment::Instant(at) = moment else {
            return None;
        };
        let local = at.with_timezone(&zone);
        let input = LocalDateTime {
            date: gregorian(&local)?,
            time: time_of_day(&local)?,
        };
        Some(self.datetime.format(&input).to_string())
    }
}

fn gregorian(day: &impl Datelike) -> Option<Date<Gregorian>> {
    let (month, day_of_month) = (day.month() as u8, day.day() as u8);
    Date::try_new_gregorian(day.year(), month, day_of_month).ok()
}

fn time_of_day(time: &impl Timelike) -> Option<Time> {
    Time::try_new(
        time.hour() as u8,
        time.minute() as u8,
        time.second() as u8,
        0,
    )
    .ok()
}

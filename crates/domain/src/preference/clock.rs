//! A time of day as a clock on the wall shows it, without date or zone.

use std::fmt;

use chrono::NaiveTime;
use serde::{Serialize, Serializer};

/// A time of day, to the second: `22:00`, or `22:00:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock(NaiveTime);

impl WallClock {
    /// A full hour from 0 to 23; midnight for any other.
    pub(super) fn hour(hour: u32) -> Self {
        Self(NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or(NaiveTime::MIN))
    }

    /// Reads `HH:MM` or `HH:MM:SS`, two digits each.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 3];
        let words: Vec<_> = text.split(':').collect();
        if !matches!(words.len(), 2 | 3) {
            return None;
        }
        for (part, word) in parts.iter_mut().zip(words) {
            let is_number = word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_digit());
            *part = word.parse().ok().filter(|_| is_number)?;
        }
        let [hour, minute, second] = parts;
        NaiveTime::from_hms_opt(hour, minute, second).map(Self)
    }

    pub const fn time(self) -> NaiveTime {
        self.0
    }
}

impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.format("%H:%M:%S").to_string();
        f.write_str(text.strip_suffix(":00").unwrap_or(&text))
    }
}

impl Serialize for WallClock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_reads_back_from_what_it_prints() {
        for (text, printed) in [
            ("22:00", "22:00"),
            ("00:00:00", "00:00"),
            ("07:30:15", "07:30:15"),
        ] {
            let clock = WallClock::parse(text).unwrap();
            assert_eq!(clock.to_string(), printed);
            assert_eq!(WallClock::parse(printed), Some(clock));
        }
        for text in [
            "",
            "24:00",
            "7:30",
            "07:60",
            "07:30:60",
            "+7:30",
            "07.30",
            "07:30:15:00",
        ] {
            assert_eq!(WallClock::parse(text), None, "{text}");
        }
    }
}

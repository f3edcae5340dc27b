//! Numbers and times as the pages write them.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// A moment, to the second.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A moment for programs.
pub(super) fn machine(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The time of day.
pub(super) fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M").to_string()
}

/// A whole number, in groups of three digits.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if value < 0 {
        text.insert(0, '−');
    }
    text
}

/// A number of which the first two or three digits matter.
pub(super) fn rough(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value < 0.1 => format!("{value:.2}"),
        _ if value < 10.0 && value.fract() > 0.0 => format!("{value:.1}"),
        _ => number(value.round() as i64),
    }
}

/// How long something took or takes.
pub(super) fn seconds(value: f64) -> String {
    match value {
        _ if value < 0.0005 => "0 s".to_owned(),
        _ if value < 1.0 => format!("{:.0} ms", value * 1000.0),
        _ if value < 10.0 => format!("{value:.1} s"),
        _ if value < 120.0 => format!("{value:.0} s"),
        _ if value < 2.0 * 3600.0 => format!("{:.0} min", value / 60.0),
        _ if value < 2.0 * 86400.0 => format!("{:.0} h", value / 3600.0),
        _ => format!("{:.0} days", value / 86400.0),
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.extend(char::from_digit(u32::from(byte >> 4), 16));
        text.extend(char::from_digit(u32::from(byte & 15), 16));
        text
    })
}

/// Text of which only the beginning is shown.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => {
            let (beginning, _) = text.split_at(end);
            format!("{beginning}…")
        }
        None => text.to_owned(),
    }
}

/// A document over several lines.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// `1 job`, `2 jobs`.
pub(super) fn count(value: i64, one: &str, many: &str) -> String {
    let word = if value == 1 { one } else { many };
    format!("{} {word}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(-1_234_567), "−1\u{202f}234\u{202f}567");
        assert_eq!(count(1, "job", "jobs"), "1 job");
        assert_eq!(count(0, "job", "jobs"), "0 jobs");
        let roughly = [0.0, 0.04, 0.5, 9.96, 12.0, 1234.5].map(rough);
        assert_eq!(roughly, ["0", "0.04", "0.5", "10.0", "12", "1\u{202f}235"]);
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0, 0xa5, 0xff]), "00a5ff");
    }

    #[test]
    fn a_time_is_written_in_the_unit_that_says_most() {
        let written = [0.0, 0.012, 1.0, 59.0, 150.0, 8000.0, 200_000.0].map(seconds);
        assert_eq!(
            written,
            ["0 s", "12 ms", "1.0 s", "59 s", "2 min", "2 h", "2 days"]
        );
    }
}

//! Spans of time as rules write them: `90s`, `5m`, `1h30m`, `2d`, `PT5M`, or seconds as a number.

use std::time::Duration;

use serde_json::Value;

/// Seconds of each unit, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("w", 7 * 24 * 3600),
    ("d", 24 * 3600),
    ("h", 3600),
    ("m", 60),
    ("s", 1),
];

/// Reads a span in any of its forms.
pub(super) fn read(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => parse(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads whole numbers with their units, such as `1h 30m`, or an ISO 8601 duration.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let seconds = match text.strip_prefix('p') {
        Some(iso) => {
            let (date, time) = iso.split_once('t').unwrap_or((iso, ""));
            // Minutes and hours come after the `T`; what months last is not known.
            if date.contains(['h', 'm', 's']) || time.contains(['w', 'd']) {
                return None;
            }
            sum(&format!("{date}{time}"))?
        }
        None => sum(&text)?,
    };
    Some(Duration::from_secs(seconds))
}

fn sum(text: &str) -> Option<u64> {
    let mut rest = text.trim_start();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let word = after.find(|c: char| !c.is_ascii_alphabetic());
        let (word, after) = after.split_at(word.unwrap_or(after.len()));
        let unit = match word {
            "sec" | "secs" | "second" | "seconds" => "s",
            "min" | "mins" | "minute" | "minutes" => "m",
            "hr" | "hrs" | "hour" | "hours" => "h",
            "day" | "days" => "d",
            "week" | "weeks" => "w",
            word => word,
        };
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*unit)?;
        seconds = seconds.checked_add(part)?;
        rest = after.trim_start();
    }
    Some(seconds)
}

/// Writes a span so that it is read back: `1h30m`.
pub(super) fn write(span: Duration) -> String {
    let mut rest = span.as_secs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    parts.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_a_span_is_read() {
        for (value, seconds) in [
            (json!(90), 90),
            (json!("90s"), 90),
            (json!("5m"), 300),
            (json!("1h30m"), 5400),
            (json!("1 hour 30 minutes"), 5400),
            (json!("2d"), 172_800),
            (json!("PT5M"), 300),
            (json!("P1DT2H"), 93_600),
            (json!("p1w"), 604_800),
        ] {
            assert_eq!(read(&value), Some(Duration::from_secs(seconds)), "{value}");
        }
        for value in [
            json!(""),
            json!("5"),
            json!("m"),
            json!("5x"),
            json!("-5m"),
            json!("1.5h"),
            json!("P1M"),
            json!("PT"),
            json!("99999999999999999999s"),
            json!("999999999999999999w"),
            json!(-1),
            json!(1.5),
            json!(true),
        ] {
            assert_eq!(read(&value), None, "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for seconds in [0, 1, 60, 61, 3600, 5430, 86_400, 694_861] {
            let span = Duration::from_secs(seconds);
            assert_eq!(parse(&write(span)), Some(span));
        }
        assert_eq!(write(Duration::from_secs(5430)), "1h30m30s");
    }
}

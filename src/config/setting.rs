//! How the text of one setting becomes its value, and how the value is shown again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::secret::{MASK, Secret};
use super::{LogFormat, ProxyHeader};

/// A value that can be read from what a source gives. The errors say what was expected.
pub(super) trait Setting: Sized {
    /// What a value looks like.
    const EXPECTED: &'static str;

    /// Whether an empty text says that there is no value.
    const CAN_BE_UNSET: bool = false;

    fn read(text: &str) -> Result<Self, String>;

    fn read_list(_items: &[String]) -> Result<Self, String> {
        Err(format!("expected {}, not a list", Self::EXPECTED))
    }

    fn read_map(_entries: &[(String, String)]) -> Result<Self, String> {
        Err(format!(
            "expected {}, not settings of its own",
            Self::EXPECTED
        ))
    }

    /// The value as people may see it; null where it is unset.
    fn show(&self) -> Value;
}

fn parsed<T: Setting + FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_unreadable| expected::<T>())
}

fn expected<T: Setting>() -> String {
    format!("expected {}", T::EXPECTED)
}

fn shown(value: impl Display) -> Value {
    Value::String(value.to_string())
}

impl Setting for String {
    const EXPECTED: &'static str = "a text";

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> Value {
        shown(self)
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "a text";

    fn read(text: &str) -> Result<Self, String> {
        // A mounted secret usually ends with a line break that is not part of it.
        Ok(Self::new(text.trim_end_matches(['\r', '\n'])))
    }

    fn show(&self) -> Value {
        Value::String(self.masked())
    }
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    const CAN_BE_UNSET: bool = true;

    /// An empty text unsets, as `DATABASE_URL= postrider up` means it.
    fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            Ok(None)
        } else {
            T::read(text).map(Some)
        }
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Setting::show)
    }
}

impl Setting for Vec<String> {
    const EXPECTED: &'static str = "a list, or texts separated by commas";

    fn read(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect())
    }

    fn read_list(items: &[String]) -> Result<Self, String> {
        Ok(items.to_vec())
    }

    fn show(&self) -> Value {
        Value::from(self.clone())
    }
}

/// Names with secret values: who may see a header's name need not see what it proves.
impl Setting for BTreeMap<String, Secret> {
    const EXPECTED: &'static str = "names with values, or `name=value` separated by commas";

    fn read(text: &str) -> Result<Self, String> {
        text.split(',')
            .filter(|entry| !entry.trim().is_empty())
            .map(|entry| {
                let (name, value) = entry.split_once('=').ok_or_else(expected::<Self>)?;
                Ok((name.trim().to_owned(), Secret::new(value.trim())))
            })
            .collect()
    }

    fn read_map(entries: &[(String, String)]) -> Result<Self, String> {
        let entries = entries.iter();
        Ok(entries
            .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
            .collect())
    }

    fn show(&self) -> Value {
        let names = self.keys();
        let masked: Map<String, Value> = names.map(|name| (name.clone(), MASK.into())).collect();
        Value::Object(masked)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(expected::<Self>()),
        }
    }

    fn show(&self) -> Value {
        Value::Bool(*self)
    }
}

/// Reads what the standard library parses, and shows it as the same type does.
macro_rules! plain {
    ($($kind:ty, $expected:literal, $show:expr;)*) => {
        $(
            impl Setting for $kind {
                const EXPECTED: &'static str = $expected;

                fn read(text: &str) -> Result<Self, String> {
                    parsed(text)
                }

                fn show(&self) -> Value {
                    $show(*self)
                }
            }
        )*
    };
}

plain! {
    u16, "a whole number up to 65535", Value::from;
    u32, "a whole number", Value::from;
    usize, "a whole number", Value::from;
    SocketAddr, "an address with a port, such as 127.0.0.1:8003", shown;
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration with a unit, such as 30s or 250ms";

    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim()).map_err(|_unreadable| expected::<Self>())
    }

    /// In the largest unit that needs no fraction, for `90d` is easier to read than its months.
    fn show(&self) -> Value {
        const UNITS: [(u128, &str); 4] = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1000, "s"),
        ];
        let millis = self.as_millis();
        if Self::from_millis(millis as u64) != *self {
            return shown(humantime::format_duration(*self));
        }
        let unit = UNITS
            .into_iter()
            .find(|(length, _)| millis > 0 && millis.is_multiple_of(*length));
        let (length, name) = unit.unwrap_or((1, "ms"));
        shown(format_args!("{}{name}", millis / length))
    }
}

impl Setting for LogFormat {
    const EXPECTED: &'static str = "auto, human or json";

    fn read(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(expected::<Self>()),
        }
    }

    fn show(&self) -> Value {
        shown(match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl Setting for ProxyHeader {
    const EXPECTED: &'static str = "x-forwarded-for or forwarded";

    fn read(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(expected::<Self>()),
        }
    }

    fn show(&self) -> Value {
        shown(match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_as_it_can_be_read_again() {
        for (text, shown) in [
            ("90days", "90d"),
            ("60s", "1m"),
            ("250ms", "250ms"),
            ("90s", "90s"),
            ("0s", "0ms"),
            ("1us", "1us"),
        ] {
            let read = Duration::read(text).unwrap();
            assert_eq!(Setting::show(&read), shown);
            assert_eq!(Duration::read(shown), Ok(read));
        }
    }

    #[test]
    fn names_with_values_come_from_one_text_or_from_a_file() {
        let text = BTreeMap::read("X-One=1, X-Two=a=b").unwrap();
        let entries = [("X-One", "1"), ("X-Two", "a=b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));

        assert_eq!(text, BTreeMap::read_map(&entries).unwrap());
        assert_eq!(
            Setting::show(&text),
            serde_json::json!({"X-One": "****", "X-Two": "****"})
        );
        assert!(BTreeMap::read("X-One").is_err());
    }
}

//! How the text of one setting becomes its value.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::LogFormat;

/// A value that can be read from a setting's text. The error says what was expected.
pub(super) trait Setting: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

/// A value that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fresh one: 256 random bits in hexadecimal after `prefix`.
    pub fn random(prefix: &str) -> Self {
        let bits: [u8; 32] = rand::random();
        let digits = bits.iter().map(|byte| format!("{byte:02x}"));
        Self(std::iter::once(prefix.to_owned()).chain(digits).collect())
    }

    /// The value itself, for whoever has to use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn parsed<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_unreadable| format!("expected {expected}"))
}

impl Setting for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Setting for Secret {
    fn read(text: &str) -> Result<Self, String> {
        // A mounted secret usually ends with a line break that is not part of it.
        Ok(Self::new(text.trim_end_matches(['\r', '\n'])))
    }
}

impl<T: Setting> Setting for Option<T> {
    /// An empty text unsets, as `DATABASE_URL= postrider up` means it.
    fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            Ok(None)
        } else {
            T::read(text).map(Some)
        }
    }
}

impl Setting for Vec<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

impl Setting for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }
}

impl Setting for u32 {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text, "a whole number")
    }
}

impl Setting for usize {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text, "a whole number")
    }
}

impl Setting for SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text, "an address with a port, such as 127.0.0.1:8003")
    }
}

impl Setting for Duration {
    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim()).map_err(|_unreadable| {
            "expected a duration with a unit, such as 30s or 250ms".to_owned()
        })
    }
}

impl Setting for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("expected auto, human or json".to_owned()),
        }
    }
}

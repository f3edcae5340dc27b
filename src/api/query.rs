//! Query parameters, read one by one so that every problem is named.
//!
//! Parameters nobody asks for are left alone, as is usual on the web.

use axum::extract::{FromRequestParts, RawQuery};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use domain::FieldError;

use crate::api::error::ApiError;
use crate::app::App;

/// Longest value of one parameter, in characters: what names and ids may have, and a cursor.
const VALUE_CHARS_MAX: usize = 255;

/// The decoded parameters of a request, and what was wrong with those read so far.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl FromRequestParts<App> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match RawQuery::from_request_parts(parts, app).await {
            Ok(RawQuery(text)) => Ok(Self::parse(text.as_deref().unwrap_or_default())),
            Err(never) => match never {},
        }
    }
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self {
            pairs,
            errors: Vec::new(),
        }
    }

    /// The value of `name` as it came, however long.
    pub(crate) fn raw(&self, name: &str) -> Option<String> {
        let (_, value) = self.pairs.iter().find(|(each, _)| each == name)?;
        Some(value.clone()).filter(|value| !value.is_empty())
    }

    /// The value of `name`, where one is given and can be text in a table.
    ///
    /// An empty one is refused: `?user_id=$USER` of a script whose variable is not set must not
    /// mean everybody.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.pairs.iter().find(|(each, _)| each == name)?;
        if value.is_empty() {
            self.refuse(name, "must not be empty");
            return None;
        }
        let value = value.clone();
        if value.contains('\0') {
            self.refuse(name, "must not contain U+0000");
            return None;
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            self.refuse(name, &format!("has at most {VALUE_CHARS_MAX} characters"));
            return None;
        }
        Some(value)
    }

    /// The value of `name`, read by `read`; `expected` says what it should have been.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.refuse(name, expected);
        }
        value
    }

    /// The value of `name` as a moment.
    pub(crate) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.parsed(
            name,
            "must be an RFC 3339 time such as 2026-01-31T09:00:00Z",
            |text| {
                // A `+` that was not escaped has become a space on its way here.
                let moment = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?;
                Some(moment.with_timezone(&Utc))
            },
        )
    }

    pub(crate) fn refuse(&mut self, name: &str, detail: &str) {
        self.errors.push(FieldError {
            pointer: format!("/{name}"),
            detail: detail.to_owned(),
        });
    }

    /// Ends the reading: every problem found is reported together.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(self.errors))
        }
    }
}

/// Undoes percent-encoding and `+`. What is not UTF-8 afterwards becomes U+FFFD, which no name
/// contains.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        let mut query = Query::parse("user_id=a%2Bb+c%25&empty=&flag&bad=%zz%f");

        assert_eq!(query.text("user_id").as_deref(), Some("a+b c%"));
        assert_eq!(query.text("bad").as_deref(), Some("%zz%f"));
        assert_eq!(query.text("absent"), None);
        assert_eq!(query.text("empty"), None);
        assert_eq!(query.text("flag"), None);
        let error = query.finish().unwrap_err();
        assert_eq!(error.detail(), "2 fields are not acceptable");
    }

    #[test]
    fn every_problem_is_reported_together() {
        let mut query = Query::parse("user_id=%00&since=yesterday&limit=ten");

        query.text("user_id");
        query.time("since");
        query.parsed("limit", "must be a number", |text| text.parse::<u8>().ok());

        let error = query.finish().unwrap_err();
        assert_eq!(error.detail(), "3 fields are not acceptable");
    }

    #[test]
    fn a_time_survives_an_unescaped_plus() {
        let mut query = Query::parse("since=2026-01-31T09:00:00+01:00");
        assert_eq!(
            query.time("since").unwrap().to_rfc3339(),
            "2026-01-31T08:00:00+00:00"
        );
    }
}

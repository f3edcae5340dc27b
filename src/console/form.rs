//! What a form of the console sends, and the proof that a page of ours sent it.
//!
//! A browser says where a request comes from, and the page that holds the form knows a token of its
//! session. Both must be right before anything is looked at.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, Datelike, Utc};

use super::session::{Operator, Refusal};
use crate::api::arrival;
use crate::api::body;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::app::App;
use crate::edge::cors;

/// The field that carries the token.
pub(super) const TOKEN_FIELD: &str = "form_token";

/// How a browser writes a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Most bytes of a form: a template's body is the longest field.
const FORM_BYTES_MAX: usize = 1024 * 1024;

/// What an operator sent by a form of theirs.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) operator: Operator,
    pub(super) fields: Fields,
}

impl FromRequest<App> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let operator = Operator::from_request_parts(&mut parts, app).await?;
        let fields = read(&parts, body, app).await?;
        let token = fields.raw(TOKEN_FIELD).unwrap_or_default();
        if !operator.is_form_token(&token) {
            let why = "this form was not made for your session; go back, reload the page and try \
                       again";
            return Err(ApiError::forbidden(why).into());
        }
        Ok(Self { operator, fields })
    }
}

/// What somebody sent who is not signed in yet.
#[derive(Debug)]
pub(super) struct OpenForm(pub(super) Fields);

impl FromRequest<App> for OpenForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        read(&parts, body, app).await.map(Self)
    }
}

/// Reads a form that comes from one of our pages.
async fn read(parts: &Parts, body: axum::body::Body, app: &App) -> Result<Fields, ApiError> {
    if !is_ours(&parts.headers) {
        return Err(ApiError::forbidden("this form came from another site"));
    }
    let bytes = arrival::read(parts, body, FORM_BYTES_MAX, app).await?;
    if !body::is(&parts.headers, FORM) {
        return Err(ApiError::unsupported_media_type());
    }
    Ok(Fields::parse(&String::from_utf8_lossy(&bytes)))
}

/// Whether a page of ours sent the request, as far as the browser says.
///
/// `Sec-Fetch-Site` is the browser's own judgement and wins; it is only sent over TLS and on the
/// same machine. `Origin` is compared with the name that the request was sent to. A program that
/// sends neither cannot have been led here by somebody else's page.
fn is_ours(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    !headers.contains_key(header::ORIGIN) || cors::is_own(headers)
}

/// Fields of a form, or parameters of a page. One that was left empty is not there.
#[derive(Debug, Default)]
pub(super) struct Fields {
    query: Query,
    text: String,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Self {
        let filled = text.split('&').filter(|pair| {
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            !value.is_empty()
        });
        let text = filled.collect::<Vec<_>>().join("&");
        Self {
            query: Query::parse(&text),
            text,
        }
    }

    /// The value of `name` as it came, however long.
    pub(super) fn raw(&self, name: &str) -> Option<String> {
        self.query.raw(name)
    }

    /// Every value of `name`, in their order: ticked boxes.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let pairs = self.text.split('&').map(Query::parse);
        pairs.filter_map(|pair| pair.raw(name)).collect()
    }

    /// The value of `name` as a moment, in UTC where it does not say.
    pub(super) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.query
            .parsed(name, "must be a time such as 2026-01-31T09:00", moment_of)
    }

    /// To be read one by one, so that every problem is named.
    pub(super) fn reading(&mut self) -> &mut Query {
        &mut self.query
    }

    /// Ends the reading: every problem found is reported together.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        self.query.finish()
    }
}

impl FromRequestParts<App> for Fields {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A moment as the fields for times write it, in UTC; or as the API does.
fn moment_of(text: &str) -> Option<DateTime<Utc>> {
    let whole = || DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok();
    let local = || {
        [
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%dT%H:%M:%S%.f",
        ]
        .into_iter()
        .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
    };
    // Years beyond four digits are none that Postgres and an id can hold.
    whole()
        .map(|moment| moment.with_timezone(&Utc))
        .or_else(|| local().map(|moment| moment.and_utc()))
        .filter(|moment| (1970..=9999).contains(&moment.year()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn sent(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_a_page_of_ours_may_send_a_form() {
        let host = ("host", "notify.example:8003");
        for ours in [
            sent(&[host]),
            sent(&[host, ("origin", "http://notify.example:8003")]),
            sent(&[host, ("origin", "https://Notify.Example:8003")]),
            // A proxy gave the request another name; the browser knows better.
            sent(&[
                ("host", "10.0.0.7"),
                ("origin", "https://notify.example"),
                ("sec-fetch-site", "same-origin"),
            ]),
        ] {
            assert!(is_ours(&ours), "{ours:?}");
        }
        for others in [
            sent(&[host, ("origin", "http://evil.example")]),
            sent(&[host, ("origin", "http://notify.example")]),
            sent(&[host, ("origin", "null")]),
            sent(&[host, ("sec-fetch-site", "cross-site")]),
            sent(&[host, ("sec-fetch-site", "same-site")]),
            sent(&[("origin", "http://notify.example:8003")]),
        ] {
            assert!(!is_ours(&others), "{others:?}");
        }
    }

    #[test]
    fn a_moment_is_read_as_browsers_write_it() {
        let at = |text| moment_of(text).map(|at| at.to_rfc3339());
        let expected = Some("2026-11-21T14:05:00+00:00".to_owned());

        assert_eq!(at("2026-11-21T14:05"), expected);
        assert_eq!(at("2026-11-21T14:05:00Z"), expected);
        assert_eq!(at("2026-11-21T15:05:00 01:00"), expected);
        for bad in [
            "",
            "yesterday",
            "2026-13-01T00:00",
            "14:05",
            "-0999-01-01T00:00",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_field_that_was_left_empty_is_not_there() {
        let mut fields = Fields::parse("queue=&kind=deliver&id=1&id=2&flag&x=%3Cb%3E");

        assert_eq!(fields.raw("queue"), None);
        assert_eq!(fields.reading().text("queue"), None);
        assert_eq!(fields.reading().text("kind").as_deref(), Some("deliver"));
        assert_eq!(fields.all("id"), ["1", "2"]);
        assert_eq!(fields.raw("x").as_deref(), Some("<b>"));
        assert!(fields.finish().is_ok());
    }
}

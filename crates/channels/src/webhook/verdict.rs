//! Pure: what the status of an endpoint's answer means.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::SendError;

/// What follows from an answer; `None` if the message has arrived. `said` is the status and what
/// is stored of the body.
pub(super) fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    sent_at: DateTime<Utc>,
    said: &str,
) -> Option<SendError> {
    let detail = said.to_owned();
    let error = match status.as_u16() {
        200..300 => return None,
        410 => SendError::AddressDead { detail },
        429 | 503 => SendError::Throttled {
            retry_after: retry_after(headers, sent_at),
            detail,
        },
        408 | 425 | 500.. => SendError::Transient { detail },
        300..400 => SendError::Rejected {
            detail: format!("redirects are not followed: {detail}"),
        },
        _ => SendError::Rejected { detail },
    };
    Some(error)
}

/// How long the endpoint asks us to wait: seconds, or a date.
fn retry_after(headers: &HeaderMap, sent_at: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    // A date that has passed means that we may come at once.
    Some(
        until
            .duration_since(SystemTime::from(sent_at))
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn word(status: u16) -> &'static str {
        let status = StatusCode::from_u16(status).unwrap();
        match verdict(status, &HeaderMap::new(), sent_at(), "") {
            None => "delivered",
            Some(SendError::Transient { .. }) => "transient",
            Some(SendError::Throttled { .. }) => "throttled",
            Some(SendError::Rejected { .. }) => "rejected",
            Some(SendError::AddressDead { .. }) => "dead",
            Some(SendError::Unknown { .. }) => "unknown",
            Some(SendError::Busy { .. }) => "busy",
        }
    }

    #[test]
    fn every_status_has_its_verdict() {
        for (status, means) in [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (301, "rejected"),
            (304, "rejected"),
            (307, "rejected"),
            (400, "rejected"),
            (401, "rejected"),
            (404, "rejected"),
            (408, "transient"),
            (410, "dead"),
            (413, "rejected"),
            (425, "transient"),
            (429, "throttled"),
            (500, "transient"),
            (502, "transient"),
            (503, "throttled"),
            (504, "transient"),
            (599, "transient"),
        ] {
            assert_eq!(word(status), means, "{status}");
        }
    }

    #[test]
    fn a_wait_is_given_in_seconds_or_as_a_date() {
        for (said, wait) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 15 Jan 2027 08:01:40 GMT", Some(100)),
            ("Fri, 15 Jan 2027 07:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("99999999999999999999999999", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]);
            let found = retry_after(&headers, sent_at());
            assert_eq!(found, wait.map(Duration::from_secs), "{said}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), sent_at()), None);
    }
}

//! Addresses of pages, with whatever a name holds encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a path as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A part of a path, or a value of a parameter.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// `path` with the parameters that have a value.
pub(super) fn with<'a>(
    path: &str,
    parameters: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> String {
    let mut url = path.to_owned();
    let filled = parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    for (place, (name, value)) in filled.enumerate() {
        url.push(if place == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.push_str(&encode(&value));
    }
    url
}

/// The page of a notification.
pub(super) fn notification(id: impl ToString) -> String {
    format!("/console/notifications/{}", id.to_string())
}

/// The page of a user.
pub(super) fn user(id: &str) -> String {
    format!("/console/users/{}", encode(id))
}

/// The page of a template.
pub(super) fn template(name: &str) -> String {
    format!("/console/templates/{}", encode(name))
}

/// The page of a rule.
pub(super) fn rule(id: &str) -> String {
    format!("/console/rules/{}", encode(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_an_address() {
        assert_eq!(user("a/b?c=d#e&f"), "/console/users/a%2Fb%3Fc%3Dd%23e%26f");
        assert_eq!(user("ю.b-c_d~"), "/console/users/%D1%8E.b-c_d~");
        let url = with("/x", [("a", None), ("b", Some("1&2".to_owned()))]);
        assert_eq!(url, "/x?b=1%262");
    }
}

//! Whether a text can be an address, as far as that can be said without asking anyone.
//!
//! The checks are loose on purpose: a provider knows better. What matters is that nothing passes
//! which would break out of a header or a URL.

/// The keys of one-line addresses, in `addresses` of a user and in `data` of a direct send.
pub(crate) const KEYS: [&str; 4] = ["email", "phone", "slack", "webhook"];

/// Digits of the longest number that E.164 allows, and of the shortest that can be meant.
const PHONE_DIGITS_MAX: usize = 15;
const PHONE_DIGITS_MIN: usize = 5;

/// Whether a header made from `text` could be broken into two.
pub(crate) fn has_line_break(text: &str) -> bool {
    text.contains(['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// Checks the address `text` of the kind that `key` names; the error ends a sentence about it.
pub(crate) fn check(key: &str, text: &str) -> Result<(), &'static str> {
    if has_line_break(text) {
        return Err("must not contain a line break");
    }
    let is_plausible = match key {
        "email" => is_email(text),
        "phone" => is_phone(text),
        "webhook" => is_http_url(text),
        _ => !text.trim().is_empty(),
    };
    match (is_plausible, key) {
        (true, _) => Ok(()),
        (false, "email") => Err("must be a mail address, such as ada@example.com"),
        (false, "phone") => Err("must be a phone number, such as +15551234567"),
        (false, "webhook") => Err("must be an http or https URL"),
        (false, _) => Err("must not be empty"),
    }
}

fn is_email(text: &str) -> bool {
    let has_space = text.chars().any(|c| c.is_whitespace() || c.is_control());
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_domain = !domain.is_empty()
        && !domain.starts_with(['.', '-'])
        && !domain.ends_with(['.', '-'])
        && !domain.contains("..")
        && !domain.contains(['<', '>', ',', ';', '"', '(', ')']);
    !has_space
        && is_domain
        && !local.is_empty()
        && !local.contains(['@', '<', '>', ',', ';', '(', ')'])
}

fn is_phone(text: &str) -> bool {
    let rest = text.strip_prefix('+').unwrap_or(text);
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    (PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&digits)
        && rest
            .chars()
            .all(|c| c.is_ascii_digit() || " -().".contains(c))
}

fn is_http_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', '?', '#'])
            && !rest.chars().any(|c| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_people_use_pass() {
        for text in [
            "ada@example.com",
            "a.b+tag@mail.example",
            "o'brien@localhost",
            "ю@пример.рф",
        ] {
            assert_eq!(check("email", text), Ok(()), "{text}");
        }
        for text in ["+15551234567", "+49 (30) 901820", "555-123-4567"] {
            assert_eq!(check("phone", text), Ok(()), "{text}");
        }
        assert_eq!(check("webhook", "http://127.0.0.1:9000/hook?a=b"), Ok(()));
        assert_eq!(check("slack", "#general"), Ok(()));
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a b@example.com",
            "a@b@c",
            "a@.com",
        ] {
            assert!(check("email", text).is_err(), "{text}");
        }
        for text in ["", "+", "12", "call me", "+1234567890123456"] {
            assert!(check("phone", text).is_err(), "{text}");
        }
        for text in [
            "ftp://example.com",
            "https://",
            "https:///path",
            "http://a b",
        ] {
            assert!(check("webhook", text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_address_holds_a_line_break() {
        for key in KEYS {
            assert_eq!(
                check(key, "a@b.c\r\nBcc: x@y.z"),
                Err("must not contain a line break")
            );
        }
    }
}

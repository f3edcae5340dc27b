//! Takes what is a person's out of what a provider said, before it is stored or shown.
//!
//! Mail servers quote the recipient in most refusals, and web servers echo the request. What is
//! kept of an answer must not bring back the address that is encrypted elsewhere.

/// Bytes that are kept of an answer: enough for the sentence that explains it.
const RESPONSE_BYTES_MAX: usize = 512;

/// Bytes that are looked at. An answer may be of any length.
const SEEN_BYTES_MAX: usize = 8 * RESPONSE_BYTES_MAX;

/// Stands where an address was.
const HIDDEN: &str = "…";

/// Replaces mail addresses and the given address by `…`, control characters by spaces, and cuts
/// the text at 512 bytes.
pub(crate) fn redact(text: &str, address: Option<&str>) -> String {
    let spaced: String = prefix(text, SEEN_BYTES_MAX)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let without_own = match address {
        Some(address) if !address.is_empty() => without(&spaced, address),
        _ => spaced,
    };
    let clean = without_mail_addresses(without_own.trim());
    prefix(&clean, RESPONSE_BYTES_MAX).to_owned()
}

/// Hides every occurrence of `address`, in whatever case a server may quote it.
fn without(text: &str, address: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let candidate = rest.get(..address.len());
        if candidate.is_some_and(|found| found.eq_ignore_ascii_case(address)) {
            left.push_str(HIDDEN);
            rest = rest.get(address.len()..).unwrap_or_default();
        } else {
            left.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    left
}

/// Hides every word with an `@` in it. What ends such a word is what cannot be in an address.
fn without_mail_addresses(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "<>()[]{},;:\"'`|=/?&".contains(c);
    let mut left = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_end) {
        let word = piece.trim_end_matches(is_end);
        let is_address = word
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        if is_address {
            left.push_str(HIDDEN);
            left.push_str(piece.get(word.len()..).unwrap_or_default());
        } else {
            left.push_str(piece);
        }
    }
    left
}

/// The longest prefix of whole characters within `bytes_max`.
fn prefix(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_hidden_where_servers_quote_them() {
        let cases = [
            (
                "550 5.1.1 <ada@example.com>: user unknown",
                "550 5.1.1 <…>: user unknown",
            ),
            ("550 ADA@Example.COM? no", "550 …? no"),
            ("rcpt=bob@b.example;to:carl@c.example", "rcpt=…;to:…"),
            ("mail 'ada@example.com', 'x@y'", "mail '…', '…'"),
            ("no address @ all", "no address @ all"),
        ];
        for (said, kept) in cases {
            assert_eq!(redact(said, Some("ada@example.com")), kept);
        }
    }

    #[test]
    fn an_address_of_any_kind_is_hidden_in_any_case() {
        let url = "https://hooks.example/In?t=Secret";
        let said = "cannot POST HTTPS://hooks.example/in?t=secret now";
        assert_eq!(redact(said, Some(url)), "cannot POST … now");
        assert_eq!(redact("call +4930 901820", Some("+4930 901820")), "call …");
        assert_eq!(redact("ü+4930ü", Some("+4930")), "ü…ü");
        assert_eq!(redact("nothing", Some("")), "nothing");
    }

    #[test]
    fn lines_become_one_and_length_is_bounded() {
        assert_eq!(redact("250-a\r\n250\tb\0\r\n", None), "250-a  250 b");
        let long = "ä".repeat(10_000);
        let kept = redact(&long, None);
        assert_eq!(kept.len(), RESPONSE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_answer_brings_the_address_back(before in ".{0,40}", after in ".{0,40}") {
            let address = "ada.lovelace@example.com";
            let kept = redact(&format!("{before}{address}{after}"), Some(address));
            prop_assert!(!kept.to_lowercase().contains(address));
            prop_assert!(!kept.chars().any(char::is_control));
            prop_assert!(kept.len() <= RESPONSE_BYTES_MAX);
        }
    }
}

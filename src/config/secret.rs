//! A value that must not be printed, and what may be shown of it.

use std::fmt;

use url::Url;

/// Stands for what is not shown.
pub(super) const MASK: &str = "****";

/// Addresses of servers: everything but the password may be shown. Elsewhere (a Slack webhook) the
/// whole address is the secret.
const SERVER_SCHEMES: [&str; 4] = ["postgres", "postgresql", "smtp", "smtps"];

/// Parameters of such an address that say nothing secret.
const OPEN_PARAMETERS: [&str; 2] = ["sslmode", "tls"];

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

    /// What may be shown: a server's address without its password, nothing of anything else.
    pub(crate) fn masked(&self) -> String {
        self.server().unwrap_or_else(|| MASK.to_owned())
    }

    fn server(&self) -> Option<String> {
        let mut url = Url::parse(&self.0).ok()?;
        if !SERVER_SCHEMES.contains(&url.scheme()) || !url.has_host() {
            return None;
        }
        if url.password().is_some() {
            url.set_password(Some(MASK)).ok()?;
        }
        let open: Vec<String> = url
            .query_pairs()
            .filter(|(name, _)| OPEN_PARAMETERS.contains(&name.as_ref()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        url.set_query(
            Some(open.join("&"))
                .filter(|query| !query.is_empty())
                .as_deref(),
        );
        url.set_fragment(None);
        Some(url.to_string())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_without_its_password_and_all_else_is_hidden() {
        for (secret, shown) in [
            ("hush", "****"),
            ("", "****"),
            (
                "postgres://ada:p%40ss@db:5432/app?sslmode=require&password=hush",
                "postgres://ada:****@db:5432/app?sslmode=require",
            ),
            ("smtp://mail.example:25", "smtp://mail.example:25"),
            ("smtps://u:a@b@mail.example", "smtps://u:****@mail.example"),
            ("https://hooks.slack.com/services/T0/B0/hush", "****"),
            ("postgres:hush", "****"),
        ] {
            assert_eq!(Secret::new(secret).masked(), shown);
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "[secret]");
    }
}

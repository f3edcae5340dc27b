//! How to reach the mail server, and the URL that says so in one line.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::Secret;

/// The port of a submission server (RFC 6409), for `smtp://` without one.
const PORT_SUBMISSION: u16 = 587;

/// The port of a submission server under TLS from the first byte (RFC 8314), for `smtps://`.
const PORT_SUBMISSIONS: u16 = 465;

/// Sessions side by side. Mail servers commonly refuse more than ten to twenty from one address.
const CONNECTIONS_MAX: usize = 10;

/// Who mail is from when nobody says.
const FROM: &str = "postrider@localhost";

/// How mail is handed to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpConfig {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    pub credentials: Option<SmtpCredentials>,
    /// The sender, as `postrider@example.com` or `Postrider <postrider@example.com>`. Default
    /// `postrider@localhost`.
    pub from: String,
    /// What this machine calls itself. By default its own address, as RFC 5321 has it for a
    /// machine without a name.
    pub hello_name: Option<String>,
    /// Sessions side by side; further messages wait for one. Default 10.
    pub connections_max: usize,
    pub timeouts: SmtpTimeouts,
    /// Certificates in DER that are trusted beside the system's: a company's own authority.
    pub roots: Vec<Vec<u8>>,
}

/// When the session is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS if the server offers it. If it does, a failing handshake ends the session.
    Opportunistic,
    /// STARTTLS, or no session.
    Required,
    /// Never, and a password may be sent in the clear.
    None,
    /// From the first byte.
    Implicit,
}

/// Who the server is told we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpCredentials {
    pub user: String,
    pub password: Secret,
}

/// How long each stage may take. Their sum stays below [`SEND_TIMEOUT`](crate::SEND_TIMEOUT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpTimeouts {
    /// To a TCP connection, and again to a TLS session over it. Default 5 s.
    pub connect: Duration,
    /// From a command to its answer. Default 8 s: greylisting servers think before they speak.
    pub command: Duration,
    /// From the beginning until the server asks for the message. Until then nothing was sent.
    /// Default 10 s.
    pub before: Duration,
    /// For the bytes of the message to leave. Default 8 s.
    pub transfer: Duration,
    /// From the end of the message to the answer. Default 11 s; a server that scans mail takes
    /// its time.
    pub answer: Duration,
}

impl Default for SmtpTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            command: Duration::from_secs(8),
            before: Duration::from_secs(10),
            transfer: Duration::from_secs(8),
            answer: Duration::from_secs(11),
        }
    }
}

/// What is wrong with an SMTP URL. Says which part, never what is in it: there is a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpUrlError {
    #[error("the SMTP URL is not a URL: {0}")]
    Malformed(url::ParseError),
    #[error("the SMTP URL must begin with smtp:// or smtps://")]
    Scheme,
    #[error("the SMTP URL names no host")]
    Host,
    #[error("the SMTP URL must have both a user and a password, or neither")]
    Credentials,
    #[error(
        "the user or password in the SMTP URL is not UTF-8 once percent-decoded, or has U+0000"
    )]
    Encoding,
    #[error("the SMTP URL must end after the port and the options")]
    Path,
    #[error("the only option of an SMTP URL is tls=opportunistic, tls=required or tls=none")]
    Option,
    #[error("smtps:// is encrypted from the first byte and takes no tls option")]
    Conflict,
}

impl SmtpConfig {
    /// A server without encryption demanded and without credentials; the rest as documented.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: SmtpTls::Opportunistic,
            credentials: None,
            from: FROM.to_owned(),
            hello_name: None,
            connections_max: CONNECTIONS_MAX,
            timeouts: SmtpTimeouts::default(),
            roots: Vec::new(),
        }
    }

    /// Reads `smtp://user:pass@host:587?tls=required` and the like.
    ///
    /// Without a port 587 is meant, with `smtps://` 465. User and password are percent-decoded.
    pub fn parse(url: &str) -> Result<Self, SmtpUrlError> {
        let url = Url::parse(url).map_err(SmtpUrlError::Malformed)?;
        let is_implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(SmtpUrlError::Scheme),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(SmtpUrlError::Host),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SmtpUrlError::Path);
        }
        let port = if is_implicit {
            PORT_SUBMISSIONS
        } else {
            PORT_SUBMISSION
        };
        Ok(Self {
            tls: tls_option(&url, is_implicit)?,
            credentials: credentials(&url)?,
            ..Self::new(host, url.port().unwrap_or(port))
        })
    }
}

fn tls_option(url: &Url, is_implicit: bool) -> Result<SmtpTls, SmtpUrlError> {
    let mut tls = None;
    for (key, value) in url.query_pairs() {
        let mode = match (&*key, &*value) {
            ("tls", "opportunistic") => SmtpTls::Opportunistic,
            ("tls", "required") => SmtpTls::Required,
            ("tls", "none") => SmtpTls::None,
            _ => return Err(SmtpUrlError::Option),
        };
        if tls.replace(mode).is_some() {
            return Err(SmtpUrlError::Option);
        }
    }
    match (is_implicit, tls) {
        (true, Some(_)) => Err(SmtpUrlError::Conflict),
        (true, None) => Ok(SmtpTls::Implicit),
        (false, tls) => Ok(tls.unwrap_or(SmtpTls::Opportunistic)),
    }
}

fn credentials(url: &Url) -> Result<Option<SmtpCredentials>, SmtpUrlError> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        // The mechanism PLAIN separates its parts by U+0000.
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        Ok(_) | Err(_) => Err(SmtpUrlError::Encoding),
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err(SmtpUrlError::Credentials),
        (user, Some(password)) => Ok(Some(SmtpCredentials {
            user: decoded(user)?,
            password: Secret::new(decoded(password)?),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> SmtpUrlError {
        SmtpConfig::parse(url).expect_err(url)
    }

    #[test]
    fn a_url_says_host_port_and_who_we_are() {
        let config = SmtpConfig::parse("smtp://us%40er:p%3Aa%2Fs%C3%9F@mail.example:2525").unwrap();

        assert_eq!((&*config.host, config.port), ("mail.example", 2525));
        assert_eq!(config.tls, SmtpTls::Opportunistic);
        let credentials = config.credentials.unwrap();
        assert_eq!(credentials.user, "us@er");
        assert_eq!(credentials.password.expose(), "p:a/sß");
    }

    #[test]
    fn the_scheme_decides_the_port_and_the_option_the_encryption() {
        for (url, host, port, tls) in [
            (
                "smtp://mail.example",
                "mail.example",
                587,
                SmtpTls::Opportunistic,
            ),
            (
                "smtp://mail.example/?tls=required",
                "mail.example",
                587,
                SmtpTls::Required,
            ),
            (
                "smtp://127.0.0.1:25?tls=none",
                "127.0.0.1",
                25,
                SmtpTls::None,
            ),
            ("smtp://[::1]:1025", "::1", 1025, SmtpTls::Opportunistic),
            (
                "smtps://[2001:db8::1]",
                "2001:db8::1",
                465,
                SmtpTls::Implicit,
            ),
            (
                "smtps://mail.example:4650",
                "mail.example",
                4650,
                SmtpTls::Implicit,
            ),
        ] {
            let config = SmtpConfig::parse(url).unwrap();
            assert_eq!(
                (&*config.host, config.port, config.tls),
                (host, port, tls),
                "{url}"
            );
            assert_eq!(config.credentials, None);
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        use SmtpUrlError as Wrong;
        for (url, wrong) in [
            ("http://u:hunter2@h", Wrong::Scheme),
            (
                "smtp://u:hunter2@",
                Wrong::Malformed(url::ParseError::EmptyHost),
            ),
            ("smtp:u", Wrong::Host),
            ("smtp://u@h", Wrong::Credentials),
            ("smtp://:hunter2@h", Wrong::Credentials),
            ("smtp://u:hunter2%ff@h", Wrong::Encoding),
            ("smtp://u:hunter2%00@h", Wrong::Encoding),
            ("smtp://u:hunter2@h/path", Wrong::Path),
            ("smtp://u:hunter2@h#part", Wrong::Path),
            ("smtp://u:hunter2@h?tls=maybe", Wrong::Option),
            ("smtp://u:hunter2@h?tls=none&tls=none", Wrong::Option),
            ("smtp://u:hunter2@h?ssl=1", Wrong::Option),
            ("smtps://u:hunter2@h?tls=none", Wrong::Conflict),
            (
                "smtp://u:hunter2@h:99999",
                Wrong::Malformed(url::ParseError::InvalidPort),
            ),
        ] {
            let error = refused(url);
            assert_eq!(error, wrong, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_password() {
        let config = SmtpConfig::parse("smtp://user:hunter2@h").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

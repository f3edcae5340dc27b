//! What the address of a mail server says: where it is, and what of the conversation is encrypted.

use url::Url;

/// Where a mail server is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: MailTls,
}

/// When a conversation is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailTls {
    /// From the first byte: `smtps://`.
    Immediate,
    /// When the server offers STARTTLS.
    Offered,
    /// By STARTTLS or not at all: `?tls=required`.
    Required,
    /// Never: `?tls=none`.
    Never,
}

impl MailServer {
    /// Reads `smtp://…` or `smtps://…`. The error says what was expected, and nothing of the text,
    /// which holds a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected smtp://user:password@host:587 or smtps://host";
        let url = Url::parse(text.trim()).map_err(|_unreadable| EXPECTED.to_owned())?;
        let default_port = match url.scheme() {
            "smtp" => 587,
            "smtps" => 465,
            _ => return Err(EXPECTED.to_owned()),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| EXPECTED.to_owned())?.to_owned();
        if url.port() == Some(0) {
            return Err("expected a port from 1 to 65535".to_owned());
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("expected nothing after the host but `?tls=…`".to_owned());
        }
        if ![url.username(), url.password().unwrap_or_default()]
            .into_iter()
            .all(is_decodable)
        {
            return Err("the user or the password has a `%` that is not written `%25`".to_owned());
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(default_port),
            tls: read_tls(&url)?,
        })
    }
}

fn read_tls(url: &Url) -> Result<MailTls, String> {
    let is_immediate = url.scheme() == "smtps";
    let mut tls = if is_immediate {
        MailTls::Immediate
    } else {
        MailTls::Offered
    };
    for (name, value) in url.query_pairs() {
        tls = match (name.as_ref(), value.as_ref()) {
            ("tls", "required") if is_immediate => MailTls::Immediate,
            ("tls", "required") => MailTls::Required,
            ("tls", "none") if is_immediate => {
                return Err("`smtps://` and `tls=none` contradict each other".to_owned());
            }
            ("tls", "none") => MailTls::Never,
            ("tls", _) => return Err("expected tls=required or tls=none".to_owned()),
            _ => return Err(format!("there is no parameter `{name}`, only `tls`")),
        };
    }
    Ok(tls)
}

/// Whether every `%` begins an escape of two digits.
fn is_decodable(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> (String, u16, MailTls) {
        let server = MailServer::parse(text).unwrap();
        (server.host, server.port, server.tls)
    }

    #[test]
    fn scheme_port_and_tls_are_read() {
        let host = |host: &str| host.to_owned();
        assert_eq!(server("smtp://h"), (host("h"), 587, MailTls::Offered));
        assert_eq!(server("smtps://h"), (host("h"), 465, MailTls::Immediate));
        assert_eq!(
            server("smtp://u:p%40ss@mail.example:25/?tls=required"),
            (host("mail.example"), 25, MailTls::Required)
        );
        assert_eq!(
            server("smtp://[::1]:2525?tls=none"),
            (host("[::1]"), 2525, MailTls::Never)
        );
    }

    #[test]
    fn what_is_no_mail_server_is_refused_without_quoting_it() {
        for text in [
            "",
            "mail.example:25",
            "https://hush@mail.example",
            "smtp:hush",
            "smtp://u:hush@",
            "smtp://u:hush@h:99999",
            "smtp://u:hush@h:0",
            "smtp://u:hush@h/path",
            "smtp://u:hush%zz@h",
            "smtp://h?tls=hush",
            "smtps://h?tls=none",
            "smtp://h?starttls=1",
        ] {
            let problem = MailServer::parse(text).unwrap_err();
            assert!(!problem.contains("hush"), "{text}: {problem}");
        }
    }
}

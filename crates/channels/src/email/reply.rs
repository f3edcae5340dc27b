//! What a mail server says: one reply, and the list of what it can do.

use lettre::transport::smtp::authentication::Mechanism;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Bytes in one line of a reply. RFC 5321 allows 512; servers in the wild go beyond.
const LINE_BYTES_MAX: u64 = 2048;

/// Lines in one reply. The longest is the answer to EHLO, with one for each extension.
const LINES_MAX: usize = 100;

/// One reply, of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Three digits, the first between 2 and 5.
    pub(super) code: u16,
    /// Without the code. At least one.
    pub(super) lines: Vec<String>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke ({})", .0.kind())]
    Broken(std::io::Error),
    #[error("what the server said is not SMTP")]
    Malformed,
    #[error("the server did not answer in time")]
    Late,
}

impl Reply {
    /// Reads one reply, and not a byte beyond it.
    pub(super) async fn read<S>(stream: &mut S) -> Result<Self, ReplyError>
    where
        S: AsyncBufRead + Unpin,
    {
        let mut reply: Option<Self> = None;
        for _ in 0..LINES_MAX {
            let mut line = Vec::new();
            let read = stream
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .await
                .map_err(ReplyError::Broken)?;
            if read == 0 {
                return Err(ReplyError::Closed);
            }
            let (code, is_last, text) = parse_line(&line).ok_or(ReplyError::Malformed)?;
            let reply = reply.get_or_insert(Self {
                code,
                lines: Vec::new(),
            });
            if reply.code != code {
                return Err(ReplyError::Malformed);
            }
            reply.lines.push(text);
            if is_last {
                return Ok(reply.clone());
            }
        }
        Err(ReplyError::Malformed)
    }

    pub(super) fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// The server is about to close the connection, whatever was asked.
    pub(super) fn is_goodbye(&self) -> bool {
        self.code == 421
    }

    /// The enhanced status code (RFC 3463), if there is one of the reply's own class.
    pub(super) fn enhanced(&self) -> Option<(u16, u16)> {
        let word = self.lines.first()?.split_whitespace().next()?;
        let mut parts = word.split('.');
        let mut number = || -> Option<u16> {
            let part = parts.next()?;
            let is_number =
                (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse().ok())?
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        (parts.next().is_none() && class == self.code / 100).then_some((subject, detail))
    }

    /// The reply in one line, as it is stored.
    pub(super) fn text(&self) -> String {
        let text = format!("{} {}", self.code, self.lines.join(" "));
        text.trim_end().to_owned()
    }
}

/// Splits a line into code, whether it is the reply's last, and text.
fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(3)?;
    let is_code = matches!(digits, [b'2'..=b'5', second, third]
        if second.is_ascii_digit() && third.is_ascii_digit());
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (is_last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    is_code.then(|| (code, is_last, String::from_utf8_lossy(text).into_owned()))
}

/// What a server offered in its answer to EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) starttls: bool,
    /// Several commands may be sent before the first is answered (RFC 2920).
    pub(super) pipelining: bool,
    /// Addresses may be outside ASCII (RFC 6531).
    pub(super) smtputf8: bool,
    pub(super) eight_bit: bool,
    /// Whether the size may be announced (RFC 1870).
    pub(super) size: bool,
    /// Bytes of the largest message, if the server says.
    pub(super) size_max: Option<u64>,
    /// Of those we know, the one to prefer first.
    pub(super) mechanisms: Vec<Mechanism>,
}

impl Extensions {
    /// Reads the answer to EHLO. Its first line is the server's name.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.lines.iter().skip(1) {
            let upper = line.to_ascii_uppercase();
            // Some servers still write AUTH=PLAIN, as in a draft of 1997.
            let mut words = upper.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => extensions.starttls = true,
                Some("PIPELINING") => extensions.pipelining = true,
                Some("SMTPUTF8") => extensions.smtputf8 = true,
                Some("8BITMIME") => extensions.eight_bit = true,
                Some("SIZE") => {
                    extensions.size = true;
                    let limit = words.next().and_then(|word| word.parse().ok());
                    extensions.size_max = limit.filter(|&limit| limit > 0);
                }
                Some("AUTH") => {
                    let offered: Vec<_> = words.collect();
                    for (word, mechanism) in
                        [("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)]
                    {
                        if offered.contains(&word) && !extensions.mechanisms.contains(&mechanism) {
                            extensions.mechanisms.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(bytes: &[u8]) -> Result<Reply, ReplyError> {
        Reply::read(&mut &*bytes).await
    }

    #[tokio::test]
    async fn a_reply_is_read_to_its_last_line_and_no_further() {
        let mut rest: &[u8] = b"250-mail.example\r\n250-PIPELINING\r\n250 SIZE 5\r\n354 go\r\n";

        let reply = Reply::read(&mut rest).await.unwrap();

        assert_eq!(reply.code, 250);
        assert_eq!(reply.lines, ["mail.example", "PIPELINING", "SIZE 5"]);
        assert_eq!(rest, b"354 go\r\n");
    }

    #[tokio::test]
    async fn short_and_sloppy_lines_are_understood() {
        assert_eq!(read(b"250\r\n").await.unwrap().text(), "250");
        assert_eq!(read(b"250 ok\n").await.unwrap().text(), "250 ok");
        let latin = read(b"550 gr\xfc\xdfe\r\n").await.unwrap();
        assert_eq!(latin.text(), "550 gr\u{fffd}\u{fffd}e");
    }

    #[tokio::test]
    async fn what_is_not_smtp_is_refused_and_bounded() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"25\r\n",
            b"650 x\r\n",
            b"250_x\r\n",
            b"250-a\r\n251 b\r\n",
        ] {
            assert!(
                matches!(read(bytes).await, Err(ReplyError::Malformed)),
                "{bytes:?}"
            );
        }
        assert!(matches!(read(b"").await, Err(ReplyError::Closed)));
        assert!(matches!(read(b"250-a\r\n").await, Err(ReplyError::Closed)));
        let endless_line = [b"250 ".as_slice(), &[b'x'; 10_000]].concat();
        assert!(matches!(
            read(&endless_line).await,
            Err(ReplyError::Malformed)
        ));
        let endless_reply = b"250-x\r\n".repeat(1000);
        assert!(matches!(
            read(&endless_reply).await,
            Err(ReplyError::Malformed)
        ));
    }

    #[test]
    fn an_enhanced_code_counts_if_it_agrees_with_the_reply() {
        let enhanced = |code, text: &str| {
            let lines = vec![text.to_owned()];
            Reply { code, lines }.enhanced()
        };
        assert_eq!(enhanced(550, "5.1.10 no such domain"), Some((1, 10)));
        assert_eq!(enhanced(450, "4.7.1"), Some((7, 1)));
        assert_eq!(enhanced(550, "4.1.1 confused"), None);
        assert_eq!(enhanced(550, "5.1 short"), None);
        assert_eq!(enhanced(550, "5.1.1.1 long"), None);
        assert_eq!(enhanced(550, "user unknown"), None);
        assert_eq!(enhanced(550, "5.1.1234 x"), None);
    }

    #[test]
    fn extensions_are_found_in_any_case() {
        let reply = Reply {
            code: 250,
            lines: [
                "PIPELINING",
                "pipelining",
                "Size 1000",
                "auth=login plain",
                "StartTLS",
            ]
            .map(str::to_owned)
            .to_vec(),
        };

        let extensions = Extensions::of(&reply);

        assert!(extensions.pipelining && extensions.starttls && extensions.size);
        assert_eq!(extensions.size_max, Some(1000));
        assert_eq!(extensions.mechanisms, [Mechanism::Plain, Mechanism::Login]);
        assert!(!extensions.smtputf8 && !extensions.eight_bit);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(reply) = runtime.block_on(read(&bytes)) {
                prop_assert!((200..600).contains(&reply.code));
                drop((reply.enhanced(), Extensions::of(&reply)));
            }
        }
    }
}

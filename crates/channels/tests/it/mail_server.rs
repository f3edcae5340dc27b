//! A mail server on a real socket that answers as a test tells it to.
//!
//! It speaks SMTP well enough for a client that does; what a test changes is the answer to single
//! commands, or whether there is one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One command, as a script sees it.
pub(crate) struct Asked<'a> {
    /// Counted from 1, in the order of connecting.
    pub(crate) connection: usize,
    /// Mails taken on this connection so far.
    pub(crate) mails: usize,
    /// `CONNECT` for the greeting, `.` for the end of a message, else the line.
    pub(crate) command: &'a str,
}

/// What the server does instead of what a server does.
pub(crate) enum Answer {
    Usual,
    Say(&'static str),
    /// Says it and hangs up.
    SayAndCut(&'static str),
    Cut,
    /// Says nothing, for ever.
    Hang,
}

/// A mail as it arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) connection: usize,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) content: String,
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Line = BufReader<Box<dyn Stream>>;

fn line(stream: impl Stream + 'static) -> Line {
    BufReader::new(Box::new(stream))
}

type Script = Box<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>;

struct Shared {
    script: Script,
    extensions: &'static [&'static str],
    tls: Option<TlsAcceptor>,
    is_implicit: bool,
    arrived: Mutex<Vec<Arrived>>,
    commands: Mutex<Vec<String>>,
    /// How many commands arrived together with the one before.
    pipelined: Mutex<usize>,
}

#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl MailServer {
    /// A server that offers `extensions` and does what `script` says.
    pub(crate) async fn start(
        extensions: &'static [&'static str],
        script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(extensions, None, false, script).await
    }

    pub(crate) async fn start_with(
        extensions: &'static [&'static str],
        tls: Option<TlsAcceptor>,
        is_implicit: bool,
        script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            extensions,
            tls,
            is_implicit,
            arrived: Mutex::default(),
            commands: Mutex::default(),
            pipelined: Mutex::default(),
        });
        let server = Self {
            address,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Some(acceptor) = shared.tls.clone().filter(|_| shared.is_implicit) else {
                        return shared.greet(connection, line(stream)).await;
                    };
                    if let Ok(stream) = acceptor.accept(stream).await {
                        shared.greet(connection, line(stream)).await;
                    }
                });
            }
        });
        server
    }

    /// The mails taken so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.shared.arrived.lock().unwrap().clone()
    }

    /// Every command so far, greetings and ends of messages included.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    pub(crate) fn pipelined(&self) -> usize {
        *self.shared.pipelined.lock().unwrap()
    }

    /// How often it was connected to.
    pub(crate) fn connections(&self) -> usize {
        let commands = self.commands();
        commands.iter().filter(|it| *it == "CONNECT").count()
    }
}

impl Shared {
    async fn greet(self: Arc<Self>, connection: usize, mut line: Line) {
        if self
            .answer(&mut line, connection, 0, "CONNECT", "220 ready")
            .await
        {
            self.converse(connection, line).await;
        }
    }

    /// Answers one command; `false` if the conversation is over.
    async fn answer(
        &self,
        line: &mut Line,
        connection: usize,
        mails: usize,
        command: &str,
        usual: &str,
    ) -> bool {
        self.commands.lock().unwrap().push(command.to_owned());
        let asked = Asked {
            connection,
            mails,
            command,
        };
        let (text, goes_on) = match (self.script)(&asked) {
            Answer::Usual => (usual, true),
            Answer::Say(text) => (text, true),
            Answer::SayAndCut(text) => (text, false),
            Answer::Cut => return false,
            Answer::Hang => return std::future::pending().await,
        };
        let text = format!("{text}\r\n");
        line.write_all(text.as_bytes()).await.is_ok() && line.flush().await.is_ok() && goes_on
    }

    async fn converse(self: &Arc<Self>, connection: usize, mut line: Line) {
        let mut mail = Arrived::default();
        let mut mails = 0;
        let mut text = String::new();
        loop {
            text.clear();
            if !line.buffer().is_empty() {
                *self.pipelined.lock().unwrap() += 1;
            }
            if !matches!(line.read_line(&mut text).await, Ok(1..)) {
                return;
            }
            let command = text.trim_end().to_owned();
            let verb = command.split(' ').next().unwrap_or_default().to_uppercase();
            let usual = match verb.as_str() {
                "EHLO" => {
                    let names = [&["test"], self.extensions].concat();
                    let last = names.len() - 1;
                    let lines = names.iter().enumerate().map(|(index, name)| {
                        format!("250{}{name}", if index == last { ' ' } else { '-' })
                    });
                    lines.collect::<Vec<_>>().join("\r\n")
                }
                "MAIL" if !mail.from.is_empty() => "503 5.5.1 nested MAIL".to_owned(),
                "MAIL" => {
                    mail = Arrived {
                        connection,
                        from: command.clone(),
                        ..Arrived::default()
                    };
                    "250 2.1.0 ok".to_owned()
                }
                "RCPT" => "250 2.1.5 ok".to_owned(),
                "DATA" if mail.to.is_empty() => "503 5.5.1 no recipients".to_owned(),
                "DATA" => "354 go on".to_owned(),
                "STARTTLS" => "220 go on".to_owned(),
                "AUTH" => "235 welcome".to_owned(),
                "RSET" => {
                    mail = Arrived::default();
                    "250 ok".to_owned()
                }
                "QUIT" => "221 bye".to_owned(),
                _ => "250 ok".to_owned(),
            };
            let before = self.answered_well(connection, mails, &command);
            if verb == "RCPT" && before {
                mail.to.push(command.clone());
            }
            if !self
                .answer(&mut line, connection, mails, &command, &usual)
                .await
                || verb == "QUIT"
            {
                return;
            }
            if verb == "STARTTLS" && usual == "220 go on" && before {
                let Some(acceptor) = self.tls.clone() else {
                    return;
                };
                if let Ok(stream) = acceptor.accept(line.into_inner()).await {
                    Box::pin(self.converse(connection, self::line(stream))).await;
                }
                return;
            }
            if verb == "DATA" && usual == "354 go on" && before {
                let Some(content) = read_content(&mut line).await else {
                    return;
                };
                mail.content = content;
                let is_taken = self.answered_well(connection, mails, ".");
                if is_taken {
                    self.arrived.lock().unwrap().push(mail.clone());
                    mails += 1;
                }
                mail = Arrived::default();
                let before_this = mails - usize::from(is_taken);
                if !self
                    .answer(&mut line, connection, before_this, ".", "250 2.0.0 queued")
                    .await
                {
                    return;
                }
            }
        }
    }

    /// Whether the script lets the command succeed.
    fn answered_well(&self, connection: usize, mails: usize, command: &str) -> bool {
        let asked = Asked {
            connection,
            mails,
            command,
        };
        match (self.script)(&asked) {
            Answer::Usual | Answer::Hang | Answer::Cut => true,
            Answer::Say(text) | Answer::SayAndCut(text) => text.starts_with(['2', '3']),
        }
    }
}

/// Reads a message to the dot that ends it, and takes the stuffing out.
async fn read_content(line: &mut Line) -> Option<String> {
    let mut content = String::new();
    loop {
        let mut text = String::new();
        if !matches!(line.read_line(&mut text).await, Ok(1..)) {
            return None;
        }
        if text == ".\r\n" {
            return Some(content);
        }
        content.push_str(text.strip_prefix('.').unwrap_or(&text));
    }
}

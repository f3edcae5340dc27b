//! Opens a session: connects, encrypts, greets and authenticates.
//!
//! Every failure here is transient. It is about the server or about us, never about a message.

use std::net::IpAddr;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::commands::{Auth, Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::classify::{Stage, verdict};
use super::config::{SmtpConfig, SmtpCredentials, SmtpTls};
use super::reply::{Extensions, Reply};
use super::session::Session;
use super::turns::{Line, Waits};
use crate::SendError;

/// How many of a server's addresses are tried.
const ADDRESSES_MAX: usize = 4;

/// How many times AUTH may ask back.
const CHALLENGES_MAX: usize = 4;

/// Opens a session with the server of `config`, up to the point where it takes mail.
pub(super) async fn open(
    config: &SmtpConfig,
    tls: &TlsConnector,
    deadline: Instant,
) -> Result<Session, SendError> {
    let timeouts = config.timeouts;
    let opening = Opening {
        config,
        tls,
        waits: Waits { timeouts, deadline },
    };
    let (mut line, extensions, may_tell_password) = opening.line().await?;
    if let Some(credentials) = &config.credentials {
        if !may_tell_password {
            return Err(transient(
                "the server offers no encryption, and the password is not sent without",
            ));
        }
        opening
            .authenticate(&mut line, credentials, &extensions)
            .await?;
    }
    Ok(Session::over(line, extensions, timeouts))
}

struct Opening<'a> {
    config: &'a SmtpConfig,
    tls: &'a TlsConnector,
    waits: Waits,
}

type Greeted = (BufReader<Box<dyn Line>>, Extensions, bool);

impl Opening<'_> {
    /// A line to a server that has greeted us, encrypted as configured, and whether the password
    /// may be told over it.
    async fn line(&self) -> Result<Greeted, SendError> {
        let mode = self.config.tls;
        let stream = self.connect().await?;
        let is_loopback = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        let name = hello_name(self.config, &stream);
        let mut line = BufReader::new(stream);
        if mode == SmtpTls::Implicit {
            let mut line = self.encrypt(line).await?;
            self.expect(&mut line, None::<Starttls>).await?;
            let extensions = self.hello(&mut line, &name).await?;
            return Ok((line, extensions, true));
        }
        self.expect(&mut line, None::<Starttls>).await?;
        let extensions = self.hello(&mut line, &name).await?;
        if mode == SmtpTls::None || (mode == SmtpTls::Opportunistic && !extensions.starttls) {
            let line = BufReader::new(Box::new(line) as Box<dyn Line>);
            return Ok((line, extensions, may_tell_password(mode, is_loopback)));
        }
        if !extensions.starttls {
            return Err(transient(
                "the server does not offer STARTTLS, which is required",
            ));
        }
        self.expect(&mut line, Some(Starttls)).await?;
        // What was sent before the handshake could be anybody's, and would be read as the server's
        // own words after it.
        if !line.buffer().is_empty() {
            return Err(transient("the server spoke between STARTTLS and TLS"));
        }
        let mut line = self.encrypt(line).await?;
        let extensions = self.hello(&mut line, &name).await?;
        Ok((line, extensions, true))
    }

    /// Connects to the first of the server's addresses that answers.
    async fn connect(&self) -> Result<TcpStream, SendError> {
        let failed =
            |error: std::io::Error| transient(format!("could not connect: {}", error.kind()));
        let server = (self.config.host.as_str(), self.config.port);
        let addresses = self
            .connecting(lookup_host(server))
            .await?
            .map_err(|_reason| transient("could not find the server's address"))?;
        let mut last = transient("the server has no address");
        for address in addresses.take(ADDRESSES_MAX) {
            match self.connecting(TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Every write is a whole turn; holding one back gains nothing.
                    stream.set_nodelay(true).map_err(failed)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = failed(error),
                Err(late) => last = late,
            }
        }
        Err(last)
    }

    async fn encrypt(
        &self,
        line: BufReader<TcpStream>,
    ) -> Result<BufReader<Box<dyn Line>>, SendError> {
        let name = ServerName::try_from(self.config.host.clone())
            .map_err(|_reason| transient("the server's name cannot be in a certificate"))?;
        let stream = self
            .connecting(self.tls.connect(name, line.into_inner()))
            .await?
            .map_err(|error| transient(format!("the TLS handshake failed: {error}")))?;
        Ok(BufReader::new(Box::new(stream)))
    }

    async fn connecting<F: Future>(&self, work: F) -> Result<F::Output, SendError> {
        let limit = self
            .waits
            .deadline
            .min(Instant::now() + self.config.timeouts.connect);
        timeout_at(limit, work)
            .await
            .map_err(|_elapsed| transient("could not connect in time"))
    }

    /// A turn that has to go well for there to be a session. The greeting answers no command.
    async fn expect<S, C>(&self, line: &mut S, command: Option<C>) -> Result<Reply, SendError>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
        C: std::fmt::Display,
    {
        let reply = match command {
            Some(command) => self.waits.turn(line, command).await,
            None => self.waits.reply(line).await,
        };
        match reply {
            Ok(reply) if (200..300).contains(&reply.code) => Ok(reply),
            Ok(reply) => Err(verdict(Stage::Session, &reply)),
            Err(error) => Err(transient(format!("{error} before there was a session"))),
        }
    }

    async fn hello<S>(&self, line: &mut S, name: &ClientId) -> Result<Extensions, SendError>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        let reply = self.expect(line, Some(Ehlo::new(name.clone()))).await?;
        Ok(Extensions::of(&reply))
    }

    /// Tells the password by the first mechanism that the server and we know.
    async fn authenticate(
        &self,
        line: &mut BufReader<Box<dyn Line>>,
        credentials: &SmtpCredentials,
        extensions: &Extensions,
    ) -> Result<(), SendError> {
        let Some(&mechanism) = extensions.mechanisms.first() else {
            return Err(transient(
                "the server offers neither AUTH PLAIN nor AUTH LOGIN",
            ));
        };
        let password = credentials.password.expose().to_owned();
        let credentials = Credentials::new(credentials.user.clone(), password);
        let odd = |_error| transient("the server's AUTH challenge makes no sense");
        let mut command = Auth::new(mechanism, credentials.clone(), None).map_err(odd)?;
        for _ in 0..CHALLENGES_MAX {
            let reply = self.waits.turn(line, &command).await;
            let reply = reply.map_err(|error| transient(format!("{error} during AUTH")))?;
            match reply.code {
                334 => {
                    let text = reply.lines.first().map_or("", String::as_str);
                    let challenge: Response = format!("334 {text}\r\n").parse().map_err(odd)?;
                    let credentials = credentials.clone();
                    command =
                        Auth::new_from_response(mechanism, credentials, &challenge).map_err(odd)?;
                }
                200..300 => return Ok(()),
                _ => return Err(verdict(Stage::Session, &reply)),
            }
        }
        Err(transient("the server's AUTH asks without end"))
    }
}

/// Whether the password may go over a connection that is not encrypted.
fn may_tell_password(tls: SmtpTls, is_loopback: bool) -> bool {
    is_loopback || tls == SmtpTls::None
}

/// What we call ourselves.
fn hello_name(config: &SmtpConfig, stream: &TcpStream) -> ClientId {
    match (&config.hello_name, stream.local_addr().map(|it| it.ip())) {
        (Some(name), _) => ClientId::Domain(name.clone()),
        (None, Ok(IpAddr::V4(address))) => ClientId::Ipv4(address),
        (None, Ok(IpAddr::V6(address))) => ClientId::Ipv6(address),
        (None, Err(_)) => ClientId::Domain("localhost".to_owned()),
    }
}

fn transient(detail: impl Into<String>) -> SendError {
    SendError::Transient {
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_leaves_the_machine_in_the_clear_only_if_that_was_asked_for() {
        assert!(may_tell_password(SmtpTls::None, false));
        assert!(may_tell_password(SmtpTls::Opportunistic, true));
        assert!(!may_tell_password(SmtpTls::Opportunistic, false));
    }
}

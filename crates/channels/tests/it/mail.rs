//! The mails that tests send, certificates for servers that take them, and servers that do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channels::{Outgoing, Smtp, SmtpConfig, SmtpTimeouts};
use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, Message};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where an answer is expected: long enough for the busiest machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where silence is: short, so that the test is over soon.
const HASTE: Duration = Duration::from_secs(1);

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A mail to `address`.
pub(crate) fn mail_to(address: &str) -> Outgoing {
    Outgoing {
        delivery_id: DeliveryId::at(now()),
        channel: Channel::Email,
        address: Some(address.to_owned()),
        message: Message {
            subject: Some("Order 7 was filled".to_owned()),
            body: "Dear Ada,\n.\nyour order was filled.".to_owned(),
            body_html: None,
            data: None,
            mail: None,
        },
        kind: "order.filled".to_owned(),
        created_at: now(),
        sent_at: now(),
    }
}

/// How to reach a server of a test.
pub(crate) fn config(server: SocketAddr) -> SmtpConfig {
    within(PATIENCE, server)
}

/// The same for a server that will be silent.
pub(crate) fn hasty(server: SocketAddr) -> SmtpConfig {
    within(HASTE, server)
}

fn within(patience: Duration, server: SocketAddr) -> SmtpConfig {
    SmtpConfig {
        from: "Postrider <postrider@example.com>".to_owned(),
        timeouts: SmtpTimeouts {
            connect: patience,
            command: patience,
            before: 2 * patience,
            transfer: patience,
            answer: patience,
        },
        ..SmtpConfig::new("127.0.0.1", server.port())
    }
}

pub(crate) fn smtp(config: SmtpConfig) -> Smtp {
    Smtp::try_new(config).unwrap()
}

/// A key and a certificate for `127.0.0.1` that nobody has signed but itself.
pub(crate) struct Identity {
    pub(crate) certificate: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn fresh() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().to_vec(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key: made.signing_key.serialize_der(),
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let certificate = CertificateDer::from(self.certificate.clone());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Takes connections and never says a word.
pub(crate) async fn silent_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that takes no more connections: whoever tries waits. Keep what it returns.
pub(crate) async fn crowded_server() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut crowd = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        crowd.push(stream.unwrap());
    }
    (listener, crowd, address)
}

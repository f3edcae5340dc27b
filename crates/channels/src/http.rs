//! The one HTTP client: bounded in time and bytes, without redirects and without a proxy.
//!
//! Names are resolved here, and only to addresses that the guard lets through, so that what was
//! checked is what is connected to.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::{self, ClientConfig};

use crate::webhook::{Forbidden, Guard};

/// Connections to one host that wait for the next request.
pub(crate) const IDLE_PER_HOST: usize = 16;

/// How long they wait. Below the patience of common servers, so that they rarely hang up first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of an answer that are read. Past that the connection is not worth keeping.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Makes a client that connects to nothing but what `guard` lets through.
pub(crate) fn client(
    guard: Guard,
    tls: ClientConfig,
    connect_timeout: Duration,
) -> reqwest::Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("Postrider/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(GuardedResolver(guard)))
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
}

struct GuardedResolver(Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(guard.filter(found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// What is known of a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The name leads where nothing may be sent. Nothing was.
    Forbidden(Forbidden),
    /// There was no connection, so nothing was sent.
    NotConnected(&'static str),
    /// It may have arrived.
    Lost,
}

impl NoAnswer {
    /// Reads it from the client's error, which quotes the URL and is not shown to anyone.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let mut cause: Option<&dyn Error> = Some(error);
        let mut is_tls = false;
        while let Some(current) = cause {
            if let Some(forbidden) = current.downcast_ref::<Forbidden>() {
                return Self::Forbidden(*forbidden);
            }
            is_tls |= current.downcast_ref().is_some_and(is_about_tls);
            cause = current.source();
        }
        if !error.is_connect() {
            return Self::Lost;
        }
        Self::NotConnected(if error.is_dns() {
            "could not find the host"
        } else if error.is_timeout() {
            "could not connect in time"
        } else if is_tls {
            "the TLS handshake failed, or the certificate is not trusted for this host"
        } else {
            "could not connect"
        })
    }
}

/// Whether it was the TLS session that failed. An I/O error hides what it was made from, in layers.
fn is_about_tls(error: &std::io::Error) -> bool {
    let Some(inside) = error.get_ref() else {
        return false;
    };
    let layer = inside.downcast_ref::<std::io::Error>();
    inside.downcast_ref::<rustls::Error>().is_some() || layer.is_some_and(is_about_tls)
}

/// How an answer's body ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// To its end, or to where we stopped reading.
    Read(String),
    /// The connection broke in the middle of it.
    Cut,
}

/// Reads the beginning of an answer's body, for as long as it lasts or until `deadline`.
pub(crate) async fn read_body(mut response: Response, deadline: Instant) -> Body {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Ok(None)) | Err(_) => break,
            Ok(Err(_reason)) => return Body::Cut,
        }
    }
    bytes.truncate(BODY_BYTES_MAX);
    Body::Read(String::from_utf8_lossy(&bytes).into_owned())
}

//! How many connections there may be, in all and from one address.
//!
//! A place is held for as long as its socket is open, be it an upgraded one. A connection too many
//! is told 503 without a word of it being read: unasked, but the one thing that its client can
//! read. Telling takes little, is bounded, and past that bound the connection is closed.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::Proxies;
use crate::config::HttpConfig;

/// Connections that are being told at once.
const TELLING_MAX: usize = 64;

/// How long one has to take in what it is told.
const TELLING_TIME: Duration = Duration::from_secs(1);

/// Bytes of its request that are taken off its hands meanwhile: closed over unread ones, the
/// connection would be reset and the answer lost.
const TAKEN_BYTES_MAX: usize = 64 * 1024;

/// What one too many is told.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncontent-length: 178\r\nretry-after: 2\r\n\
    connection: close\r\n\r\n\
    {\"type\":\"urn:postrider:problem:too-many-connections\",\
    \"title\":\"There are too many connections\",\"status\":503,\
    \"detail\":\"close idle ones, or try again after the time in Retry-After\"}";

/// The connections of one process.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// 0 is open.
    total_max: usize,
    /// 0 is open.
    per_ip_max: usize,
    proxies: Proxies,
    open: Mutex<Open>,
    telling: Semaphore,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Connections {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        Self(Arc::new(Parts {
            total_max: config.connections_max,
            per_ip_max: config.connections_per_ip_max,
            proxies: Proxies::new(config),
            open: Mutex::default(),
            telling: Semaphore::new(TELLING_MAX),
        }))
    }

    /// Takes a place for a connection from `ip`, if there is one.
    pub(crate) fn take(&self, ip: IpAddr) -> Option<Place> {
        let parts = &self.0;
        let ip = ip.to_canonical();
        // Behind a proxy is everybody.
        let is_counted = parts.per_ip_max > 0 && !parts.proxies.is_trusted(ip);
        let mut open = parts.lock();
        if parts.total_max > 0 && open.total >= parts.total_max {
            return None;
        }
        if is_counted {
            let from_there = open.by_ip.entry(ip).or_default();
            if *from_there >= parts.per_ip_max {
                return None;
            }
            *from_there += 1;
        }
        open.total += 1;
        drop(open);
        Some(Place {
            connections: self.clone(),
            ip: is_counted.then_some(ip),
        })
    }

    /// Tells a connection that it is one too many, and closes it.
    pub(crate) async fn turn_away(&self, mut stream: TcpStream) {
        let Ok(_turn) = self.0.telling.try_acquire() else {
            return;
        };
        let tell = async {
            stream.write_all(TOO_MANY.as_bytes()).await?;
            stream.shutdown().await?;
            let mut buffer = [0; 4096];
            let mut taken = 0;
            while taken < TAKEN_BYTES_MAX {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    bytes => taken += bytes,
                }
            }
            io::Result::Ok(())
        };
        // Whether it listened is its own business.
        drop(timeout(TELLING_TIME, tell).await);
    }
}

impl Parts {
    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        let open = self.open.lock();
        open.expect("nothing panics while it holds this lock")
    }
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Connections,
    /// Where it counts beside the total.
    ip: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock();
        open.total -= 1;
        if let Some(ip) = self.ip
            && let Some(from_there) = open.by_ip.get_mut(&ip)
        {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_ip.remove(&ip);
            }
        }
    }
}

/// A connection's place and its count, for as long as it is open, whoever has it.
#[derive(Debug)]
pub(crate) struct Placed {
    open: Option<IntGauge>,
    _place: Place,
}

impl Placed {
    /// `open` counts it meanwhile.
    pub(crate) fn new(place: Place, open: Option<IntGauge>) -> Self {
        if let Some(open) = &open {
            open.inc();
        }
        Self {
            open,
            _place: place,
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let connections = Connections::new(&HttpConfig {
            connections_max: 3,
            connections_per_ip_max: 2,
            trusted_proxies: vec!["10.0.0.1".to_owned()],
            ..HttpConfig::default()
        });
        let from = |text: &str| connections.take(text.parse().unwrap());
        let (one, other) = (
            from("192.0.2.1").unwrap(),
            from("::ffff:192.0.2.1").unwrap(),
        );
        assert!(from("192.0.2.1").is_none(), "two are there from it");
        let third = from("192.0.2.2").unwrap();
        assert!(from("192.0.2.3").is_none(), "three are there in all");

        drop((one, other, third));

        let proxied: Vec<Place> = (0..3).filter_map(|_| from("10.0.0.1")).collect();
        assert_eq!(proxied.len(), 3, "behind a proxy is everybody");
        assert_eq!(connections.0.lock().by_ip.len(), 0);
    }

    #[test]
    fn what_one_too_many_is_told_is_as_long_as_it_says() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();

        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 503);
    }
}

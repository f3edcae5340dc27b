//! Who is at the other end: the peer's address, or what a trusted proxy says of its client.
//!
//! Each proxy adds the address it was reached from at the end of the header, so the end is what our
//! own proxies wrote, and the first address from there that is not one of theirs is the client.
//! What stands before it is the client's own word, and is not looked at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::config::{HttpConfig, ProxyHeader};

/// Hops that are followed. Longer chains are somebody's play.
const HOPS_MAX: usize = 32;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Default for Peer {
    fn default() -> Self {
        Self(Ipv4Addr::UNSPECIFIED.into())
    }
}

/// The proxies in front of us.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ProxyHeader,
}

impl Proxies {
    /// Networks that cannot be read were refused with the configuration.
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let trusted = config.trusted_proxies.iter();
        Self {
            trusted: trusted
                .filter_map(|network| parse_network(network))
                .collect(),
            header: config.proxy_header,
        }
    }

    pub(crate) fn is_trusted(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// The address of whoever asks.
    pub(crate) fn client_of(&self, Peer(peer): Peer, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.is_trusted(client) {
            return client;
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => "x-forwarded-for",
            ProxyHeader::Forwarded => "forwarded",
        };
        let lines: Vec<&str> = headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let text = match self.header {
                ProxyHeader::XForwardedFor => Some(hop),
                ProxyHeader::Forwarded => forwarded_for(hop),
            };
            // Behind what cannot be read there is nothing to believe.
            let Some(ip) = text.and_then(parse_address) else {
                return client;
            };
            client = ip;
            if !self.is_trusted(client) {
                return client;
            }
        }
        client
    }
}

/// Reads a network, or a single address.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| value.trim().trim_matches('"'))
    })
}

/// Reads an address, which may be in brackets or have a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let ip = bare
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(IpAddr::to_canonical(&ip))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn client(header: ProxyHeader, peer: &str, name: &'static str, lines: &[&str]) -> String {
        let proxies = Proxies::new(&HttpConfig {
            trusted_proxies: vec!["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()],
            proxy_header: header,
            ..HttpConfig::default()
        });
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let peer = Peer(peer.parse().unwrap());
        proxies.client_of(peer, &headers).to_string()
    }

    #[test]
    fn only_what_our_own_proxies_wrote_is_believed() {
        let told = |peer, lines: &[&str]| {
            client(ProxyHeader::XForwardedFor, peer, "x-forwarded-for", lines)
        };

        assert_eq!(told("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(told("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["6.6.6.6, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            told("10.0.0.1", &["6.6.6.6", "198.51.100.7, 10.2.3.4"]),
            "198.51.100.7"
        );
        assert_eq!(
            told("10.0.0.1", &["6.6.6.6, unknown, 10.9.9.9"]),
            "10.9.9.9"
        );
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(
            told("::ffff:10.0.0.1", &["198.51.100.7:4711"]),
            "198.51.100.7"
        );
        assert_eq!(told("2001:db8::1", &["2001:db8::2"]), "2001:db8::2");
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_chosen_and_the_other_is_not() {
        let told = |lines: &[&str]| client(ProxyHeader::Forwarded, "10.0.0.1", "forwarded", lines);

        assert_eq!(told(&["for=198.51.100.7;proto=https"]), "198.51.100.7");
        assert_eq!(
            told(&["for=6.6.6.6, proto=http;For=\"[2001:db8:cafe::17]:4711\""]),
            "2001:db8:cafe::17"
        );
        assert_eq!(told(&["for=_hidden, for=10.9.9.9"]), "10.9.9.9");
        let other = client(
            ProxyHeader::Forwarded,
            "10.0.0.1",
            "x-forwarded-for",
            &["198.51.100.7"],
        );
        assert_eq!(other, "10.0.0.1");
    }
}

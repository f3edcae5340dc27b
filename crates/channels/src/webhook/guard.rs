//! Where a webhook may go: to the public internet, and nowhere else unless the operator says so.
//!
//! Whoever may set a webhook's URL could otherwise reach what only this machine can: a database's
//! port, the cloud's metadata service, a neighbour's console. So the URL is checked before
//! anything is done, every address a name resolves to is checked, and the connection goes to an
//! address that was. A name that answers differently the second time gains nothing, for there is
//! no second time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::SendError;

/// What an address is, if it is not on the public internet. From the registries of IANA.
const V4_RULES: [(Ipv4Net, &str); 16] = [
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "a carrier's private address"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "a reserved address"),
    (v4([192, 0, 2, 0], 24), "a documentation address"),
    (v4([192, 88, 99, 0], 24), "a reserved address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "a benchmarking address"),
    (v4([198, 51, 100, 0], 24), "a documentation address"),
    (v4([203, 0, 113, 0], 24), "a documentation address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([255, 255, 255, 255], 32), "a broadcast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// The same for IPv6, within what is handed out as public at all.
const V6_RULES: [(Ipv6Net, &str); 11] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback address"),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "a link-local address",
    ),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a private address"),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "a unique-local address",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address"),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "a documentation address",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "a documentation address",
    ),
    (
        v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
        "a benchmarking address",
    ),
    (
        v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28),
        "a reserved address",
    ),
    (
        v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28),
        "a reserved address",
    ),
];

/// All of IPv6 that is public (RFC 4291). What else there may one day be is refused until then.
const V6_PUBLIC: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const V6_NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const V6_6TO4: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const V6_TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// What a target is allowed to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    allow: Vec<IpNet>,
}

/// An address that is not on the public internet. Names the rule, never the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL leads to {0}, which webhook.allow_cidrs does not name")]
pub(crate) struct Forbidden(pub(crate) &'static str);

impl Guard {
    /// Allows the public internet, and the networks `allow`.
    pub(crate) fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Reads the URL of a webhook. A host that is an address in any of its notations is checked
    /// here; a name when it is resolved.
    pub(crate) fn target(&self, text: &str) -> Result<Url, SendError> {
        let reject = |detail: &str| SendError::Rejected {
            detail: detail.to_owned(),
        };
        let url = Url::parse(text).map_err(|_reason| reject("the URL cannot be read"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(reject("the URL must be http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(reject("the URL must not carry a user or a password"));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(reject("the URL names no host")),
        };
        match address.map(|address| self.check(address)) {
            Some(Err(forbidden)) => Err(reject(&forbidden.to_string())),
            Some(Ok(())) | None => Ok(url),
        }
    }

    /// Keeps the addresses of a name that may be connected to. If there is none, says why not.
    pub(crate) fn filter(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Forbidden> {
        let (mut open, mut forbidden) = (Vec::new(), None);
        for address in addresses {
            match self.check(address.ip()) {
                Ok(()) => open.push(address),
                Err(rule) => forbidden = Some(rule),
            }
        }
        match forbidden {
            Some(rule) if open.is_empty() => Err(rule),
            _ => Ok(open),
        }
    }

    /// Whether `address` may be connected to.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let is_allowed = |address: IpAddr| self.allow.iter().any(|net| net.contains(&address));
        match address {
            IpAddr::V4(v4) => match rule_v4(v4) {
                Some(rule) if !is_allowed(address) => Err(Forbidden(rule)),
                _ => Ok(()),
            },
            IpAddr::V6(v6) if is_allowed(address) || is_allowed(v6.to_canonical()) => Ok(()),
            IpAddr::V6(v6) => match embedded(v6) {
                // It is the address inside that a packet reaches in the end.
                Some(inside) => inside
                    .into_iter()
                    .try_for_each(|address| self.check(IpAddr::V4(address))),
                None => rule_v6(v6).map_or(Ok(()), |rule| Err(Forbidden(rule))),
            },
        }
    }
}

fn rule_v4(address: Ipv4Addr) -> Option<&'static str> {
    let rule = V4_RULES.iter().find(|(net, _)| net.contains(&address));
    rule.map(|(_, rule)| *rule)
}

fn rule_v6(address: Ipv6Addr) -> Option<&'static str> {
    let rule = V6_RULES.iter().find(|(net, _)| net.contains(&address));
    let unknown = (!V6_PUBLIC.contains(&address)).then_some("a reserved address");
    rule.map(|(_, rule)| *rule).or(unknown)
}

/// The IPv4 addresses that an IPv6 address stands for, if it does.
fn embedded(address: Ipv6Addr) -> Option<Vec<Ipv4Addr>> {
    let octets = address.octets();
    let at = |index: usize| {
        let four: Option<[u8; 4]> = octets
            .get(index..index + 4)
            .and_then(|part| part.try_into().ok());
        Ipv4Addr::from(four.unwrap_or_default())
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(vec![mapped]);
    }
    if V6_NAT64.contains(&address) {
        return Some(vec![at(12)]);
    }
    if V6_6TO4.contains(&address) {
        return Some(vec![at(2)]);
    }
    if V6_TEREDO.contains(&address) {
        // The server, and the client with every bit turned round.
        return Some(vec![at(4), Ipv4Addr::from(!u32::from(at(12)))]);
    }
    // IPv4-compatible, long out of use; `::` and `::1` are none.
    let is_compatible = octets.iter().take(12).all(|&octet| octet == 0) && at(12).octets()[0] != 0;
    is_compatible.then(|| vec![at(12)])
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One address of each kind that must not be reached, and the rule that says so.
    const FORBIDDEN: [(&str, &str); 46] = [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "carrier"),
        ("100.127.255.255", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.0.0", "link-local"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "reserved"),
        ("192.168.0.1", "private"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.255", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "loopback"),
        ("::10.0.0.1", "private"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::10.1.2.3", "private"),
        ("64:ff9b:1::1", "reserved"),
        ("2002:7f00:1::", "loopback"),
        ("2002:c0a8:101::1", "private"),
        ("2001:0:7f00:1::", "loopback"),
        // A Teredo client at 10.0.0.1 behind a public server.
        ("2001:0:808:808:0:0:f5ff:fffe", "private"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "private"),
        ("fc00::1", "unique-local"),
        ("fdff::1", "unique-local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("2001:2::1", "benchmarking"),
        ("100::1", "reserved"),
    ];

    const PUBLIC: [&str; 16] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_public_is_refused_by_its_rule() {
        let guard = Guard::default();
        for (text, rule) in FORBIDDEN {
            let Err(forbidden) = guard.check(address(text)) else {
                panic!("{text} is let through");
            };
            assert!(forbidden.0.contains(rule), "{text}: {forbidden}");
            assert!(!forbidden.to_string().contains(text) || text == "::");
        }
    }

    #[test]
    fn what_is_public_is_let_through() {
        for text in PUBLIC {
            assert_eq!(Guard::default().check(address(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_operator_can_name_networks_in_which_targets_may_lie() {
        let guard = Guard::new(vec![
            "10.1.0.0/16".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        for text in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "fd00::1",
            "1.1.1.1",
        ] {
            assert_eq!(guard.check(address(text)), Ok(()), "{text}");
        }
        for text in ["10.2.0.1", "127.0.0.1", "fc00::1", "::ffff:10.2.0.1"] {
            assert!(guard.check(address(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn odd_notations_of_an_address_are_seen_through() {
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://127。0。0。1/",
            "http://１２７.0.0.1/",
            "http://①②⑦.⓪.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:0:0:1]:8080/",
            "http://0/",
            "http:127.0.0.1",
            "HTTP:\\\\127.0.0.1\\x",
            "http://127.0.0.1\t/",
            "http://%31%32%37.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            let answer = Guard::default().target(url);
            let Err(SendError::Rejected { detail }) = answer else {
                panic!("{url} is let through: {answer:?}");
            };
            assert!(
                !detail.contains("127") && !detail.contains("169"),
                "{detail}"
            );
        }
    }

    #[test]
    fn a_url_that_is_no_webhook_is_refused() {
        for url in [
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://:pass@example.com/",
            "https://",
            "example.com/hook",
            "",
            "http://[::1",
            "http://exa mple.com/",
            "http://1.2.3.4.5/",
        ] {
            assert!(Guard::default().target(url).is_err(), "{url}");
        }
    }

    #[test]
    fn names_are_left_to_the_resolver() {
        for (url, host) in [
            ("https://hooks.example/in?a=b", "hooks.example"),
            ("https://hooks.example.:8443/", "hooks.example."),
            ("https://bücher.example/", "xn--bcher-kva.example"),
            ("http://localhost/", "localhost"),
        ] {
            let target = Guard::default().target(url).unwrap();
            assert_eq!(target.host_str(), Some(host));
        }
    }

    #[test]
    fn of_a_names_addresses_only_those_allowed_are_kept() {
        let guard = Guard::default();
        let at = |text: &str| SocketAddr::new(address(text), 443);
        let mixed = [at("10.0.0.1"), at("1.1.1.1"), at("::1")];
        assert_eq!(guard.filter(mixed.into_iter()), Ok(vec![at("1.1.1.1")]));
        let none = [at("10.0.0.1"), at("10.0.0.2")].into_iter();
        assert_eq!(guard.filter(none), Err(Forbidden("a private address")));
        assert_eq!(guard.filter([].into_iter()), Ok(vec![]));
    }

    proptest! {
        /// However an IPv4 address is wrapped, the verdict is the one of the address inside.
        #[test]
        fn wrapping_an_address_changes_nothing(bits in any::<u32>(), common in 0_usize..24) {
            let guard = Guard::default();
            let common: Ipv4Addr = FORBIDDEN[common].0.parse().unwrap();
            for inside in [Ipv4Addr::from(bits), common] {
                let [a, b, c, d] = inside.octets().map(u16::from);
                let (high, low) = (a << 8 | b, c << 8 | d);
                let verdict = guard.check(IpAddr::V4(inside));
                for outside in [
                    inside.to_ipv6_mapped(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 7, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0101, !0x0101),
                    Ipv6Addr::new(0x2001, 0, 0x0101, 0x0101, 0, 0, !high, !low),
                ] {
                    prop_assert_eq!(guard.check(IpAddr::V6(outside)), verdict, "{}", outside);
                }
            }
        }

        /// Nothing outside of what IANA hands out as public passes.
        #[test]
        fn only_public_ipv6_passes(bits in any::<u128>()) {
            let address = Ipv6Addr::from(bits);
            if embedded(address).is_none() && Guard::default().check(IpAddr::V6(address)).is_ok() {
                prop_assert_eq!(address.segments()[0] >> 13, 1);
            }
        }
    }
}

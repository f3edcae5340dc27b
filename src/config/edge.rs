//! The settings of the edge: where the API listens, who may come in, how much and how fast.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::secret::Secret;
use super::tree::section;

section! {
    /// How the HTTP server listens, and what it takes at once.
    pub struct HttpConfig {
        /// The address to listen on. `PORT` replaces the port and opens the address to the
        /// network, as Procfile platforms expect.
        pub listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8003),
        /// How long a connection may take to send a request's headers, and how long it may rest
        /// between requests.
        pub header_timeout: Duration = Duration::from_mins(1),
        /// How long a request's body may take to arrive. One that falls behind the pace that this
        /// asks for is given up before.
        pub body_timeout: Duration = Duration::from_mins(1),
        /// How long a client may take nothing of what it is sent, an answer or a stream of events,
        /// before its connection is cut.
        pub write_timeout: Duration = Duration::from_secs(30),
        /// How long a request may take in all, until its answer begins. After that it is answered
        /// 503; what it handed in stays.
        pub request_timeout: Duration = Duration::from_secs(90),
        /// Bytes of bodies that are read and worked on at once, over all requests. Others wait a
        /// few seconds for room, then get 503.
        pub body_bytes_at_once: usize = 64 * 1024 * 1024,
        /// Connections at once, sockets of the live feed among them; 0 leaves it open. One more is
        /// answered 503.
        pub connections_max: usize = 0,
        /// Connections at once from one address; 0 leaves it open. Those of `trusted_proxies` are
        /// not counted.
        pub connections_per_ip_max: usize = 0,
        /// Networks of the proxies in front, such as 10.0.0.0/8. Only what they say about a
        /// client's address is believed.
        pub trusted_proxies: Vec<String> = Vec::new(),
        /// The header in which they say it: `x-forwarded-for` or `forwarded`.
        pub proxy_header: ProxyHeader = ProxyHeader::XForwardedFor,
    }
}

/// The header in which a proxy names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// As most proxies write it: addresses, separated by commas.
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

section! {
    /// Who may come in.
    pub struct AuthConfig {
        /// Signs and checks user tokens (HS256). Without it, and without `jwks_file` or
        /// `jwks_url`, every user token is refused.
        pub jwt_secret: Option<Secret> = None => "JWT_SECRET",
        /// What a token's `aud` must contain. Unset, `aud` is not looked at.
        pub jwt_audience: Option<String> = None,
        /// What a token's `iss` must be. Unset, `iss` is not looked at.
        pub jwt_issuer: Option<String> = None,
        /// A file with the public keys of whoever signs user tokens (a JSON Web Key Set). It is
        /// read again when it changes.
        pub jwks_file: Option<String> = None,
        /// Where to fetch that set instead. It must be `https`, or `http` on this machine.
        pub jwks_url: Option<String> = None,
        /// How often the set is fetched. Keys stay in use while it cannot be.
        pub jwks_refresh: Duration = Duration::from_mins(5),
        /// Whether `jwks_url` may be `http` on another machine. Whoever sits between can then sign
        /// for everybody.
        pub jwks_insecure: bool = false,
        /// Whether a socket may authenticate by `?token=`. Such a URL can end up in a proxy's log.
        pub query_token: bool = true,
        /// An admin key of tenant `default` that exists from the start.
        pub bootstrap_api_key: Option<Secret> = None => "POSTRIDER_BOOTSTRAP_API_KEY",
    }
}

section! {
    /// Which web pages may call the API from a browser.
    pub struct CorsConfig {
        /// Their origins, such as `https://app.example.com`; `*` is every page. Cookies play no
        /// part: a page needs a credential of its own.
        pub origins: Vec<String> = Vec::new(),
        /// Whether pages served by this machine may: `localhost` and its addresses, on any port.
        /// `up` allows them.
        pub localhost: bool = false,
    }
}

section! {
    /// How many requests are taken, counted by each process for itself. All are open unless set.
    pub struct LimitsConfig {
        /// Requests a second with one API key, or of one user.
        pub requests_per_second: Option<u32> = None,
        /// How many of them may come at once after a pause; unset, those of a second.
        pub burst: Option<u32> = None,
        /// Requests a second from one address, whoever makes them; `/health` is not counted.
        pub requests_per_second_per_ip: Option<u32> = None,
        /// How many of them may come at once after a pause; unset, those of a second.
        pub burst_per_ip: Option<u32> = None,
        /// Bad credentials a minute from one address. After that, unknown ones are not looked at.
        pub failures_per_minute_per_ip: Option<u32> = None,
    }
}

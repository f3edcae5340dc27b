//! What the settings of the edge must be: networks, origins, limits, and where keys come from.

use std::path::Path;

use url::{Host, Url};

use super::Config;
use super::check::Wrong;
use crate::api::jwks;
use crate::edge::client::parse_network;
use crate::edge::cors::is_origin;

impl Config {
    pub(super) fn check_edge(&self, wrong: &mut Vec<Wrong>) {
        self.check_http(wrong);
        self.check_limits(wrong);
        self.check_keys(wrong);
        for origin in &self.cors.origins {
            if !is_origin(origin) {
                let problem =
                    format!("has `{origin}`, which is no origin such as https://a.example");
                wrong.push(("cors.origins", problem));
            }
        }
    }

    fn check_http(&self, wrong: &mut Vec<Wrong>) {
        let http = &self.http;
        for network in &http.trusted_proxies {
            if parse_network(network).is_none() {
                let problem = format!("has `{network}`, which is no network such as 10.0.0.0/8");
                wrong.push(("http.trusted_proxies", problem));
            }
        }
        if http.request_timeout <= http.body_timeout {
            let problem = "must be longer than http.body_timeout".to_owned();
            wrong.push(("http.request_timeout", problem));
        }
        if http.body_timeout.is_zero() {
            wrong.push(("http.body_timeout", "must be longer than 0s".to_owned()));
        }
        if http.write_timeout.is_zero() {
            wrong.push(("http.write_timeout", "must be longer than 0s".to_owned()));
        }
        if http.body_bytes_at_once < 1024 * 1024 {
            let problem = "must hold one body: at least 1048576".to_owned();
            wrong.push(("http.body_bytes_at_once", problem));
        }
    }

    fn check_limits(&self, wrong: &mut Vec<Wrong>) {
        let limits = &self.limits;
        let values = [
            ("limits.requests_per_second", limits.requests_per_second),
            ("limits.burst", limits.burst),
            (
                "limits.requests_per_second_per_ip",
                limits.requests_per_second_per_ip,
            ),
            ("limits.burst_per_ip", limits.burst_per_ip),
            (
                "limits.failures_per_minute_per_ip",
                limits.failures_per_minute_per_ip,
            ),
        ];
        for (path, value) in values {
            if value == Some(0) {
                wrong.push((path, "must be at least 1, or unset".to_owned()));
            }
        }
        let rates = [
            ("limits.burst", limits.burst, limits.requests_per_second),
            (
                "limits.burst_per_ip",
                limits.burst_per_ip,
                limits.requests_per_second_per_ip,
            ),
        ];
        for (path, burst, rate) in rates {
            if burst.is_some() && rate.is_none() {
                wrong.push((path, "means nothing without its rate".to_owned()));
            }
        }
    }

    fn check_keys(&self, wrong: &mut Vec<Wrong>) {
        let auth = &self.auth;
        if let Some(file) = &auth.jwks_file {
            if auth.jwks_url.is_some() {
                wrong.push((
                    "auth.jwks_file",
                    "does not go with auth.jwks_url".to_owned(),
                ));
            }
            if let Err(problem) = jwks::read_file(Path::new(file)) {
                wrong.push(("auth.jwks_file", format!("cannot be used: {problem}")));
            }
        }
        if let Some(url) = &auth.jwks_url
            && let Err(problem) = check_url(url, auth.jwks_insecure)
        {
            wrong.push(("auth.jwks_url", problem.to_owned()));
        }
        if auth.jwks_refresh < jwks::REFRESH_MIN {
            wrong.push(("auth.jwks_refresh", "must be at least 10s".to_owned()));
        }
    }
}

fn check_url(url: &str, is_insecure: bool) -> Result<(), &'static str> {
    let url = Url::parse(url).or(Err("must be a URL, such as https://id.example/jwks.json"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here || is_insecure => Ok(()),
        "http" => Err("must be https; auth.jwks_insecure allows http"),
        _ => Err("must be https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine_unless_told() {
        for (url, is_insecure, is_allowed) in [
            ("https://id.example/jwks.json", false, true),
            ("http://127.0.0.1:8080/jwks.json", false, true),
            ("http://localhost/jwks.json", false, true),
            ("http://[::1]/jwks.json", false, true),
            ("http://id.example/jwks.json", false, false),
            ("http://id.example/jwks.json", true, true),
            ("ftp://id.example/jwks.json", true, false),
            ("id.example", true, false),
        ] {
            assert_eq!(check_url(url, is_insecure).is_ok(), is_allowed, "{url}");
        }
    }

    #[test]
    fn settings_of_the_edge_that_cannot_work_are_named() {
        let mut config = Config::default();
        config.http.trusted_proxies = vec!["10.0.0.0/8".to_owned(), "my-proxy".to_owned()];
        config.http.request_timeout = config.http.body_timeout;
        config.http.write_timeout = std::time::Duration::ZERO;
        config.cors.origins = vec!["app.example.com".to_owned()];
        config.limits.requests_per_second = Some(0);
        config.limits.burst_per_ip = Some(5);
        config.auth.jwks_file = Some("/no/such/file".to_owned());

        let mut wrong = Vec::new();
        config.check_edge(&mut wrong);

        let named: Vec<&str> = wrong.iter().map(|(path, _)| *path).collect();
        assert_eq!(
            named,
            [
                "http.trusted_proxies",
                "http.request_timeout",
                "http.write_timeout",
                "limits.requests_per_second",
                "limits.burst_per_ip",
                "auth.jwks_file",
                "cors.origins",
            ]
        );
        let mut none = Vec::new();
        Config::default().check_edge(&mut none);
        assert_eq!(none, []);
    }
}

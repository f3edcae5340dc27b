//! Checks of what is configured, without asking anybody.

use ipnet::IpNet;
use render::Templates;

use super::super::work::try_providers;
use super::Report;
use crate::config::Config;

/// Bytes of a secret that cannot be guessed: as many as the signature has.
const JWT_SECRET_BYTES_MIN: usize = 32;

pub(super) fn look(config: &Config, report: &mut Report) {
    look_at_tokens(config, report);
    look_at_providers(config, report);
    look_at_webhooks(config, report);
    match Templates::builtin() {
        Ok(templates) => {
            let names = templates.names().count();
            report.ok("templates", format!("{names} compile"));
        }
        Err(error) => report.fail("templates", error.to_string(), "mend the template"),
    }
}

fn look_at_providers(config: &Config, report: &mut Report) {
    const CHECK: &str = "providers";
    match try_providers(config) {
        Ok(()) => report.ok(CHECK, "can be set up as configured"),
        Err(error) => report.fail(
            CHECK,
            queue::describe(error.as_ref()),
            "no worker starts like this: mend the setting",
        ),
    }
}

fn look_at_tokens(config: &Config, report: &mut Report) {
    const CHECK: &str = "token secret";
    let bytes = config.auth.jwt_secret.as_ref().map(|it| it.reveal().len());
    match bytes {
        None => report.warn(
            CHECK,
            "not set, so every user token is refused",
            "set JWT_SECRET where users connect",
        ),
        Some(bytes) if bytes < JWT_SECRET_BYTES_MIN => report.warn(
            CHECK,
            format!("{bytes} bytes, which can be guessed"),
            format!("set JWT_SECRET to {JWT_SECRET_BYTES_MIN} random bytes or more"),
        ),
        Some(bytes) => report.ok(CHECK, format!("{bytes} bytes")),
    }
}

fn look_at_webhooks(config: &Config, report: &mut Report) {
    const CHECK: &str = "webhook networks";
    let cidrs = &config.webhook.allow_cidrs;
    let everything = cidrs.iter().find(|cidr| {
        let network = cidr.parse::<IpNet>();
        network.is_ok_and(|network| network.prefix_len() == 0)
    });
    match everything {
        Some(cidr) => report.warn(
            CHECK,
            format!("{cidr} lets anybody's webhook reach every internal service"),
            "name the networks that are meant in webhook.allow_cidrs",
        ),
        None if cidrs.is_empty() => report.ok(CHECK, "no internal ones"),
        None => report.ok(CHECK, format!("also internal ones: {}", cidrs.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;
    use crate::config::Secret;

    fn verdict(check: &str, config: &Config) -> Verdict {
        let mut report = Report::default();
        look(config, &mut report);
        let finding = report.findings.iter().find(|it| it.check == check);
        finding.unwrap().verdict
    }

    #[test]
    fn a_short_secret_an_open_network_and_a_key_that_is_none_are_found() {
        let mut config = Config::default();
        assert_eq!(verdict("token secret", &config), Verdict::Warn);
        assert_eq!(verdict("webhook networks", &config), Verdict::Ok);

        assert_eq!(verdict("providers", &config), Verdict::Ok);

        config.webhook.secret = Some(Secret::new("whsec_!"));
        assert_eq!(verdict("providers", &config), Verdict::Fail);
        config.webhook.secret = None;

        config.auth.jwt_secret = Some(Secret::new("x".repeat(31)));
        config.webhook.allow_cidrs = vec!["10.0.0.0/8".to_owned(), "::/0".to_owned()];
        assert_eq!(verdict("token secret", &config), Verdict::Warn);
        assert_eq!(verdict("webhook networks", &config), Verdict::Warn);

        config.auth.jwt_secret = Some(Secret::new("x".repeat(32)));
        config.webhook.allow_cidrs.pop();
        assert_eq!(verdict("token secret", &config), Verdict::Ok);
        assert_eq!(verdict("webhook networks", &config), Verdict::Ok);
    }
}

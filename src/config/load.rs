//! Reads the tree from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::Config;

/// What every name of ours begins with.
const PREFIX: &str = "POSTRIDER__";

/// Names other tools set, and the setting each one is.
const UNPREFIXED: [(&str, &str, &str); 4] = [
    ("DATABASE_URL", "database", "url"),
    ("DATABASE_DIRECT_URL", "database", "direct_url"),
    ("JWT_SECRET", "auth", "jwt_secret"),
    ("POSTRIDER_BOOTSTRAP_API_KEY", "auth", "bootstrap_api_key"),
];

/// Every problem of a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the configuration is not usable: {}",
            self.problems.join("; ")
        )
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads this process's environment.
    pub fn from_environment() -> Result<Self, ConfigError> {
        // A name or value that is not UTF-8 cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::load(variables)
    }

    /// Reads the given variables over the defaults.
    pub fn load(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let mut config = Self::default();
        let mut problems = Vec::new();

        for (name, section, key) in UNPREFIXED {
            match value_or_file(&variables, name) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    if let Some(Err(problem)) = config.set(section, key, &text) {
                        problems.push(format!("{name}: {problem}"));
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        match variables
            .get("PORT")
            .filter(|text| !text.is_empty())
            .map(|text| text.parse())
        {
            None => {}
            // A platform that sets PORT routes to the machine's address, not to its loopback.
            Some(Ok(port)) => {
                config.http.listen.set_port(port);
                config.http.listen.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            }
            Some(Err(_)) => problems.push("PORT: expected a number from 0 to 65535".to_owned()),
        }

        for (name, text) in &variables {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let path = path.to_ascii_lowercase();
            let answer = path
                .split_once("__")
                .and_then(|(section, key)| config.set(section, key, text));
            match answer {
                Some(Ok(())) => {}
                Some(Err(problem)) => problems.push(format!("{name}: {problem}")),
                None => problems.push(format!("{name}: there is no such setting")),
            }
        }

        problems.extend(config.cross_check());
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// The value of `name`, or the contents of the file that `NAME_FILE` names.
fn value_or_file(
    variables: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<String>, String> {
    let file_name = format!("{name}_FILE");
    match (variables.get(name), variables.get(&file_name)) {
        (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set; keep one")),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => std::fs::read_to_string(Path::new(path))
            .map(Some)
            .map_err(|error| format!("{file_name}: could not read {path}: {error}")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn a_setting_is_read_by_section_and_key() {
        let config = load(&[
            ("POSTRIDER__HTTP__LISTEN", "0.0.0.0:9000"),
            ("POSTRIDER__SHUTDOWN__GRACE", "3s"),
            ("POSTRIDER__WORK__QUEUES", "route, render"),
            ("UNRELATED", "x"),
        ])
        .unwrap();

        assert_eq!(config.http.listen.to_string(), "0.0.0.0:9000");
        assert_eq!(config.shutdown.grace, Duration::from_secs(3));
        assert_eq!(config.work.queues, ["route", "render"]);
    }

    #[test]
    fn all_problems_are_reported_together() {
        let error = load(&[
            ("POSTRIDER__HTTP__LISTEN", "nowhere"),
            ("POSTRIDER__QUEU__LEASE", "3s"),
            ("POSTRIDER__INTAKE__GROUP_ROWS", "0"),
            ("PORT", "http"),
        ])
        .unwrap_err();

        assert_eq!(
            error.problems,
            [
                "PORT: expected a number from 0 to 65535",
                "POSTRIDER__HTTP__LISTEN: expected an address with a port, such as 127.0.0.1:8003",
                "POSTRIDER__QUEU__LEASE: there is no such setting",
                "intake.group_rows must be at least 1",
            ]
        );
    }

    #[test]
    fn port_opens_the_address_and_our_own_name_wins_over_it() {
        assert_eq!(
            load(&[("PORT", "80")]).unwrap().http.listen.to_string(),
            "0.0.0.0:80"
        );
        let both = load(&[("PORT", "80"), ("POSTRIDER__HTTP__LISTEN", "127.0.0.1:81")]).unwrap();
        assert_eq!(both.http.listen.to_string(), "127.0.0.1:81");
    }

    #[test]
    fn a_secret_can_be_a_file_and_is_not_printed() {
        let path = std::env::temp_dir().join(format!("postrider-secret-{}", std::process::id()));
        std::fs::write(&path, "hush\n").unwrap();

        let config = load(&[("JWT_SECRET_FILE", path.to_str().unwrap())]).unwrap();

        std::fs::remove_file(&path).unwrap();
        assert_eq!(config.auth.jwt_secret.as_ref().unwrap().reveal(), "hush");
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn a_value_and_its_file_together_are_refused() {
        let error = load(&[("DATABASE_URL", "x"), ("DATABASE_URL_FILE", "/y")]).unwrap_err();
        assert_eq!(
            error.problems,
            ["DATABASE_URL and DATABASE_URL_FILE are both set; keep one"]
        );
    }
}

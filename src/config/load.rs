//! Reads the tree: defaults, then the file, then the environment.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::Value;

use super::sources::{FileReader, Findings, Origin, Variables, read_environment};
use super::tree::Outline;
use super::yaml::{FILE_BYTES_MAX, Yaml};
use super::{Config, Secret};

/// The file that is read without being named, if it is there.
pub const FILE_DEFAULT: &str = "postrider.yaml";

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

/// A usable configuration, and where each of its values is from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    yaml: Option<Yaml>,
    findings: Findings,
}

/// A setting as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingView {
    /// As in the file, with dots between the levels.
    pub path: String,
    /// Nothing of a secret; null where it is unset.
    pub value: Value,
    pub origin: Origin,
}

impl Loaded {
    /// Reads this process's environment over `file`; or over `postrider.yaml`, if it is there.
    pub fn from_environment(file: Option<&Path>) -> Result<Self, ConfigError> {
        // A name or value that is not UTF-8 cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let path = match file {
            Some(path) => Some(path),
            None => Some(Path::new(FILE_DEFAULT)).filter(|path| path.exists()),
        };
        let yaml = path.map(read_file).transpose().map_err(|problem| {
            let problems = vec![problem];
            ConfigError { problems }
        })?;
        Self::read(variables.collect(), yaml)
    }

    pub(super) fn read(variables: Variables, yaml: Option<Yaml>) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        let mut findings = Findings::default();
        if let Some(yaml) = &yaml {
            let mut reader = FileReader {
                yaml,
                variables: &variables,
                outline: &mut Outline::of(&mut config),
                findings: &mut findings,
            };
            reader.read();
        }
        read_port(&variables, &mut config, &mut findings);
        read_environment(&variables, &mut Outline::of(&mut config), &mut findings);

        let wrong = config.cross_check();
        let mut loaded = Self {
            config,
            yaml,
            findings,
        };
        for (path, problem) in wrong {
            let problem = match loaded.origin(path) {
                Origin::Default => format!("{path} {problem}"),
                origin => format!("{origin}: {path} {problem}"),
            };
            loaded.findings.problems.push(problem);
        }
        if loaded.findings.problems.is_empty() {
            Ok(loaded)
        } else {
            Err(ConfigError {
                problems: loaded.findings.problems,
            })
        }
    }

    /// Every setting, in the order of the tree.
    pub fn settings(&self) -> Vec<SettingView> {
        let mut config = self.config.clone();
        let outline = Outline::of(&mut config);
        let entries = outline.entries.iter();
        entries
            .map(|entry| SettingView {
                path: entry.path.clone(),
                value: entry.slot.show(),
                origin: self.origin(&entry.path),
            })
            .collect()
    }

    /// Takes what was left in a file for the setting `path`, if nobody has set it.
    pub fn adopt(
        &mut self,
        path: &str,
        left: Option<(Secret, String)>,
        setting: impl FnOnce(&mut Config) -> &mut Option<Secret>,
    ) {
        let setting = setting(&mut self.config);
        if setting.is_none()
            && let Some((secret, name)) = left
        {
            *setting = Some(secret);
            self.findings.adopted.insert(path.to_owned(), name);
        }
    }

    fn origin(&self, path: &str) -> Origin {
        if let Some(name) = self.findings.variables.get(path) {
            return Origin::Variable(name.clone());
        }
        if let Some(name) = self.findings.adopted.get(path) {
            return Origin::DataDir(name.clone());
        }
        match (&self.yaml, self.findings.routes.get(path)) {
            (Some(yaml), Some(route)) => Origin::File {
                name: yaml.name.clone(),
                line: yaml.line_of(route),
            },
            _ => Origin::Default,
        }
    }
}

impl Config {
    /// Reads the given variables over the defaults, without a file.
    pub fn load(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Loaded::read(variables.into_iter().collect(), None).map(|loaded| loaded.config)
    }
}

/// A platform that sets PORT routes to the machine's address, not to its loopback.
fn read_port(variables: &Variables, config: &mut Config, findings: &mut Findings) {
    let Some(text) = variables.get("PORT").filter(|text| !text.is_empty()) else {
        return;
    };
    if let Ok(port) = text.parse() {
        config.http.listen.set_port(port);
        config.http.listen.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let path = "http.listen".to_owned();
        findings.variables.insert(path, "PORT".to_owned());
    } else {
        let problem = "PORT: expected a number from 0 to 65535".to_owned();
        findings.problems.push(problem);
    }
}

fn read_file(path: &Path) -> Result<Yaml, String> {
    let name = path.display().to_string();
    match read_bounded(path, FILE_BYTES_MAX as u64) {
        Ok(text) => Ok(Yaml::new(name, text)),
        Err(problem) => Err(format!("{name}: could not read it: {problem}")),
    }
}

/// Reads a text file of at most `bytes_max`.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > bytes_max => Err(format!("longer than {bytes_max} bytes")),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

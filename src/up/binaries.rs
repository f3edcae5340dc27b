//! Finds the Postgres server that is installed on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

/// Oldest server the migrations run on.
const MAJOR_MIN: u32 = 13;

/// A directory with `postgres`, `initdb` and `pg_ctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Finds a server, of version `major` when data of that version exists already.
    ///
    /// `$PG_BIN` comes first, then the `PATH`, then `pg_config`, then where packages put it; of
    /// those the one with the highest version.
    pub(super) fn find(major: Option<u32>) -> anyhow::Result<Self> {
        let mut seen = Vec::new();
        for dir in candidates() {
            let Some(found) = Self::in_dir(&dir) else {
                continue;
            };
            if major.is_none_or(|major| found.major == major) && found.major >= MAJOR_MIN {
                return Ok(found);
            }
            seen.push(format!("{} in {}", found.major, found.dir.display()));
        }
        match major {
            Some(major) if !seen.is_empty() => bail!(
                "the data here was made by Postgres {major}, but only {} was found; install \
                 version {major}, or set PG_BIN to its bin directory",
                seen.join(", ")
            ),
            _ => bail!(
                "no Postgres server was found; install one (`apt install postgresql`, `dnf \
                 install postgresql-server` or `brew install postgresql`), set PG_BIN to its bin \
                 directory, or set DATABASE_URL to a running one"
            ),
        }
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        let has_all = ["postgres", "initdb", "pg_ctl"]
            .iter()
            .all(|name| dir.join(name).is_file());
        if !has_all {
            return None;
        }
        // A link in /usr/local/bin leads to a directory that also has what the server loads.
        let server = dir.join("postgres").canonicalize().ok()?;
        let output = Command::new(&server).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self {
            dir: server.parent()?.to_owned(),
            major,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The major version in `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`.
fn major_of(text: &str) -> Option<u32> {
    let version = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Where a server may be, in order of preference.
fn candidates() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut dirs: Vec<PathBuf> = variable("PG_BIN").map(PathBuf::from).into_iter().collect();
    dirs.extend(
        variable("PATH")
            .iter()
            .flat_map(|path: &OsString| std::env::split_paths(path)),
    );
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    let mut packaged = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr/local/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
        ("/usr", "pgsql-"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        packaged.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join("bin"))
                .filter_map(|dir| Binaries::in_dir(&dir)),
        );
    }
    packaged.sort_by_key(|found| std::cmp::Reverse(found.major));
    dirs.extend(packaged.into_iter().map(|found| found.dir));
    dirs.push(PathBuf::from("/usr/local/pgsql/bin"));
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.4 (Debian 15.4-1.pgdg)"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn a_directory_without_a_server_is_passed_over() {
        assert_eq!(Binaries::in_dir(Path::new("/nonexistent")), None);
    }
}

//! What `postrider up` keeps under its data directory: a private Postgres and a few secrets.
//!
//! ```text
//! .postrider/
//!   lock            held while `up` runs; the kernel lets go of it when `up` dies
//!   postgres/       the private cluster, owned by whoever runs it (or a link to it)
//!   postgres.log    what its server said since the last start
//!   database_url    where it listens, for the other commands (0600)
//!   jwt_secret      signs user tokens (0600)
//!   api_key         the admin key that `up` prints (0600)
//! ```
//!
//! All of it survives a restart, so tokens, keys and data stay valid.

mod binaries;
mod home;
mod owner;
mod pid_file;
mod postgres;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub use postgres::PrivatePostgres;

use crate::config::Secret;

/// Where `up` keeps its data unless `--data-dir` says otherwise.
pub const DATA_DIR_DEFAULT: &str = ".postrider";

/// A data directory that this process has for itself.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Opens the directory, making it if need be, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        // Others may pass through to the cluster's own directory, which may belong to another
        // user; every file in here is closed to them on its own.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(path)
            .with_context(|| format!("could not make the data directory {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("could not open the data directory {}", path.display()))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .with_context(|| format!("could not write to {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `postrider up` is using {}; stop it or choose another --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("could not lock {}", path.display()))
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret kept in the file `name`; made on the first start.
    pub fn secret(&self, name: &str, prefix: &str) -> anyhow::Result<Secret> {
        kept_secret(&self.path, name, prefix)
    }

    /// Leaves the address of the database to the other commands.
    pub fn write_database_url(&self, url: &Secret) -> anyhow::Result<()> {
        write_private(&self.path.join("database_url"), url.reveal())
    }
}

/// The secret kept in the file `name` of `dir`; made if it is not there.
fn kept_secret(dir: &Path, name: &str, prefix: &str) -> anyhow::Result<Secret> {
    if let Some(secret) = read_secret(dir, name) {
        return Ok(secret);
    }
    let secret = Secret::random(prefix);
    write_private(&dir.join(name), secret.reveal())?;
    Ok(secret)
}

/// What an `up` left in `data_dir` under `name`, if there was one.
pub fn read_secret(data_dir: &Path, name: &str) -> Option<Secret> {
    let text = std::fs::read_to_string(data_dir.join(name)).ok()?;
    Some(Secret::new(text.trim())).filter(|secret| !secret.reveal().is_empty())
}

/// Writes a file that only its owner may read, all or nothing.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fresh_path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("postrider-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        path
    }

    #[test]
    fn a_secret_is_kept_across_starts_and_closed_to_others() {
        let path = fresh_path("secret");

        let first = DataDir::open(&path)
            .unwrap()
            .secret("api_key", "pr_")
            .unwrap();
        let second = DataDir::open(&path)
            .unwrap()
            .secret("api_key", "pr_")
            .unwrap();

        assert_eq!(first, second);
        assert_eq!(first.reveal().len(), 3 + 64);
        let mode = std::fs::metadata(path.join("api_key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_second_up_on_the_same_directory_is_refused() {
        let path = fresh_path("lock");

        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        drop(first);

        assert!(
            error.to_string().starts_with("another `postrider up`"),
            "{error}"
        );
        assert!(DataDir::open(&path).is_ok());
        std::fs::remove_dir_all(path).unwrap();
    }
}

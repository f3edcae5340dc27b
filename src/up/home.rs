//! Where the private Postgres lives: in the data directory, if its user can get there.
//!
//! Root's own directories are closed to others, and Postgres does not run as root. Then the cluster
//! is kept under `/var/lib/postrider`, in a directory named after the data directory, which links
//! to it.

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tracing::info;

use super::DataDir;
use super::owner::Owner;

/// Open to everybody's passage on every system that has it.
const SHARED: &str = "/var/lib/postrider";

/// The directory that holds the cluster, its log and its password.
pub(super) fn find(data_dir: &DataDir, owner: Option<&Owner>) -> anyhow::Result<PathBuf> {
    let path = data_dir.path();
    let Some(owner) = owner else {
        return Ok(path.to_owned());
    };
    if owner.check_can_reach(&path.join("postgres")).is_ok() {
        return Ok(path.to_owned());
    }
    let home = Path::new(SHARED).join(name_of(path));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&home)
        .with_context(|| format!("could not make {}", home.display()))?;
    owner.check_can_reach(&home.join("postgres"))?;
    let link = path.join("postgres");
    if link.symlink_metadata().is_err() {
        symlink(home.join("postgres"), &link)
            .with_context(|| format!("could not make the link {}", link.display()))?;
    }
    info!(home = %home.display(), "the data directory is closed to postgres, which lives elsewhere");
    Ok(home)
}

/// `/root/shop/.postrider` as the name of one directory.
fn name_of(path: &Path) -> String {
    path.to_string_lossy().trim_matches('/').replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_named_after_the_data_directory() {
        assert_eq!(
            name_of(Path::new("/root/shop/.postrider")),
            "root-shop-.postrider"
        );
    }
}

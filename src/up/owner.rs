//! Who runs the private Postgres: it refuses to run as root, so root lends it another user.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Users that root lends, in order of preference.
const LENT: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    name: String,
    uid: u32,
    gid: u32,
}

impl Owner {
    /// The user to run Postgres as; `None` means ourselves, who are not root.
    ///
    /// Who we are is told by a file that we make in `dir`.
    pub(super) fn for_us(dir: &Path) -> anyhow::Result<Option<Self>> {
        let probe = dir.join(format!("probe.{}", std::process::id()));
        let uid = File::create(&probe)
            .and_then(|file| file.metadata())
            .map(|metadata| metadata.uid())
            .with_context(|| format!("could not write to {}", dir.display()))?;
        std::fs::remove_file(&probe).context("could not remove a file just made")?;
        if uid != 0 {
            return Ok(None);
        }
        let passwd =
            std::fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
        match LENT.iter().find_map(|name| Self::in_passwd(&passwd, name)) {
            Some(owner) => Ok(Some(owner)),
            None => bail!(
                "Postgres does not run as root, and neither `postgres` nor `nobody` exists here; \
                 run as an ordinary user, or set DATABASE_URL"
            ),
        }
    }

    fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let fields: Vec<&str> = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        let uid = fields.get(2)?.parse().ok()?;
        let gid = fields.get(3)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            uid,
            gid,
        })
    }

    /// Lets `command` run as this user.
    pub(super) fn lend(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or a whole directory to this user.
    pub(super) fn give(&self, path: &Path) -> std::io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))?;
        if path.symlink_metadata()?.is_dir() {
            for entry in std::fs::read_dir(path)? {
                let entry = entry?.path();
                if entry.is_symlink() {
                    continue;
                }
                self.give(&entry)?;
            }
        }
        Ok(())
    }

    /// Whether `path` belongs to this user already.
    pub(super) fn owns(&self, path: &Path) -> bool {
        path.metadata()
            .is_ok_and(|metadata| metadata.uid() == self.uid)
    }

    /// Fails, saying where, if this user cannot pass through the directories above `path`.
    pub(super) fn check_can_reach(&self, path: &Path) -> anyhow::Result<()> {
        for dir in path.ancestors().skip(1) {
            let metadata = dir
                .metadata()
                .with_context(|| format!("could not look at {}", dir.display()))?;
            if !self.can_pass(&metadata) {
                bail!(
                    "Postgres runs as `{name}` here, who cannot pass through {dir}; choose a \
                     --data-dir elsewhere, such as /var/lib/postrider, run as an ordinary user, or \
                     `chmod o+x {dir}`",
                    name = self.name,
                    dir = dir.display(),
                );
            }
        }
        Ok(())
    }

    fn can_pass(&self, dir: &Metadata) -> bool {
        let bit = match dir {
            _ if dir.uid() == self.uid => 0o100,
            _ if dir.gid() == self.gid => 0o010,
            _ => 0o001,
        };
        dir.mode() & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let nobody = Owner {
            name: "nobody".to_owned(),
            uid: 65534,
            gid: 65533,
        };
        assert_eq!(Owner::in_passwd(PASSWD, "nobody"), Some(nobody));
        assert_eq!(Owner::in_passwd(PASSWD, "no"), None);
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        let dir = std::env::temp_dir().join(format!("postrider-closed-{}", std::process::id()));
        let inner = dir.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        let mut permissions = dir.metadata().unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
        std::fs::set_permissions(&dir, permissions).unwrap();
        let stranger = Owner {
            name: "stranger".to_owned(),
            uid: 4_000_001,
            gid: 4_000_001,
        };

        let error = stranger.check_can_reach(&inner).unwrap_err().to_string();

        std::fs::remove_dir_all(&dir).unwrap();
        assert!(
            error.contains(&format!("pass through {};", dir.display())),
            "{error}"
        );
    }
}

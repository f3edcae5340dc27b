//! `postmaster.pid`: which server has a cluster, and whether it is ready or long gone.

use std::path::Path;

/// What a server writes about itself into its data directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    pub(super) is_ready: bool,
}

impl PidFile {
    pub(super) fn read(dir: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(dir.join("postmaster.pid")).ok()?)
    }

    /// The first line is the process, the eighth its state.
    fn parse(text: &str) -> Option<Self> {
        let pid = text.lines().next()?.trim().parse().ok()?;
        let is_ready = text
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready");
        Some(Self { pid, is_ready })
    }

    /// Whether no process of that number exists. Where `/proc` does not tell, it is taken for alive.
    pub(super) fn is_gone(&self) -> bool {
        Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    /// Whether the process is alive and a Postgres on `dir`. Where `/proc` does not tell, it is
    /// taken for one: `pg_ctl` looks again.
    pub(super) fn is_server_of(&self, dir: &Path) -> bool {
        if !Path::new("/proc/self/cmdline").exists() {
            return true;
        }
        let Ok(command) = std::fs::read(format!("/proc/{}/cmdline", self.pid)) else {
            return false;
        };
        command
            .split(|byte| *byte == 0)
            .any(|argument| argument == dir.as_os_str().as_encoded_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_tells_the_process_and_whether_it_is_ready() {
        let text = "7324\n/data\n1732144000\n54999\n\n127.0.0.1\n  54999001 3\nready   \n";
        assert_eq!(
            PidFile::parse(text),
            Some(PidFile {
                pid: 7324,
                is_ready: true
            })
        );
        let starting = text.replace("ready   ", "starting");
        assert_eq!(
            PidFile::parse(&starting),
            Some(PidFile {
                pid: 7324,
                is_ready: false
            })
        );
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn the_pid_of_another_program_is_not_taken_for_the_server() {
        let us = PidFile {
            pid: std::process::id(),
            is_ready: true,
        };
        assert!(!us.is_server_of(Path::new("/nonexistent/postgres")));
    }
}

//! What a process uses, as the system tells it.

use std::time::Duration;

use anyhow::Context;

/// Ticks per second of the times in `/proc`: fixed for programs, whatever the kernel's own.
const TICKS_PER_SECOND: u64 = 100;

/// Where `utime` and `stime` are, after the name in parentheses.
const UTIME: usize = 11;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) rss_bytes: u64,
    pub(super) peak_bytes: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}"))
                .with_context(|| format!("process {pid} cannot be looked at"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let bytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
            let kibibytes = kibibytes.and_then(|text| text.parse::<u64>().ok());
            kibibytes.map(|kibibytes| kibibytes * 1024)
        };
        let unknown = || format!("the system does not tell what process {pid} uses");
        let (_, after_name) = stat.rsplit_once(')').with_context(unknown)?;
        let ticks = after_name
            .split_whitespace()
            .enumerate()
            .filter(|(n, _)| (UTIME..UTIME + 2).contains(n))
            .filter_map(|(_, text)| text.parse::<u64>().ok())
            .sum::<u64>();
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            rss_bytes: bytes("VmRSS:").with_context(unknown)?,
            peak_bytes: bytes("VmHWM:").with_context(unknown)?,
        })
    }
}

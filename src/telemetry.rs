//! Logs: human on a terminal, one JSON object per line otherwise.
//!
//! They go to stderr, so that a command's own output stays clean. What is logged never contains
//! addresses, contents, payloads or tokens: messages are constant and values are ids and counts.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for this process. A filter that cannot be read is an error.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| {
        anyhow::anyhow!("log.filter is not a log filter such as `info`: {error}")
    })?;
    let is_human = match config.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if is_human {
        builder
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("could not start logging: {error}"))
}

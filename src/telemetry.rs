//! Logs: human on a terminal, one JSON object per line otherwise.
//!
//! They go to stderr, so that a command's own output stays clean. What is logged never contains
//! addresses, contents, payloads or tokens: messages are constant and values are ids and counts.
//! The libraries we stand on do not promise that much below `info`, where they name hosts, so
//! they are held there unless the filter names them.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogConfig, LogFormat};

/// Libraries that log, below `info`, what they are given.
const TALKATIVE: [&str; 7] = [
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "sqlx",
    "tungstenite",
];

/// Starts logging for this process. A filter that cannot be read is an error.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| {
        anyhow::anyhow!("log.filter is not a log filter such as `info`: {error}")
    })?;
    let held_back = held_back(&config.filter);
    let restraint = filter_fn(move |line| {
        *line.level() <= LevelFilter::INFO || !belongs_to(line.target(), &held_back)
    });
    let is_human = match config.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if is_human {
        let is_terminal = std::io::stderr().is_terminal();
        lines.with_target(false).with_ansi(is_terminal).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(restraint)))
        .try_init()
        .map_err(|error| anyhow::anyhow!("could not start logging: {error}"))
}

/// The talkative libraries that `filter` does not name.
fn held_back(filter: &str) -> Vec<&'static str> {
    let names = |library: &str| {
        let mut targets = filter
            .split(',')
            .map(|it| it.trim().split(['=', ':', '[']).next());
        targets.any(|target| target == Some(library))
    };
    TALKATIVE
        .into_iter()
        .filter(|library| !names(library))
        .collect()
}

fn belongs_to(target: &str, libraries: &[&str]) -> bool {
    let library = target.split("::").next().unwrap_or(target);
    libraries.contains(&library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_held_back_unless_the_filter_names_them() {
        let held = held_back("debug,hyper::proto=trace,sqlx=debug");

        assert!(belongs_to("reqwest::connect", &held));
        assert!(!belongs_to("hyper::proto::h1", &held) && !belongs_to("sqlx::query", &held));
        assert!(!belongs_to("postrider::live", &held) && !belongs_to("queue", &held));
    }
}

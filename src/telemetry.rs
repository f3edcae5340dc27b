//! Logs: human on a terminal, one JSON object per line otherwise.
//!
//! They go to stderr, so that a command's own output stays clean. What is logged never contains
//! addresses, contents, payloads or tokens: messages are constant and values are ids and counts.
//! The libraries we stand on do not promise that much below `info`, where they name hosts, so
//! they are held there unless the filter names them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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
    // One filter for the whole subscriber. With one per layer, a library that only asks whether a
    // line would be logged makes the next line on its thread disappear (seen: every third of ours).
    let filter = EnvFilter::try_new(restrained(&config.filter)).map_err(|error| {
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

/// `filter`, with the talkative libraries held at `info` where it opens them with everything else
/// and does not name them.
fn restrained(filter: &str) -> String {
    let targets = || {
        filter
            .split(',')
            .map(|it| it.trim().split(['=', ':', '[']).next())
    };
    let opens_all = targets()
        .flatten()
        .any(|level| ["debug", "trace"].contains(&level.to_ascii_lowercase().as_str()));
    if !opens_all {
        return filter.to_owned();
    }
    TALKATIVE
        .into_iter()
        .filter(|&library| targets().all(|target| target != Some(library)))
        .fold(filter.to_owned(), |filter, library| {
            format!("{filter},{library}=info")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_held_back_unless_the_filter_names_them() {
        let filter = restrained("debug,hyper::proto=trace,sqlx=debug");

        assert!(filter.starts_with("debug,hyper::proto=trace,sqlx=debug,"));
        assert!(filter.contains("reqwest=info"));
        assert!(!filter.contains("hyper=info") && !filter.contains("sqlx=info"));
        assert!(EnvFilter::try_new(filter).is_ok());
    }

    #[test]
    fn a_filter_that_opens_nothing_stays_as_it_is() {
        for filter in ["warn", "info,postrider::live=debug", "error,queue=trace"] {
            assert_eq!(restrained(filter), filter);
        }
    }
}

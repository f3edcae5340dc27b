//! The command line: one small file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. An error is one line on stderr that says what to
//! do; output for people or programs goes to stdout.

mod bench;
mod completions;
mod config;
mod dead_letters;
mod doctor;
mod jobs;
mod keys;
mod migrate;
mod output;
mod process;
mod queues;
mod replays;
mod rules;
mod send;
mod serve;
mod signature;
mod template;
mod token;
mod up;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Loaded};
use crate::telemetry;
use crate::up::{DATA_DIR_DEFAULT, read_secret};

/// Turns events into deliveries, and loses none.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The configuration file; `postrider.yaml` is read without being named, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where `up` keeps its data. Other commands find its database there when `DATABASE_URL` is
    /// not set.
    #[arg(long, global = true, default_value = DATA_DIR_DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: Postgres, API, live feed and workers.
    Up(up::Args),
    /// Serve the API and the live feed.
    Serve(serve::Args),
    /// Work on jobs.
    Work(work::Args),
    /// Bring the database's schema up to date.
    Migrate,
    /// Submit an event from the shell.
    Send(send::Args),
    /// Create, list, rotate and revoke the API keys of services.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make a token for a user.
    Token(token::Args),
    /// Measure what this machine does, in a scratch database.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Show the queues; pause or resume one.
    Queues(queues::Args),
    /// List the rules; check and apply rules files.
    #[command(subcommand)]
    Rules(rules::Command),
    /// List, show and replay jobs that gave up.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// List, try, check and move templates.
    #[command(subcommand)]
    Template(template::Command),
    /// Show one job, or cancel it.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Say what is wrong with this installation and what to do about it.
    Doctor(doctor::Args),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Write what a shell needs to complete commands.
    Completions(completions::Args),
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = start_runtime().and_then(|runtime| runtime.block_on(Box::pin(run(cli))));
    result.unwrap_or_else(|error| {
        output::complain(&error);
        ExitCode::FAILURE
    })
}

fn start_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { common, command } = cli;
    // These are about the configuration, or do without one.
    match &command {
        Command::Config(command) => return config::run(command, &common),
        Command::Completions(args) => {
            completions::run(args)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Doctor(args) => return doctor::run(&common, args).await,
        Command::Rules(rules::Command::Check { files, json }) => {
            return rules::check(files, *json);
        }
        _ => {}
    }
    let mut loaded = common.load()?;
    telemetry::init(&loaded.config.log)?;
    if !matches!(command, Command::Up(_)) {
        common.adopt_secrets(&mut loaded);
    }
    Box::pin(run_with(loaded.config, &common, command)).await
}

async fn run_with(config: Config, common: &Common, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => Box::pin(up::run(config, common, args)).await?,
        Command::Serve(args) => serve::run(config, args).await?,
        Command::Work(args) => Box::pin(work::run(config, args)).await?,
        Command::Migrate => migrate::run(config).await?,
        Command::Send(args) => send::run(config, args).await?,
        Command::Keys(command) => keys::run(&config, command).await?,
        Command::Token(args) => token::run(&config, &args)?,
        Command::Bench(command) => return bench::run(&config, command).await,
        Command::Queues(args) => queues::run(&config, args).await?,
        Command::Rules(command) => return rules::run(&config, command).await,
        Command::DeadLetters(command) => {
            if !dead_letters::run(&config, command).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Template(command) => {
            if !template::run(&config, command).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Jobs(command) => jobs::run(&config, command).await?,
        // Done already, before there was a configuration.
        Command::Config(_) | Command::Completions(_) | Command::Doctor(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

impl Common {
    /// Reads the configuration.
    fn load(&self) -> Result<Loaded, ConfigError> {
        Loaded::from_environment(self.config.as_deref())
    }

    /// Takes what an `up` left in the data directory for what is not configured.
    fn adopt_secrets(&self, loaded: &mut Loaded) {
        let left = |name: &str| {
            let path = self.data_dir.join(name).display().to_string();
            read_secret(&self.data_dir, name).map(|secret| (secret, path))
        };
        loaded.adopt("database.url", left("database_url"), |config| {
            &mut config.database.url
        });
        loaded.adopt("auth.jwt_secret", left("jwt_secret"), |config| {
            &mut config.auth.jwt_secret
        });
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        let mut waiting = vec![Cli::command()];
        while let Some(command) = waiting.pop() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            waiting.extend(command.get_subcommands().cloned());
        }
    }
}

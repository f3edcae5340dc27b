//! `postrider bench`: what this machine does, in a scratch database.

use std::process::ExitCode;

use crate::bench::{burn_down, deliver, live, pipeline, rules, submit};
use crate::config::Config;

use super::output::{say, say_json};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Burn down a preloaded queue of jobs that do nothing, then hold a steady rate.
    Queue(burn_down::QueueBenchArgs),
    /// Submit events over HTTP and count what is accepted.
    Submit(submit::SubmitBenchArgs),
    /// Submit events over HTTP and count what reaches the feeds.
    Pipeline(pipeline::PipelineBenchArgs),
    /// Send mails or webhooks until the far side has them all.
    Deliver(deliver::DeliverBenchArgs),
    /// Let thousands of sockets stand there, then send to them, then let half of them come back.
    Live(live::LiveBenchArgs),
    /// The clients of `bench live`.
    #[command(hide = true)]
    LiveClients(live::ClientsArgs),
    /// Match events to rules on one core, and time the slowest expressions; needs no database.
    Rules(rules::RulesBenchArgs),
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Queue(args) => {
            let figures = burn_down::run(config, &args).await?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
        Command::Pipeline(args) => {
            let figures = pipeline::run(config, &args).await?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
        Command::Submit(args) => {
            let figures = submit::run(config, &args).await?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
        Command::Deliver(args) => {
            let figures = deliver::run(config, &args).await?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
        Command::Live(args) => {
            let figures = live::run(config, &args).await?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
        Command::LiveClients(args) => live::run_clients(args).await?,
        Command::Rules(args) => {
            let figures = rules::run(&args)?;
            if args.json {
                say_json(&figures)?;
            } else {
                say(&figures.to_string())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

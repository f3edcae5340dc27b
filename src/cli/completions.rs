//! `postrider completions`: what a shell needs to complete our commands.

use std::io::{self, Write};

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell, generate};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell to write for. Source the output from its start-up file.
    shell: ShellName,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let script = script(args.shell);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("could not write to stdout"),
    }
}

fn script(shell: ShellName) -> Vec<u8> {
    match shell {
        ShellName::Bash => written(Shell::Bash),
        ShellName::Zsh => written(Shell::Zsh),
        ShellName::Fish => written(Shell::Fish),
    }
}

fn written(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut super::Cli::command(), "postrider", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_every_command() {
        for shell in ShellName::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in super::super::Cli::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell:?} does not know {name}");
            }
            assert!(
                script.contains("dry-run"),
                "{shell:?} does not know --dry-run"
            );
        }
    }
}

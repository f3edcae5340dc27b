//! `postrider doctor`: what is wrong with this installation, and what to do about it.
//!
//! It looks and changes nothing: no mail is sent, no row is written. Each check is one line, `ok`,
//! `warn` or `fail`, with what was seen and, unless that is fine, what to do. Every look has a
//! bound in time, so that it ends even where everything hangs.
//!
//! `docs/operating.md` says what each line means.

mod database;
mod mail;
mod place;
mod settings;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use queue::Clock;
use serde::Serialize;

use super::Common;
use super::output::{say, say_json};
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// Letters of the longest check's name, and a little air.
const NAME_COLUMNS: usize = 18;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and will trouble somebody one day.
    Warn,
    /// It does not work.
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    seen: String,
    /// What to do, where something is to be done.
    advice: Option<String>,
}

/// What was found, in the order in which it was looked at.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, check: &'static str, seen: impl Into<String>) {
        self.add(check, Verdict::Ok, seen.into(), None);
    }

    fn warn(&mut self, check: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Warn, seen.into(), Some(advice.into()));
    }

    fn fail(&mut self, check: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Fail, seen.into(), Some(advice.into()));
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, seen: String, advice: Option<String>) {
        // A line stays a line, whatever a server says.
        let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        self.findings.push(Finding {
            check,
            verdict,
            seen,
            advice,
        });
    }

    fn has_failed(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.verdict == Verdict::Fail)
    }
}

pub(super) async fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    match common.load() {
        Ok(mut loaded) => {
            report.ok("config", "usable");
            common.adopt_secrets(&mut loaded);
            look(common, &loaded, &mut report).await;
        }
        Err(error) => {
            for problem in error.problems {
                report.fail(
                    "config",
                    problem,
                    "mend it; `postrider config check` looks again",
                );
            }
        }
    }
    print(&report, args.json)?;
    Ok(if report.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Looks at everything that a usable configuration leads to.
async fn look(common: &Common, loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    let clock = Clock::system();
    settings::look(config, report);
    place::look(config, common, report).await;
    mail::look(config, report).await;
    if let Some(store) = database::look(config, &clock, report).await {
        work::look(&store, report).await;
        store.close().await;
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&report.findings);
    }
    for finding in &report.findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let advice = finding.advice.as_deref();
        let advice = advice.map_or_else(String::new, |advice| format!(" -> {advice}"));
        let (check, seen) = (finding.check, &finding.seen);
        say(&format!("{verdict}  {check:<NAME_COLUMNS$}{seen}{advice}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_only_a_failure_fails() {
        let mut report = Report::default();
        report.ok("a", "one\ntwo");
        report.warn("b", "x", "do y");
        assert_eq!(report.findings[0].seen, "one two");
        assert!(!report.has_failed());

        report.fail("c", "x", "do y");
        assert!(report.has_failed());
    }
}

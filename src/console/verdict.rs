//! Whether all is well: one word, and what speaks against it.
//!
//! A pure function of what was seen, so that every case can be read in the tests.

use super::text;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    /// Processes that work; `None` where that is not the viewer's business.
    pub(super) workers: Option<usize>,
    /// Queues with due jobs that nobody serves.
    pub(super) unserved: Vec<String>,
    /// Queues whose oldest due job waits for too long, with its seconds.
    pub(super) late: Vec<(String, f64)>,
    pub(super) paused: Vec<String>,
    /// Jobs that gave up within the last hour.
    pub(super) dead: i64,
    /// Whether there were more than were counted.
    pub(super) is_more_dead: bool,
    pub(super) migrations_missing: usize,
    pub(super) wakes_are_late: bool,
}

/// How things stand, in the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Good,
    Warn,
    Bad,
}

/// One thing that speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) standing: Standing,
    pub(super) text: String,
    /// Where more is to be seen.
    pub(super) link: Option<&'static str>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) standing: Standing,
    /// The worst first.
    pub(super) reasons: Vec<Reason>,
}

impl Standing {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Good => "All is well",
            Self::Warn => "Something wants to be looked at",
            Self::Bad => "Something does not work",
        }
    }
}

const QUEUES: Option<&str> = Some("/console/queues");
const DEAD_LETTERS: Option<&str> = Some("/console/dead-letters");

/// Judges what was seen.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut reasons = Vec::new();
    let mut add = |standing, text, link| {
        reasons.push(Reason {
            standing,
            text,
            link,
        });
    };
    if facts.workers == Some(0) {
        let text = "No process works: what is accepted is kept, and nothing is sent.";
        add(Standing::Bad, text.to_owned(), QUEUES);
    } else {
        for queue in &facts.unserved {
            let text = format!("Nobody works on the queue {queue}.");
            add(Standing::Bad, text, QUEUES);
        }
    }
    for (queue, seconds) in &facts.late {
        let waits = text::seconds(*seconds);
        let text = format!("The queue {queue} is late: its oldest job waits for {waits}.");
        add(Standing::Bad, text, QUEUES);
    }
    if facts.migrations_missing > 0 {
        let text = "The database is older than this program; run `postrider migrate`.";
        add(Standing::Bad, text.to_owned(), None);
    }
    if facts.dead > 0 {
        let jobs = if facts.is_more_dead {
            format!("More than {} jobs", text::number(facts.dead))
        } else {
            text::count(facts.dead, "job", "jobs")
        };
        let text = format!("{jobs} gave up in the last hour.");
        add(Standing::Warn, text, DEAD_LETTERS);
    }
    for queue in &facts.paused {
        let text = format!("The queue {queue} is paused.");
        add(Standing::Warn, text, QUEUES);
    }
    if facts.wakes_are_late {
        let text = "This process hears of news only by polling, so they come a little later.";
        add(Standing::Warn, text.to_owned(), None);
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.standing));
    let worst = reasons.first().map(|reason| reason.standing);
    Verdict {
        standing: worst.unwrap_or(Standing::Good),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            workers: Some(1),
            ..Facts::default()
        }
    }

    #[test]
    fn all_is_well_when_nothing_speaks_against_it() {
        let verdict = judge(&facts());

        assert_eq!(
            (verdict.standing, verdict.reasons.len()),
            (Standing::Good, 0)
        );
        assert_eq!(judge(&Facts::default()).standing, Standing::Good);
    }

    #[test]
    fn the_worst_comes_first_and_decides() {
        let verdict = judge(&Facts {
            paused: vec!["sms".to_owned()],
            dead: 100,
            is_more_dead: true,
            late: vec![("email".to_owned(), 300.0)],
            ..facts()
        });

        assert_eq!(verdict.standing, Standing::Bad);
        let texts: Vec<_> = verdict.reasons.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "The queue email is late: its oldest job waits for 5 min.",
                "More than 100 jobs gave up in the last hour.",
                "The queue sms is paused.",
            ]
        );
    }

    #[test]
    fn without_workers_that_is_said_once() {
        let verdict = judge(&Facts {
            workers: Some(0),
            unserved: vec!["email".to_owned(), "sms".to_owned()],
            ..facts()
        });

        assert_eq!(verdict.reasons.len(), 1);
        assert_eq!(verdict.standing, Standing::Bad);
    }
}

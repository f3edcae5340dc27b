//! What a handler answers: how the attempt ended, which effects follow, which jobs come next.
//!
//! An outcome is data. The settler writes it, together with others, in one transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::NewJob;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Done. The row is deleted.
    Complete,
    /// Failed, but may succeed later. `after` overrides the kind's backoff. Once the attempts are
    /// used up this is a burial.
    Retry {
        after: Option<Duration>,
        error: String,
    },
    /// Not now: again at `until`, at no cost. `attempt` stays, for it is the fence; the budget is
    /// counted by `failures`.
    Snooze { until: DateTime<Utc> },
    /// No longer wanted. The row is deleted.
    Cancel,
    /// Hopeless: to the dead letters, with every error so far. `reason` is a stable word.
    Bury { reason: String, error: String },
    /// Given back unstarted, at shutdown: available again at once, the attempt not charged.
    GiveBack,
}

/// What became of one job.
///
/// `E` is the domain's effect type: rows to insert or move. The queue carries effects to the
/// settlement without knowing what they are.
#[derive(Debug, Clone)]
#[must_use = "an outcome that is not returned is an attempt without an end"]
pub struct Outcome<E> {
    pub ending: Ending,
    pub effects: Vec<E>,
    pub jobs: Vec<NewJob>,
}

impl<E> Outcome<E> {
    pub fn new(ending: Ending) -> Self {
        Self {
            ending,
            effects: Vec::new(),
            jobs: Vec::new(),
        }
    }

    pub fn completed() -> Self {
        Self::new(Ending::Complete)
    }

    pub fn cancelled() -> Self {
        Self::new(Ending::Cancel)
    }

    pub fn snoozed(until: DateTime<Utc>) -> Self {
        Self::new(Ending::Snooze { until })
    }

    pub fn retry(after: Option<Duration>, error: impl Into<String>) -> Self {
        Self::new(Ending::Retry {
            after,
            error: error.into(),
        })
    }

    pub fn buried(reason: impl Into<String>, error: impl Into<String>) -> Self {
        Self::new(Ending::Bury {
            reason: reason.into(),
            error: error.into(),
        })
    }

    /// Adds a row change that is committed with the ending.
    pub fn with(mut self, effect: E) -> Self {
        self.effects.push(effect);
        self
    }

    /// Adds a job that is enqueued with the ending.
    pub fn then(mut self, job: NewJob) -> Self {
        self.jobs.push(job);
        self
    }
}

/// An unexpected error of a handler: the attempt is retried with backoff.
///
/// A handler that knows better answers with an [`Outcome`] instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// Keeps an error with its chain of causes.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(text)
    }
}

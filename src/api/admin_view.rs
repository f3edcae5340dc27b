//! How dead letters, replays and queues look from outside.

use std::collections::BTreeMap;

use domain::{DigestId, EventId, Message, NotificationId, ReplayId, ReplayResult, ReplayState};
use queue::JobId;
use queue::dead_letter::DeadLetter;
use queue::inspect::QueueDepth;
use serde::Serialize;
use serde_json::Value;
use store::replays::{Replay, ReplayItem};
use utoipa::ToSchema;
use uuid::Uuid;

use super::openapi::words::{ReplayResultWord, ReplayStateWord};
use super::page::Page;
use super::view::{DeliveryView, Moment};

/// A job that will not run again unless it is replayed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterView {
    #[schema(value_type = String)]
    id: JobId,
    /// The same as `id`, as other systems call it.
    #[schema(value_type = String)]
    job_id: JobId,
    queue: String,
    kind: String,
    /// A stable word: `attempts_exhausted`, `permanent`, `outcome_unknown`, `crash_loop`, ….
    reason: String,
    /// The error that killed it.
    error: String,
    /// Claims so far.
    attempt: i16,
    failures: i16,
    max_attempts: i16,
    /// Ids, not content.
    #[schema(value_type = Object)]
    payload: Value,
    enqueued_at: Moment,
    died_at: Moment,
}

impl DeadLetterView {
    pub(super) fn of(letter: DeadLetter) -> Self {
        Self {
            id: letter.job_id,
            job_id: letter.job_id,
            error: letter.last_error().to_owned(),
            queue: letter.queue,
            kind: letter.kind,
            reason: letter.reason,
            attempt: letter.attempt,
            failures: letter.failures,
            max_attempts: letter.max_attempts,
            payload: letter.payload,
            enqueued_at: Moment(letter.enqueued_at),
            died_at: Moment(letter.died_at),
        }
    }
}

/// A dead letter with every error it met, and what it was about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WholeDeadLetter)]
pub(crate) struct WholeDeadLetterView {
    #[serde(flatten)]
    letter: DeadLetterView,
    /// `[{attempt, at, error}]`, oldest first.
    #[schema(value_type = Vec<Object>)]
    errors: Value,
    #[serde(flatten)]
    subject: SubjectView,
}

impl WholeDeadLetterView {
    pub(super) fn of(letter: DeadLetter, subject: SubjectView) -> Self {
        Self {
            errors: letter.errors.clone(),
            letter: DeadLetterView::of(letter),
            subject,
        }
    }
}

/// What a dead letter was about; what does not apply is null.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = DeadLetterSubject)]
pub(super) struct SubjectView {
    #[schema(value_type = Option<String>)]
    event_id: Option<EventId>,
    #[schema(value_type = Option<String>)]
    notification_id: Option<NotificationId>,
    #[schema(value_type = Option<String>)]
    digest_id: Option<DigestId>,
    /// With what its providers answered.
    delivery: Option<DeliveryView>,
    /// What is handed to the provider, once rendered.
    #[schema(value_type = Option<Object>)]
    message: Option<Message>,
}

impl SubjectView {
    pub(super) fn of_event(id: EventId) -> Self {
        Self {
            event_id: Some(id),
            ..Self::default()
        }
    }

    pub(super) fn of_digest(id: DigestId) -> Self {
        Self {
            digest_id: Some(id),
            ..Self::default()
        }
    }

    pub(super) fn of_notification(id: NotificationId) -> Self {
        Self {
            notification_id: Some(id),
            ..Self::default()
        }
    }

    pub(super) fn of_delivery(
        notification_id: NotificationId,
        delivery: DeliveryView,
        message: Option<Message>,
    ) -> Self {
        Self {
            event_id: None,
            digest_id: None,
            notification_id: Some(notification_id),
            delivery: Some(delivery),
            message,
        }
    }
}

/// A replay of dead letters, and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(super) struct ReplayView {
    #[schema(value_type = String)]
    replay_id: ReplayId,
    #[schema(value_type = ReplayStateWord)]
    state: ReplayState,
    /// How many dead letters matched when it began.
    matched: i64,
    replayed: i64,
    skipped: i64,
    /// How many came to each result.
    #[schema(value_type = Object)]
    results: BTreeMap<&'static str, i64>,
    /// At most so many in any second.
    rate: Option<u32>,
    include_expired: bool,
    /// As it was asked for.
    #[schema(value_type = Object)]
    filter: Value,
    /// Who asked for it.
    actor: String,
    created_at: Moment,
    updated_at: Moment,
    finished_at: Option<Moment>,
}

impl ReplayView {
    pub(super) fn of(replay: Replay) -> Self {
        let replayed = replay.counts.of(ReplayResult::Replayed);
        let results = replay.counts.iter();
        Self {
            replay_id: replay.replay_id,
            state: replay.state,
            matched: replay.matched,
            replayed,
            skipped: replay.counts.total() - replayed,
            results: results
                .map(|(result, count)| (result.as_str(), count))
                .collect(),
            rate: replay.rate,
            include_expired: replay.include_expired,
            filter: replay.filter,
            actor: replay.actor,
            created_at: Moment(replay.created_at),
            updated_at: Moment(replay.updated_at),
            finished_at: replay.finished_at.map(Moment),
        }
    }
}

/// A replay with what became of each dead letter, page by page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WholeReplay)]
pub(super) struct WholeReplayView {
    #[serde(flatten)]
    pub(super) replay: ReplayView,
    #[serde(flatten)]
    pub(super) items: Page<ReplayItemView>,
}

/// What became of one dead letter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayItem)]
pub(super) struct ReplayItemView {
    #[schema(value_type = String)]
    job_id: Uuid,
    #[schema(value_type = ReplayResultWord)]
    result: ReplayResult,
    at: Moment,
}

impl ReplayItemView {
    pub(super) fn of(item: ReplayItem) -> Self {
        Self {
            job_id: item.job_id,
            result: item.result,
            at: Moment(item.at),
        }
    }
}

/// What one queue holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueView {
    name: String,
    paused: bool,
    paused_at: Option<Moment>,
    /// All of them: available, scheduled and running.
    depth: i64,
    /// Due and waiting.
    available: i64,
    /// Waiting for their moment: scheduled, or to be tried again.
    scheduled: i64,
    running: i64,
    /// How long the oldest due job has waited; 0 if none is.
    oldest_available_seconds: f64,
}

impl QueueView {
    pub(super) fn of(depth: QueueDepth) -> Self {
        Self {
            name: depth.queue,
            paused: depth.paused_at.is_some(),
            paused_at: depth.paused_at.map(Moment),
            depth: depth.available + depth.scheduled + depth.running,
            available: depth.available,
            scheduled: depth.scheduled,
            running: depth.running,
            oldest_available_seconds: depth.oldest_available_seconds,
        }
    }
}

/// Whether a queue is paused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueSwitch)]
pub(super) struct SwitchView {
    name: &'static str,
    paused: bool,
}

impl SwitchView {
    pub(super) fn of(name: &'static str, paused: bool) -> Self {
        Self { name, paused }
    }
}

//! The replay of dead letters from the shell: it begins, is watched, looked at and stopped.
//!
//! What is asked for is a row before anything happens, and workers run it. So does this process
//! while it watches, by the same batches, for an operator may be the only one awake: whoever dies,
//! the other goes on where it stands.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{ReplayId, ReplayResult, ReplayState};
use indicatif::ProgressBar;
use queue::dead_letter::DeadLetterFilter;
use queue::{Clock, Database};
use serde_json::{Value, json};
use store::Store;
use store::replays::Replay;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use workers::replay::{Request, Step, advance, begin, cancel};

use super::output::{complain_line, say, say_json, say_table};
use super::process::database;
use super::queues::wake;
use super::signature::{actor, sign};
use crate::config::Config;

/// Results shown of one replay.
const ITEMS_SHOWN: i64 = 1000;

/// Batches that may fail in a row, for a database that is away for a moment.
const FAILURES_MAX: u32 = 30;

/// Pause after a batch that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be replayed, and how.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) filter: DeadLetterFilter,
    pub(super) is_dry_run: bool,
    pub(super) rate: Option<u32>,
    pub(super) include_expired: bool,
    pub(super) json: bool,
}

/// Begins a replay and watches it; answers whether all was done that was asked for.
pub(super) async fn replay(config: &Config, store: &Store, wish: Wish) -> anyhow::Result<bool> {
    let named = wish.filter.ids.as_ref().map_or(0, Vec::len) as i64;
    let (replay_id, matched) = if wish.is_dry_run {
        let mut db = store.acquire().await?;
        let matched = workers::dead_letters::count(&mut db, None, &wish.filter).await?;
        (None, matched)
    } else {
        start(store, &wish).await?
    };
    if matched < named {
        complain_line(&format!(
            "{} of the ids name no dead letter; `postrider jobs show ID` says what became of one",
            named - matched
        ));
    }
    let Some(replay_id) = replay_id else {
        if wish.json {
            say_json(
                &json!({"replay_id": null, "matched": matched, "replayed": 0,
                             "dry_run": wish.is_dry_run}),
            )?;
        } else if wish.is_dry_run {
            say(&format!("{matched} would be replayed"))?;
        } else {
            say(&format!("0 of {} replayed", matched.max(named)))?;
        }
        // An id that is no dead letter was not done.
        return Ok(named <= matched);
    };
    let is_done = watch(config, store, replay_id, named, wish.json).await?;
    Ok(is_done && named <= matched)
}

/// Writes down the replay, unless there is nothing to replay.
async fn start(store: &Store, wish: &Wish) -> anyhow::Result<(Option<ReplayId>, i64)> {
    let request = Request {
        filter: wish.filter.clone(),
        tenant_id: None,
        rate: wish.rate,
        include_expired: wish.include_expired,
        actor: actor(),
    };
    let mut tx = store.begin().await?;
    let begun = begin(&mut tx, &request, &Clock::system()).await?;
    if begun.matched == 0 {
        tx.rollback().await?;
        return Ok((None, 0));
    }
    let detail = request.audited(begun.matched);
    let id = begun.replay_id.to_string();
    sign(&mut tx, "dead_letters.replayed", &id, Some(detail)).await?;
    tx.commit().await?;
    Ok((Some(begun.replay_id), begun.matched))
}

/// Runs a replay together with the workers until it is over. An interrupt leaves it to them.
pub(super) async fn watch(
    config: &Config,
    store: &Store,
    replay_id: ReplayId,
    named: i64,
    json: bool,
) -> anyhow::Result<bool> {
    let mut interrupt =
        signal(SignalKind::interrupt()).context("could not listen for an interrupt")?;
    // Draws only where a terminal looks.
    let progress = ProgressBar::new(0);
    let mut failures = 0;
    let replay = loop {
        let advanced = match advance(store, replay_id, None).await {
            Ok(advanced) => advanced,
            Err(error) if error.is_passing() && failures < FAILURES_MAX => {
                failures += 1;
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => {
                let advice = format!(
                    "the replay stands still unless workers run; \
                     `postrider dead-letters watch {replay_id}` goes on with it"
                );
                return Err(error).context(advice);
            }
        };
        failures = 0;
        wake_all(database(config)?, &advanced.queues).await;
        let Some(replay) = advanced.replay else {
            bail!("there is no replay {replay_id}; `postrider dead-letters replays` lists them");
        };
        progress.set_length(replay.matched.max(replay.counts.total()) as u64);
        progress.set_position(replay.counts.total() as u64);
        let pause = match advanced.step {
            Step::More => Duration::ZERO,
            Step::Wait { wait, .. } => wait,
            Step::Over(_) => break replay,
        };
        if is_interrupted(&mut interrupt, pause).await {
            progress.finish_and_clear();
            complain_line(&format!(
                "the replay goes on where workers run; `postrider dead-letters watch {replay_id}` \
                 watches it again, `postrider dead-letters cancel-replay {replay_id}` stops it"
            ));
            return Ok(false);
        }
    };
    progress.finish_and_clear();
    say_end(&replay, named, json)
}

async fn wake_all(database: Database, queues: &BTreeSet<String>) {
    if !queues.is_empty() {
        wake(database, queues.iter().map(String::as_str)).await;
    }
}

/// Waits for `pause`, unless somebody interrupts.
async fn is_interrupted(interrupt: &mut Signal, pause: Duration) -> bool {
    tokio::select! {
        biased;
        _ = interrupt.recv() => true,
        () = sleep(pause) => false,
    }
}

/// Says what became of it; answers whether each dead letter that matched was replayed.
fn say_end(replay: &Replay, named: i64, json: bool) -> anyhow::Result<bool> {
    let replayed = replay.counts.of(ReplayResult::Replayed);
    if json {
        say_json(&view(replay))?;
    } else {
        let asked = replay.matched.max(named);
        say(&format!("{replayed} of {asked} replayed"))?;
        for (result, count) in replay.counts.iter().skip(1).filter(|(_, count)| *count > 0) {
            say(&format!("{count} skipped: {}", reason(result)))?;
        }
        if replay.state != ReplayState::Done {
            complain_line(&format!("the replay is {}", replay.state));
        }
    }
    Ok(replay.state == ReplayState::Done && replayed == replay.matched)
}

fn reason(result: ReplayResult) -> &'static str {
    match result {
        ReplayResult::Replayed => "not at all",
        ReplayResult::SkippedDelivered => "sent or delivered meanwhile",
        ReplayResult::SkippedCancelled => "cancelled or suppressed meanwhile",
        ReplayResult::SkippedExpired => "expired; --include-expired sends them nevertheless",
        ReplayResult::SkippedGone => "not there any more",
        ReplayResult::SkippedConflict => "another job with the same unique key is open",
    }
}

/// Shows replays, or one with what it did.
pub(super) async fn show(
    store: &Store,
    replay_id: Option<ReplayId>,
    limit: i64,
    json: bool,
) -> anyhow::Result<()> {
    let mut db = store.acquire().await?;
    let Some(replay_id) = replay_id else {
        let replays = store::replays::list_replays(&mut db, None, None, limit).await?;
        return list(&replays, json);
    };
    let Some(replay) = store::replays::find_replay(&mut db, replay_id).await? else {
        bail!("there is no replay {replay_id}; `postrider dead-letters replays` lists them");
    };
    let items = store::replays::list_items(&mut db, replay_id, None, ITEMS_SHOWN).await?;
    if json {
        let mut value = view(&replay);
        value["items"] = items
            .iter()
            .map(|item| json!({"job_id": item.job_id, "result": item.result, "at": item.at}))
            .collect();
        return say_json(&value);
    }
    list(std::slice::from_ref(&replay), false)?;
    say(&format!("asked for by {}: {}", replay.actor, replay.filter))?;
    say_table(
        ["JOB", "AT", "RESULT"],
        items.iter().map(|item| {
            [
                item.job_id.to_string(),
                moment(item.at),
                item.result.to_string(),
            ]
        }),
    )
}

fn list(replays: &[Replay], json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&replays.iter().map(view).collect::<Vec<_>>());
    }
    say_table(
        [
            "ID", "BEGAN", "STATE", "MATCHED", "REPLAYED", "SKIPPED", "BY",
        ],
        replays.iter().map(|replay| {
            let replayed = replay.counts.of(ReplayResult::Replayed);
            [
                replay.replay_id.to_string(),
                moment(replay.created_at),
                replay.state.to_string(),
                replay.matched.to_string(),
                replayed.to_string(),
                (replay.counts.total() - replayed).to_string(),
                replay.actor.clone(),
            ]
        }),
    )
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn view(replay: &Replay) -> Value {
    let results: serde_json::Map<String, Value> = replay
        .counts
        .iter()
        .map(|(result, count)| (result.to_string(), count.into()))
        .collect();
    json!({
        "replay_id": replay.replay_id,
        "state": replay.state,
        "matched": replay.matched,
        "replayed": replay.counts.of(ReplayResult::Replayed),
        "dry_run": false,
        "results": results,
        "rate": replay.rate,
        "include_expired": replay.include_expired,
        "filter": replay.filter,
        "actor": replay.actor,
        "created_at": replay.created_at,
        "finished_at": replay.finished_at,
    })
}

/// Stops a replay. What was replayed before stays so.
pub(super) async fn stop(store: &Store, replay_id: ReplayId, json: bool) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    let before = store::replays::find_replay(&mut tx, replay_id).await?;
    let (Some(before), Some(replay)) = (before, cancel(&mut tx, replay_id, None).await?) else {
        bail!("there is no replay {replay_id}; `postrider dead-letters replays` lists them");
    };
    if replay.state != ReplayState::Cancelled {
        bail!(
            "the replay is {} already; there is nothing to stop",
            replay.state
        );
    }
    if before.state != ReplayState::Cancelled {
        sign(&mut tx, "replay.cancelled", &replay_id.to_string(), None).await?;
    }
    tx.commit().await?;
    if json {
        return say_json(&view(&replay));
    }
    say(&format!(
        "cancelled after {} of {}",
        replay.counts.total(),
        replay.matched
    ))
}

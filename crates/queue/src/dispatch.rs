//! Dispatch: from a claim to the tasks of one kind.
//!
//! Payloads are parsed, and everything a whole claim needs is loaded at once, before single jobs go
//! to apalis: 500 jobs load their rows in one statement each, not in 500.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use crate::backend::{JobTask, message_of, task};
use crate::clock::Clock;
use crate::job::Job;
use crate::lease::Held;
use crate::outcome::{Ending, Failure};

/// Claims are loaded together until they are so many jobs.
const TOGETHER: usize = 500;

/// How long a load may take. One that hangs is on a connection that is dead and does not know it.
const LOAD_MAX: Duration = Duration::from_secs(15);

/// Loads of a careful job that may fail uncharged, and how long it waits after each.
const CAREFUL_LOADS_MAX: i16 = 100;
const CAREFUL_PAUSE: Duration = Duration::from_secs(30);

/// Pauses between tries of a load that failed, before its jobs are loaded one by one.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Takes claims from the engine until it stops, and hands tasks to the worker of kind `J`.
///
/// `prepare` answers one `L` per job, in order. If it fails for a claim it is asked again, and then
/// job by job, so that one job that cannot be loaded fails alone.
pub(crate) async fn dispatch<J, L, E, P, F>(
    mut claims: mpsc::Receiver<Vec<Held<E>>>,
    tasks: mpsc::Sender<JobTask<J>>,
    prepare: P,
    clock: Clock,
) where
    J: Job,
    L: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    P: Fn(Vec<J>) -> F + Send + Sync,
    F: Future<Output = Result<Vec<L>, Failure>> + Send,
{
    while let Some(mut claim) = claims.recv().await {
        // What came while the last was loaded is loaded together.
        while claim.len() < TOGETHER
            && let Ok(more) = claims.try_recv()
        {
            claim.extend(more);
        }
        let (jobs, held) = parse::<J, E>(claim);
        for (job, loaded, held) in load(jobs, held, &prepare, &clock).await {
            // Room for every slot of the queue: this waits for nobody. It fails only when the
            // worker is gone; then the dropped lease gives the job back.
            if tasks.send(task(job, loaded, held)).await.is_err() {
                return;
            }
        }
    }
}

/// Reads the payloads; a job whose payload does not parse is buried with its text kept.
fn parse<J: Job, E>(claim: Vec<Held<E>>) -> (Vec<J>, Vec<Held<E>>) {
    let mut jobs = Vec::with_capacity(claim.len());
    let mut kept = Vec::with_capacity(claim.len());
    for held in claim {
        match J::deserialize(&held.lease().payload) {
            Ok(job) => {
                jobs.push(job);
                kept.push(held);
            }
            Err(error) => held.end(Ending::Bury {
                reason: "bad_payload".to_owned(),
                error: format!("the payload does not parse: {error}"),
            }),
        }
    }
    (jobs, kept)
}

async fn load<J, L, E, P, F>(
    jobs: Vec<J>,
    held: Vec<Held<E>>,
    prepare: &P,
    clock: &Clock,
) -> Vec<(J, L, Held<E>)>
where
    J: Job,
    P: Fn(Vec<J>) -> F,
    F: Future<Output = Result<Vec<L>, Failure>>,
{
    if jobs.is_empty() {
        return Vec::new();
    }
    for pause in PAUSES {
        match ask(prepare, jobs.clone()).await {
            Ok(loaded) => {
                return jobs
                    .into_iter()
                    .zip(loaded)
                    .zip(held)
                    .map(|((job, loaded), held)| (job, loaded, held))
                    .collect();
            }
            Err(error) => {
                warn!(job.kind = J::KIND, %error, "loading for a claim failed");
                tokio::time::sleep(pause).await;
            }
        }
    }
    let mut ready = Vec::new();
    for (job, held) in jobs.into_iter().zip(held) {
        match ask(prepare, vec![job.clone()]).await {
            Ok(loaded) => {
                let one = std::iter::zip(loaded, [(job, held)]);
                ready.extend(one.map(|(loaded, (job, held))| (job, loaded, held)));
            }
            // A careful job that never started must not look like one that may have acted.
            Err(_) if held.is_careful() && held.lease().attempt < CAREFUL_LOADS_MAX => {
                held.end(Ending::Snooze {
                    until: clock.now() + CAREFUL_PAUSE,
                });
            }
            Err(error) => {
                held.end(Ending::Retry {
                    after: None,
                    error: format!("could not be loaded: {error}"),
                });
            }
        }
    }
    ready
}

/// Asks `prepare`. Its panic, and an answer of another length, are errors like any other: they must
/// end neither the dispatcher nor a job without a word.
async fn ask<J, L, P, F>(prepare: &P, jobs: Vec<J>) -> Result<Vec<L>, Failure>
where
    P: Fn(Vec<J>) -> F,
    F: Future<Output = Result<Vec<L>, Failure>>,
{
    let count = jobs.len();
    let answer = AssertUnwindSafe(async { prepare(jobs).await }).catch_unwind();
    let answer = timeout(LOAD_MAX, answer).await;
    let loaded = answer
        .unwrap_or_else(|_elapsed| Ok(Err(Failure("loading took too long".to_owned()))))
        .unwrap_or_else(|panic| Err(Failure(format!("panicked: {}", message_of(&*panic)))))?;
    if loaded.len() == count {
        Ok(loaded)
    } else {
        Err(Failure(format!(
            "{} of {count} jobs were loaded",
            loaded.len()
        )))
    }
}

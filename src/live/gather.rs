//! Answers many askers with one statement: what is asked while one runs is answered by the next.
//!
//! After a restart thousands of clients come back within seconds, and each asks the same of the
//! database. Nothing waits for company: a single asker is answered at once.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::shutdown::Lifetime;

/// Questions answered together.
const TOGETHER: usize = 500;

/// Questions that may wait. Whoever comes then waits for room.
const WAITING: usize = 4096;

/// How long an answer may take: a connection whose other end has vanished never answers.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long somebody waits for their turn and the answer: longer than one that does not come.
const ASK_MAX: Duration = Duration::from_secs(20);

/// There was no answer; why is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database could not be asked")]
pub(crate) struct Unanswered;

/// Takes questions and gathers them. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Gatherer<Q, A> {
    asked: mpsc::Sender<(Q, oneshot::Sender<A>)>,
}

impl<Q, A> Clone for Gatherer<Q, A> {
    fn clone(&self) -> Self {
        let asked = self.asked.clone();
        Self { asked }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gatherer<Q, A> {
    /// Starts a task that answers with `answer`, which returns as many answers as there are
    /// questions, in their order. It ends with `lifetime.closing`.
    pub(crate) fn start<F, R>(lifetime: &Lifetime, what: &'static str, answer: F) -> Self
    where
        F: Fn(Arc<[Q]>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<A>, StoreError>> + Send,
        Q: Sync,
    {
        let (asked, asking) = mpsc::channel(WAITING);
        let closing = lifetime.closing.clone();
        lifetime.tasks.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = serve(asking, what, answer) => {}
            }
        });
        Self { asked }
    }

    /// Asks.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, Unanswered> {
        let (sender, receiver) = oneshot::channel();
        let asking = async {
            let sent = self.asked.send((question, sender)).await;
            sent.or(Err(Unanswered))?;
            receiver.await.or(Err(Unanswered))
        };
        timeout(ASK_MAX, asking).await.or(Err(Unanswered))?
    }
}

async fn serve<Q, A, F, R>(
    mut asking: mpsc::Receiver<(Q, oneshot::Sender<A>)>,
    what: &'static str,
    answer: F,
) where
    F: Fn(Arc<[Q]>) -> R,
    R: Future<Output = Result<Vec<A>, StoreError>>,
{
    let mut together = Vec::new();
    while asking.recv_many(&mut together, TOGETHER).await > 0 {
        // Who has left meanwhile is not asked for.
        together.retain(|(_, asker): &(Q, oneshot::Sender<A>)| !asker.is_closed());
        if together.is_empty() {
            continue;
        }
        let (questions, askers): (Vec<_>, Vec<_>) = together.drain(..).unzip();
        let error = match timeout(ANSWER_MAX, answer(questions.into())).await {
            Ok(Ok(answers)) => {
                for (asker, answer) in askers.into_iter().zip(answers) {
                    // An error means that the asker has left.
                    drop(asker.send(answer));
                }
                continue;
            }
            Ok(Err(error)) => queue::describe(&error),
            Err(elapsed) => elapsed.to_string(),
        };
        warn!(what, error, "clients of the live feed were not answered");
    }
}

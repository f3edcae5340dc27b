//! The apalis adapter: our jobs as apalis tasks.
//!
//! A [`JobBackend`] is a channel that the engine fills; claiming, liveness and settlement happen
//! behind it, for all kinds together. Its middleware stands outside every layer the worker adds: it
//! gives a job back that may no longer start, catches panics, bounds the time, and hands the
//! handler's answer to the settler.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::context::WorkerContext;
use futures_util::FutureExt;
use prometheus::Histogram;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tower::{Layer, Service};

use crate::lease::Held;
use crate::outcome::{Ending, Outcome};

/// A job as apalis hands it to a handler.
pub(crate) type JobTask<J> = Task<J>;

/// Gives one apalis worker the jobs of one kind on one queue.
pub struct JobBackend<J, E> {
    // Shared, because apalis makes a worker anew when it restarts one.
    tasks: Arc<Mutex<mpsc::Receiver<Task<J>>>>,
    settlement: SettleLayer<E>,
}

impl<J, E> JobBackend<J, E> {
    pub(crate) fn new(
        tasks: mpsc::Receiver<Task<J>>,
        handler_timeout: Duration,
        run_seconds: Histogram,
    ) -> Self {
        let settlement = SettleLayer {
            handler_timeout,
            run_seconds,
            effect: std::marker::PhantomData,
        };
        Self {
            tasks: Arc::new(Mutex::new(tasks)),
            settlement,
        }
    }
}

impl<J, E> Clone for JobBackend<J, E> {
    fn clone(&self) -> Self {
        Self {
            tasks: Arc::clone(&self.tasks),
            settlement: self.settlement.clone(),
        }
    }
}

impl<J, E> std::fmt::Debug for JobBackend<J, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobBackend").finish_non_exhaustive()
    }
}

impl<J: Send + 'static, E> Backend for JobBackend<J, E> {
    type Task = Task<J>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.poll_recv(cx).map(|task| task.map(Ok))
    }

    /// Nothing to flush: the settler outlives the worker.
    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

impl<J: Send + 'static, E: Send + Sync + 'static> BackendConfig for JobBackend<J, E> {
    type Args = J;
    type Id = uuid::Uuid;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer<E>;

    fn config(&self) -> &Self::Config {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        self.settlement.clone()
    }
}

/// The lease on its way through apalis, which wants task data to be `Clone`.
struct Ticket<E>(Arc<Mutex<Option<Held<E>>>>);

impl<E> Clone for Ticket<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Makes the task of a claimed job: `Data<LeaseInfo>` and `Data<L>` extract what was loaded.
pub(crate) fn task<J, L, E>(job: J, loaded: L, held: Held<E>) -> Task<J>
where
    L: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    TaskBuilder::new(job)
        .data(held.lease().info())
        .data(loaded)
        .data(Ticket(Arc::new(Mutex::new(Some(held)))))
        .build()
}

/// Middleware of every worker: from the handler's answer to the settler.
pub struct SettleLayer<E> {
    handler_timeout: Duration,
    run_seconds: Histogram,
    effect: std::marker::PhantomData<fn(E)>,
}

impl<E> Clone for SettleLayer<E> {
    fn clone(&self) -> Self {
        Self {
            handler_timeout: self.handler_timeout,
            run_seconds: self.run_seconds.clone(),
            effect: std::marker::PhantomData,
        }
    }
}

impl<E> std::fmt::Debug for SettleLayer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettleLayer").finish_non_exhaustive()
    }
}

impl<S, E> Layer<S> for SettleLayer<E> {
    type Service = SettleService<S, E>;

    fn layer(&self, inner: S) -> Self::Service {
        SettleService {
            inner,
            settlement: self.clone(),
        }
    }
}

/// See [`SettleLayer`].
#[derive(Debug)]
pub struct SettleService<S, E> {
    inner: S,
    settlement: SettleLayer<E>,
}

impl<S, J, E> Service<Task<J>> for SettleService<S, E>
where
    S: Service<Task<J>, Response = Outcome<E>>,
    S::Error: Into<BoxDynError>,
    S::Future: Send + 'static,
    E: Send + Sync + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<J>) -> Self::Future {
        let ticket = task.ctx().data().get::<Ticket<E>>().cloned();
        let held = ticket.and_then(|ticket| {
            ticket
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        });
        // A task without a lease was not made by `task` or comes a second time: not ours to run.
        let Some(held) = held.filter(|held| held.epoch().may_start()) else {
            return Box::pin(std::future::ready(Ok(())));
        };
        let work = self.inner.call(task);
        let settlement = self.settlement.clone();
        Box::pin(async move {
            run(held, work, &settlement).await;
            Ok(())
        })
    }
}

/// Runs a handler under its lease and reports how it ended.
async fn run<F, E, X>(mut held: Held<E>, work: F, settlement: &SettleLayer<E>)
where
    F: Future<Output = Result<Outcome<E>, X>>,
    X: Into<BoxDynError>,
{
    held.start();
    let started = Instant::now();
    let epoch = Arc::clone(held.epoch());
    let work = timeout(
        settlement.handler_timeout,
        AssertUnwindSafe(work).catch_unwind(),
    );
    let answer = tokio::select! {
        biased;
        answer = work => Some(answer),
        () = epoch.fenced.cancelled() => None,
    };
    settlement
        .run_seconds
        .observe(started.elapsed().as_secs_f64());
    let failed = |error: String| Ending::Retry { after: None, error };
    match answer {
        Some(Ok(Ok(Ok(outcome)))) => held.finish(outcome),
        Some(Ok(Ok(Err(error)))) => held.end(failed(describe_boxed(error.into()))),
        Some(Ok(Err(panic))) => held.end(failed(format!("panicked: {}", message_of(&*panic)))),
        Some(Err(_)) => held.end(failed(format!(
            "timed out after {:?}",
            settlement.handler_timeout
        ))),
        None if epoch.is_stopping() && !held.is_careful() => held.end(Ending::GiveBack),
        None => held.end(failed(
            "dropped: the node was cut off or stopped".to_owned(),
        )),
    }
}

fn describe_boxed(error: BoxDynError) -> String {
    crate::fault::describe(&*error)
}

pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

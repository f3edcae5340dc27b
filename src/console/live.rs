//! What changes while a page is open: parts of it, made here and put in place by the script.
//!
//! A stream looks every few seconds and sends the parts that differ from those sent before. It ends
//! with its session and with the process; the browser then asks again by itself. Streams are
//! counted, so that browsers left open cannot take all connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::session::Operator;
use crate::api::error::ApiError;
use crate::app::App;

/// Streams of one process at once.
const STREAMS_MAX: usize = 256;

/// When a browser asks again after a stream has ended.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// The streams that are open.
#[derive(Debug)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// One stream.
struct Watching<F> {
    app: App,
    operator: Operator,
    ticks: Interval,
    /// Makes the parts of the page.
    parts: F,
    /// As they were sent last.
    sent: Vec<String>,
    /// Those that are still to be sent.
    waiting: Vec<Event>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

/// Answers with a stream of the parts that `parts` makes, looking `every` so often.
pub(super) fn stream<F, M>(
    app: &App,
    operator: Operator,
    every: Duration,
    parts: F,
) -> Result<Response<Body>, ApiError>
where
    F: Fn(App, Operator) -> M + Send + 'static,
    M: Future<Output = Result<Vec<String>, ApiError>> + Send,
{
    let places = Arc::clone(&app.console.streams.0);
    let Ok(place) = places.try_acquire_owned() else {
        return Err(ApiError::crowded());
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching {
        app: app.clone(),
        operator,
        ticks,
        parts,
        sent: Vec::new(),
        waiting: vec![Event::default().retry(ASK_AGAIN).event("hello").data("")],
        is_over: false,
        _place: place,
    };
    let events = stream::unfold(watching, async |mut watching: Watching<F>| {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    Ok(Sse::new(Box::pin(events)).into_response())
}

impl<F, M> Watching<F>
where
    F: Fn(App, Operator) -> M,
    M: Future<Output = Result<Vec<String>, ApiError>>,
{
    /// The next part that has changed; `None` when it is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some(event);
            }
            let stopping = &self.app.lifetime.stopping;
            tokio::select! {
                () = stopping.cancelled() => return None,
                _ = self.ticks.tick() => {}
            }
            if self.is_over {
                return None;
            }
            match self.operator.is_still_there(&self.app).await {
                Ok(true) => {}
                Ok(false) => {
                    self.is_over = true;
                    return Some(Event::default().event("over").data(""));
                }
                Err(_) => continue,
            }
            // What cannot be made now is made at the next tick; the cause has been logged.
            let Ok(parts) = (self.parts)(self.app.clone(), self.operator.clone()).await else {
                continue;
            };
            self.compare(parts);
        }
    }

    /// Notes what is to be sent; something always is, so that a broken connection is noticed.
    fn compare(&mut self, parts: Vec<String>) {
        let is_new = |part: &&String| !self.sent.contains(part);
        let event = |part: &String| Event::default().event("part").data(part);
        self.waiting = parts.iter().rev().filter(is_new).map(event).collect();
        if self.waiting.is_empty() {
            self.waiting.push(Event::default().comment(""));
        }
        self.sent = parts;
    }
}

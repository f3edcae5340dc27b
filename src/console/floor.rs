//! What all tenants share, as one look at it found it: the queues, and the processes that work.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DurationRound, TimeDelta};
use domain::TenantId;
use queue::inspect::{QueueDepth, Worker};
use store::pulse::What;

use crate::api::error::ApiError;
use crate::app::App;
use crate::health::SILENT_SECONDS;

/// One look.
#[derive(Debug)]
pub(super) struct Floor {
    /// Every queue, in the order that work takes, idle ones too.
    pub(super) queues: Vec<QueueDepth>,
    pub(super) workers: Vec<Worker>,
    /// Who paused those that are paused.
    pub(super) paused_by: HashMap<String, String>,
    /// Attempts that ended, a minute, by queue: over the running minute and the one before.
    pub(super) rates: HashMap<String, f64>,
}

impl Floor {
    /// Looks, for everybody who asks within a moment.
    pub(super) async fn look(app: &App) -> Result<Arc<Self>, ApiError> {
        app.console.floor.get(Self::read(app)).await
    }

    async fn read(app: &App) -> Result<Self, ApiError> {
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        let depths = queue::inspect::depths(&mut conn, app.clock.fixed())
            .await
            .map_err(|source| ApiError::from_queue("look at the queues", source))?;
        let workers = queue::inspect::workers(&mut conn)
            .await
            .map_err(|source| ApiError::from_queue("look at the workers", source))?;
        let queues = QueueDepth::of_all(workers::queues::all(), depths);
        let paused: Vec<_> = queues
            .iter()
            .filter(|queue| queue.paused_at.is_some())
            .map(|queue| queue.queue.as_str())
            .collect();
        let tenant_id = TenantId::default();
        let paused_by = store::audit::last_actors(&mut conn, &tenant_id, "queue.paused", &paused)
            .await
            .map_err(ApiError::from_store)?;
        let now = app.clock.now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        let since = minute - TimeDelta::minutes(1);
        let finished = store::pulse::sums(&mut conn, What::Finished, since)
            .await
            .map_err(ApiError::from_store)?;
        let minutes = (now - since).as_seconds_f64() / 60.0;
        let rates = finished.into_iter();
        let rates = rates
            .map(|(queue, count)| (queue, count as f64 / minutes))
            .collect();
        Ok(Self {
            queues,
            workers,
            paused_by,
            rates,
        })
    }

    /// How many processes are alive and serve `queue`.
    pub(super) fn serving(&self, queue: &str) -> usize {
        let serves = |worker: &&Worker| worker.queues.iter().any(|served| served == queue);
        let alive = self.workers.iter().filter(|worker| is_alive(worker));
        alive.filter(serves).count()
    }
}

/// Whether a process has been heard of lately.
pub(super) fn is_alive(worker: &Worker) -> bool {
    worker.silent_seconds < SILENT_SECONDS
}

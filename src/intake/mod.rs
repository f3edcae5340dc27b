//! The one door: validated submissions become rows and `route` jobs, many in one transaction.
//!
//! A request hands in a unit (one submission, or a whole batch) and waits for its answer. A
//! committer gathers units for a millisecond or two and writes them in one transaction: keys
//! claimed, rows inserted, jobs enqueued. Nobody is answered before the commit, and a unit lands or
//! does not land whether or not its client still listens.
//!
//! Ids are made here, once, before the first try. So a COMMIT whose answer was lost can be tried
//! again: what has landed is recognised by its own id.

mod claim;
mod committer;
mod first;
mod row;
mod write;

use std::sync::Arc;
use std::time::Duration;

use domain::TenantId;
use queue::{Bell, Clock};
use store::Store;
use store::idempotency::{FirstAnswer, RequestKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use self::committer::Committer;
pub(crate) use self::row::{Row, Windows};
use crate::config::IntakeConfig;
use crate::metrics::Metrics;
use crate::shutdown::Lifetime;

/// Most rows of one unit: a batch request.
pub const UNIT_ROWS_MAX: u32 = 5000;

/// Units that may wait for a committer. The rows in them are bounded by a setting.
const UNITS_WAITING_MAX: usize = 4096;

/// How long a request waits for room when too many rows are waiting.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Committed, under this id.
    Accepted { id: Uuid },
    /// Its `event_id` or `dedupe_key` belongs to this earlier one; nothing was written.
    Duplicate { id: Uuid },
    /// The database refuses this row and would always do so.
    Refused { detail: String },
}

/// There is no answer for the whole unit: Postgres is away, or too much is waiting.
///
/// Some of it may have landed. Trying again is safe with an `event_id` or a `dedupe_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("submissions cannot be written right now")]
pub struct Unavailable;

/// How a request is answered, from what became of its rows: the HTTP status and the body. `None`
/// is a refusal, which is not kept.
pub(crate) type Compose = Arc<dyn Fn(&[Answer]) -> Option<(u16, Vec<u8>)> + Send + Sync>;

/// A request with an `Idempotency-Key`: its answer is kept in the transaction of its rows.
#[derive(Clone)]
pub(crate) struct Once {
    pub(crate) request: RequestKey,
    /// SHA-256 over what it asks for.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) compose: Compose,
}

/// What became of a unit.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    /// What became of each row.
    Landed(Vec<Answer>),
    /// Nothing was written: a request with this key was answered before.
    Before(FirstAnswer),
    /// Nothing was written: a request with this key is being carried out.
    Running,
}

/// What one request hands in.
struct Unit {
    rows: Arc<[Row]>,
    once: Option<Once>,
    answer: oneshot::Sender<Result<Landing, Unavailable>>,
    /// Held until the unit has its answer.
    room: OwnedSemaphorePermit,
}

/// The door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    units: mpsc::Sender<Unit>,
    room: Arc<Semaphore>,
    windows: Windows,
}

impl Intake {
    /// Opens the door: starts the committers, which end with `lifetime.closing`.
    pub fn open(
        config: &IntakeConfig,
        store: Store,
        bell: Bell,
        clock: Clock,
        metrics: Metrics,
        lifetime: &Lifetime,
    ) -> Self {
        let (units, waiting) = mpsc::channel(UNITS_WAITING_MAX);
        let committer = Committer::new(config, store, bell, clock, metrics, waiting);
        for _ in 0..config.committers {
            lifetime
                .tasks
                .spawn(committer.clone().run(lifetime.closing.clone()));
        }
        Self {
            units,
            room: Arc::new(Semaphore::new(config.pending_rows_max as usize)),
            windows: Windows::of(config),
        }
    }

    /// How long the keys of what is handed in stay taken.
    pub(crate) fn windows(&self) -> Windows {
        self.windows
    }

    /// Hands in `rows` and waits until they are committed. The answers are in their order.
    ///
    /// # Cancel safety
    ///
    /// Once handed in, the rows land or do not land even if this future is dropped.
    pub(crate) async fn submit(
        &self,
        rows: Arc<[Row]>,
        once: Option<Once>,
    ) -> Result<Landing, Unavailable> {
        if rows.is_empty() && once.is_none() {
            return Ok(Landing::Landed(Vec::new()));
        }
        let wanted = u32::try_from(rows.len())
            .unwrap_or(u32::MAX)
            .clamp(1, UNIT_ROWS_MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted);
        let Ok(Ok(room)) = tokio::time::timeout(ROOM_TIMEOUT, room).await else {
            return Err(Unavailable);
        };
        let (answer, answered) = oneshot::channel();
        let unit = Unit {
            rows,
            once,
            answer,
            room,
        };
        self.units.send(unit).await.map_err(|_closed| Unavailable)?;
        answered.await.map_err(|_stopped| Unavailable)?
    }

    /// Hands in one row and waits until it is committed.
    pub(crate) async fn submit_one(&self, row: Row) -> Result<Answer, Unavailable> {
        match self.submit(Arc::new([row]), None).await? {
            Landing::Landed(mut answers) => answers.pop().ok_or(Unavailable),
            // Only a unit with a key ends so.
            Landing::Before(_) | Landing::Running => Err(Unavailable),
        }
    }
}

/// The key of a queue lane for what concerns one user, or one type where no user is known.
fn lane(tenant_id: &TenantId, whom: &str) -> u8 {
    queue::lane_of(&[tenant_id.as_str(), workers::queues::ROUTE, whom])
}

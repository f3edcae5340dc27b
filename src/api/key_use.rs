//! When keys were last used: noted in memory as requests come, written once a minute.
//!
//! A process that dies loses a minute of it, which costs nobody anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::app::App;

/// How often it is written.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// Keys noted between two writes. What is beyond is noted the next time.
const KEYS_MAX: usize = 4096;

/// The uses that were not written yet.
#[derive(Debug, Default)]
pub(crate) struct KeyUse {
    noted: Mutex<HashMap<Uuid, DateTime<Utc>>>,
}

impl KeyUse {
    pub(super) fn note(&self, key_id: Uuid, now: DateTime<Utc>) {
        let mut noted = self.lock();
        if noted.len() < KEYS_MAX || noted.contains_key(&key_id) {
            noted.insert(key_id, now);
        }
    }

    /// Writes regularly until `stop`, and then once more.
    pub(crate) async fn keep(app: App, stop: CancellationToken) {
        let mut ticks = interval(WRITE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            if let Err(error) = app.key_use.write(&app.store).await {
                warn!(
                    error = queue::describe(&error),
                    "the use of API keys was not noted"
                );
            }
            if is_over {
                return;
            }
        }
    }

    async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let uses: Vec<_> = std::mem::take(&mut *self.lock()).into_iter().collect();
        if uses.is_empty() {
            return Ok(());
        }
        let mut tx = store.begin().await?;
        store::api_keys::note_use(&mut tx, &uses).await?;
        tx.commit().await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, DateTime<Utc>>> {
        let noted = self.noted.lock();
        noted.expect("nothing panics while it holds this lock")
    }
}

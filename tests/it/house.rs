//! A whole house in one process: a front with workers behind it, on a database of its own.

use std::sync::Arc;

use prometheus::Registry;
use queue::{Bell, Clock, Database, Metrics, QueueConfig};
use render::Templates;
use serde_json::Value;
use testkit::eventually;
use workers::{Context, Parts, Running, WorkerLimits};

use crate::SOON;
use crate::front::Front;

pub(crate) struct House {
    pub(crate) front: Front,
    /// Let go before the front, whose database they use.
    _running: Running,
}

impl House {
    /// Outside channels go to the outbox.
    pub(crate) async fn with_outbox() -> Self {
        Self::start(Context::with_outbox).await
    }

    /// Starts with the context that `make` makes.
    pub(crate) async fn start(make: impl FnOnce(Arc<Templates>, Clock) -> Context) -> Self {
        let front = Front::start().await;
        let clock = Clock::system();
        let context = make(Arc::new(Templates::builtin().unwrap()), clock.clone());
        let running = workers::start(Parts {
            database: Database::parse(front.database_url(), None, false).unwrap(),
            store: front.store.clone(),
            context,
            clock,
            bell: Bell::new(),
            heard: None,
            queue: QueueConfig::default(),
            limits: WorkerLimits::default(),
            queues: Vec::new(),
            metrics: Metrics::register(&Registry::new()).unwrap(),
        });
        running.ready().await;
        Self {
            front,
            _running: running,
        }
    }

    /// Submits a direct send and answers its id.
    pub(crate) async fn send(&self, body: Value) -> String {
        let answer = self.front.post("/v1/notifications", body).await.expect(202);
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a notification has come to `status`, and answers it.
    pub(crate) async fn comes_to(&self, id: &str, status: &str) -> Value {
        let path = format!("/v1/notifications/{id}");
        eventually(SOON, async || {
            self.front.get(&path).await.expect(200)["status"] == status
        })
        .await;
        self.front.get(&path).await.expect(200)
    }
}

//! A whole house in one process: a front with workers behind it, on a database of its own.

use std::time::Duration;

use domain::{RetryPolicies, RetryPolicy};
use postrider::config::Config;
use prometheus::Registry;
use queue::{Bell, Clock, Database, Metrics, QueueConfig};
use render::Templates;
use serde_json::Value;
use store::settlement::Limits;
use testkit::eventually;
use workers::{Context, Parts, Providers, Running, WorkerLimits};

use crate::SOON;
use crate::front::Front;

/// When a failed send is tried again here.
pub(crate) const RETRIES: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(200),
    cap: Duration::from_millis(800),
    attempts_max: 6,
};

/// So few entries of a feed may be unread here.
pub(crate) const UNREAD_FEW: Limits = Limits { unread_max: 12 };

pub(crate) struct House {
    pub(crate) front: Front,
    /// Let go before the front, whose database they use.
    _running: Running,
}

impl House {
    /// Outside channels go to the outbox.
    pub(crate) async fn with_outbox() -> Self {
        Self::start(Providers {
            has_outbox: true,
            ..Providers::default()
        })
        .await
    }

    /// Sends through `providers`, and tries again within moments.
    pub(crate) async fn start(providers: Providers) -> Self {
        Self::start_retrying(providers, RETRIES).await
    }

    pub(crate) async fn start_retrying(providers: Providers, retries: RetryPolicy) -> Self {
        Self::behind(Front::start().await, providers, retries).await
    }

    /// Like [`with_outbox`](Self::with_outbox), with settings of the front changed.
    pub(crate) async fn with_settings(change: impl FnOnce(&mut Config)) -> Self {
        let providers = Providers {
            has_outbox: true,
            ..Providers::default()
        };
        Self::behind(Front::start_with(change).await, providers, RETRIES).await
    }

    async fn behind(front: Front, providers: Providers, retries: RetryPolicy) -> Self {
        let running = work(&front, providers, retries, WorkerLimits::default()).await;
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

/// Starts workers behind a front, as another process would.
pub(crate) async fn work(
    front: &Front,
    providers: Providers,
    retries: RetryPolicy,
    limits: WorkerLimits,
) -> Running {
    let clock = Clock::system();
    let catalog = workers::Catalog::new(Templates::builtin().unwrap());
    let context = Context::try_new(catalog, providers, clock.clone())
        .unwrap()
        .retrying(RetryPolicies::new(|_| retries))
        .within(UNREAD_FEW);
    let running = workers::start(Parts {
        database: Database::parse(front.database_url(), None, false).unwrap(),
        store: front.store.clone(),
        context,
        clock,
        bell: Bell::new(),
        heard: None,
        queue: QueueConfig::default(),
        limits,
        queues: Vec::new(),
        metrics: Metrics::register(&Registry::new()).unwrap(),
    });
    running.ready().await;
    running
}

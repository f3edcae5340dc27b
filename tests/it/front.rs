//! A front that serves on a free port, with its own database, and people to speak with it.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use domain::{
    Channel, DeliveryId, Message, NotificationId, Priority, Role, Status, TenantId, UserId,
};
use postrider::api::token::issue_token;
use postrider::app::{App, Surroundings};
use postrider::config::{Config, Secret};
use postrider::health::Hearing;
use postrider::server;
use postrider::shutdown::Lifetime;
use queue::{Bell, Clock, Listener};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use store::effect::{Effect, InboxArrival, NewDelivery, NewNotification};
use store::{Store, StoreOptions};
use testkit::TestDatabase;
use tokio::net::TcpListener;

pub(crate) const JWT_SECRET: &str = "the secret of the tests";
pub(crate) const ADMIN_KEY: &str = "pr_admin_key_of_the_tests_012345";

pub(crate) struct Front {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) lifetime: Lifetime,
    pub(crate) client: reqwest::Client,
    /// Dropped last, when nothing uses it any more.
    database: TestDatabase,
}

impl Front {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with settings changed by `change`; the database's address is set already.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let mut config = Config::default();
        config.auth.jwt_secret = Some(Secret::new(JWT_SECRET));
        config.database.url = Some(Secret::new(database.url()));
        change(&mut config);
        let direct = Store::connect(database.url(), &StoreOptions::default())
            .await
            .unwrap();
        direct.migrate(Utc::now()).await.unwrap();

        let url = config.database.url.clone().unwrap();
        let store = Store::connect(url.reveal(), &StoreOptions::default())
            .await
            .unwrap();
        let lifetime = Lifetime::default();
        let bell = Bell::new();
        let mut listener = Listener::new();
        let inbox_changed = listener.subscribe("inbox_changed");
        let listening = listener.connected();
        let app = App::start(Surroundings {
            config,
            store: store.clone(),
            clock: Clock::system(),
            registry: prometheus::Registry::new(),
            bell: bell.clone(),
            inbox_changed,
            hearing: Hearing {
                postgres: listening,
                nats: None,
            },
            catalog: workers::Catalog::new(render::Templates::builtin().unwrap()),
            lifetime: lifetime.clone(),
        })
        .unwrap();
        let closing = &lifetime.closing;
        let postgres = queue::Database::parse(database.url(), None, false).unwrap();
        lifetime
            .tasks
            .spawn(bell.run(postgres.clone(), closing.clone()));
        lifetime
            .tasks
            .spawn(listener.run(postgres, closing.clone()));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        lifetime.requests.spawn(server::run(app, socket));

        let front = Self {
            store: direct,
            address,
            lifetime,
            client: reqwest::Client::new(),
            database,
        };
        front.create_key(ADMIN_KEY, "default", &[Role::Admin]).await;
        front
    }

    pub(crate) async fn create_key(
        &self,
        secret: &str,
        tenant: &str,
        roles: &[Role],
    ) -> uuid::Uuid {
        let tenant_id = TenantId::from(tenant);
        let id = queue::uuid_at(Utc::now());
        let key = store::api_keys::NewApiKey::of_secret(
            id,
            tenant_id.clone(),
            secret,
            "",
            roles.to_vec(),
            Utc::now(),
        );
        let mut conn = self.store.acquire().await.unwrap();
        store::tenants::insert_tenant(&mut conn, &tenant_id, tenant)
            .await
            .unwrap();
        store::api_keys::insert_api_key(&mut conn, &key)
            .await
            .unwrap();
        id
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts as the admin.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_as(ADMIN_KEY, path, body).await
    }

    pub(crate) async fn post_as(&self, credential: &str, path: &str, body: Value) -> Answer {
        let request = self
            .client
            .post(self.url(path))
            .bearer_auth(credential)
            .json(&body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Posts bytes as they are, as the admin.
    pub(crate) async fn post_bytes(&self, path: &str, bytes: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .client
            .post(self.url(path))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", "application/json")
            .body(bytes);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Gets as the admin.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_as(ADMIN_KEY, path).await
    }

    pub(crate) async fn get_as(&self, credential: &str, path: &str) -> Answer {
        let request = self.client.get(self.url(path)).bearer_auth(credential);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Rows of a table.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(statement)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }

    /// Lets an in-app notification arrive in the feed of `user`, as the workers would, and wakes
    /// nobody.
    pub(crate) async fn deliver(&self, user: &str, title: &str) -> NotificationId {
        let now = Utc::now();
        let (id, delivery_id) = (NotificationId::at(now), DeliveryId::at(now));
        let (tenant_id, user_id) = (TenantId::default(), UserId::from(user));
        let effects = [
            Effect::NotificationPlanned(Box::new(notification(id, user))),
            Effect::DeliveryPlanned(Box::new(NewDelivery {
                id: delivery_id,
                notification_id: id,
                tenant_id: tenant_id.clone(),
                user_id: user_id.clone(),
                channel: Channel::InApp,
                status: Status::Queued,
                position: 0,
                address: None,
                error: None,
                job_id: None,
                created_at: now,
            })),
            Effect::DeliveryRendered {
                id: delivery_id,
                message: Box::new(Message {
                    subject: Some(title.to_owned()),
                    body: "Body".to_owned(),
                    body_html: None,
                    data: Some(json!({"order": title})),
                    mail: None,
                }),
                template: None,
                locale: None,
                job_id: None,
            },
        ];
        let arrival = Effect::InboxArrived(InboxArrival {
            delivery_id,
            notification_id: id,
            tenant_id,
            user_id,
            attempt: 1,
            started_at: now,
            at: now,
            is_sole: true,
        });
        for effects in [effects.as_slice(), &[arrival]] {
            let mut tx = self.store.begin().await.unwrap();
            store::settlement::apply(&mut tx, effects).await.unwrap();
            tx.commit().await.unwrap();
        }
        id
    }

    /// Ends the front in order.
    pub(crate) async fn stop(&self) {
        self.lifetime
            .stop(Duration::from_secs(5), std::future::ready(()))
            .await;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.lifetime.stopping.cancel();
        self.lifetime.closing.cancel();
    }
}

/// A planned notification to `user`.
pub(crate) fn notification(id: NotificationId, user: &str) -> NewNotification {
    NewNotification {
        decided: store::effect::Decided::default(),
        id,
        tenant_id: TenantId::default(),
        user_id: UserId::from(user),
        event_id: None,
        created_at: Utc::now(),
        send_at: None,
        expires_at: None,
        kind: "notification".to_owned(),
        category: Some("orders".to_owned()),
        priority: Priority::Normal,
        status: Status::Queued,
        template: None,
        locale: None,
        subject: None,
        content: Some("Body".to_owned()),
        channels: None,
        data: None,
        delivery_count: 1,
        is_test: false,
        bypass_quiet_hours: false,
    }
}

/// A token of `user`, valid for an hour.
pub(crate) fn token(user: &str) -> String {
    issue_token(
        &Secret::new(JWT_SECRET),
        &TenantId::default(),
        &UserId::from(user),
        Utc::now(),
        Duration::from_hours(1),
    )
    .unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (content_type, retry_after) = (header("content-type"), header("retry-after"));
        Self {
            status: response.status(),
            content_type: content_type.unwrap_or_default(),
            retry_after,
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.json()
    }

    /// An answer without a body: what was named is not there any more.
    #[track_caller]
    pub(crate) fn expect_gone(&self) {
        assert_eq!(self.status, StatusCode::NO_CONTENT, "{self:?}");
    }

    /// The pointers of a refusal, after checking that it is a whole problem document.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], status);
        for field in ["type", "title", "detail"] {
            assert!(
                body[field].as_str().is_some_and(|text| !text.is_empty()),
                "{body}"
            );
        }
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect()
    }
}

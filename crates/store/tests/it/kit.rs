//! A migrated store, and rows to put into it.

use chrono::{DateTime, SubsecRound, Utc};
use domain::{
    Channel, DeliveryId, Message, NotificationId, Priority, Status, TenantId, TraceStep, UserId,
};
use serde_json::json;
use store::effect::{DeliveryMove, Effect, InboxArrival, NewDelivery, NewNotification};
use store::settlement::{Applied, apply};
use store::{Store, StoreOptions};
use testkit::TestDatabase;

pub(crate) struct Kit {
    pub(crate) store: Store,
    /// What Postgres keeps of the present: it counts microseconds.
    pub(crate) now: DateTime<Utc>,
    /// Dropped last, when nothing uses it any more.
    _database: TestDatabase,
}

impl Kit {
    pub(crate) async fn create() -> Self {
        Self::with(&StoreOptions::default()).await
    }

    pub(crate) async fn with(options: &StoreOptions) -> Self {
        let database = TestDatabase::create().await;
        let store = Store::connect(database.url(), options).await.unwrap();
        Self {
            store,
            now: Utc::now().trunc_subsecs(6),
            _database: database,
        }
    }

    /// Settles in a transaction of its own.
    pub(crate) async fn settle(&self, effects: &[Effect]) -> Applied {
        self.try_settle(effects).await.unwrap()
    }

    pub(crate) async fn try_settle(&self, effects: &[Effect]) -> Result<Applied, sqlx::Error> {
        let mut tx = self.store.begin().await.unwrap();
        let applied = apply(&mut tx, effects).await?;
        tx.commit().await.unwrap();
        Ok(applied)
    }

    /// Plans a notification to `user` over `channels`; answers its id and its deliveries'.
    pub(crate) async fn planned(
        &self,
        user: &str,
        channels: &[Channel],
    ) -> (NotificationId, Vec<DeliveryId>) {
        let mut notification = self.notification(user);
        notification.delivery_count = channels.len() as u16;
        let id = notification.id;
        let rows: Vec<_> = channels
            .iter()
            .enumerate()
            .map(|(position, &channel)| self.delivery(id, user, channel, position as u16))
            .collect();
        let ids = rows.iter().map(|row| row.id).collect();

        let mut effects = vec![Effect::NotificationPlanned(Box::new(notification))];
        effects.extend(
            rows.into_iter()
                .map(|row| Effect::DeliveryPlanned(Box::new(row))),
        );
        self.settle(&effects).await;
        (id, ids)
    }

    /// Plans an in-app notification, renders it and lets it arrive.
    pub(crate) async fn arrived(&self, user: &str, body: &str) -> NotificationId {
        let (id, deliveries) = self.planned(user, &[Channel::InApp]).await;
        self.settle(&[
            rendered(deliveries[0], body),
            self.arrival(id, deliveries[0], user),
        ])
        .await;
        id
    }

    pub(crate) fn notification(&self, user: &str) -> NewNotification {
        NewNotification {
            decided: store::effect::Decided::default(),
            id: NotificationId::at(self.now),
            tenant_id: TenantId::default(),
            user_id: user.into(),
            event_id: None,
            created_at: self.now,
            send_at: None,
            expires_at: None,
            kind: "notification".into(),
            category: None,
            priority: Priority::Normal,
            status: Status::Queued,
            template: None,
            locale: None,
            subject: None,
            content: None,
            channels: None,
            data: None,
            delivery_count: 0,
            is_test: false,
            bypass_quiet_hours: false,
        }
    }

    pub(crate) fn delivery(
        &self,
        notification_id: NotificationId,
        user: &str,
        channel: Channel,
        position: u16,
    ) -> NewDelivery {
        NewDelivery {
            id: DeliveryId::at(self.now),
            notification_id,
            tenant_id: TenantId::default(),
            user_id: user.into(),
            channel,
            status: Status::Queued,
            position,
            address: None,
            error: None,
            job_id: None,
            created_at: self.now,
        }
    }

    pub(crate) fn arrival(
        &self,
        notification_id: NotificationId,
        delivery_id: DeliveryId,
        user: &str,
    ) -> Effect {
        Effect::InboxArrived(InboxArrival {
            delivery_id,
            notification_id,
            tenant_id: TenantId::default(),
            user_id: user.into(),
            attempt: 1,
            started_at: self.now,
            at: self.now,
            is_sole: true,
        })
    }

    /// The move of a delivery that may have siblings.
    pub(crate) fn moved(&self, id: DeliveryId, status: Status) -> Effect {
        Effect::DeliveryMoved(DeliveryMove {
            id,
            notification_id: None,
            status,
            provider: None,
            error: None,
            job_id: None,
            at: self.now,
            is_sole: false,
        })
    }

    pub(crate) fn traced(&self, id: NotificationId, decision: &'static str) -> Effect {
        Effect::Traced {
            subject_id: id.as_uuid(),
            at: self.now,
            steps: vec![TraceStep::new("route", decision, "a test wants it")],
        }
    }

    pub(crate) async fn deliveries(&self, id: NotificationId) -> Vec<store::deliveries::Delivery> {
        let mut connection = self.store.acquire().await.unwrap();
        store::deliveries::list_deliveries(&mut connection, &[id])
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self, id: NotificationId) -> Status {
        let mut connection = self.store.acquire().await.unwrap();
        let tenant = TenantId::default();
        store::notifications::find_notification(&mut connection, &tenant, id)
            .await
            .unwrap()
            .unwrap()
            .status
    }

    /// The numbers in a user's feed.
    pub(crate) async fn seqs(&self, user: &str) -> Vec<i64> {
        let mut connection = self.store.acquire().await.unwrap();
        let (tenant, user) = (TenantId::default(), UserId::from(user));
        let feed = store::inbox::feed_after(&mut connection, &tenant, &user, 0, 10_000).await;
        feed.unwrap().into_iter().map(|item| item.seq).collect()
    }
}

pub(crate) fn rendered(id: DeliveryId, body: &str) -> Effect {
    Effect::DeliveryRendered {
        id,
        message: Box::new(Message {
            subject: Some("Title".into()),
            body: body.into(),
            body_html: None,
            data: Some(json!({"from": "template"})),
            mail: None,
        }),
        template: Some("order.filled".into()),
        locale: Some("en".into()),
        job_id: None,
    }
}

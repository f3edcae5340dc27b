//! The outbox: what was accepted on channels that no provider carries, and sent to nobody.
//!
//! A row here only says that a delivery belongs to the list; what would have been sent, and to
//! where, is on the delivery.

use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, Message, NotificationId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::effect::Stored;
use crate::error::{during, unknown_word};
use crate::json::Document;

/// Items that one page looks at.
pub const SCANNED_MAX: i64 = 10_000;

/// A message that was not sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    pub delivery_id: DeliveryId,
    pub notification_id: NotificationId,
    pub user_id: UserId,
    pub channel: Channel,
    /// When the outbox took it.
    pub created_at: DateTime<Utc>,
    /// Where it would have gone.
    pub address: Option<String>,
    pub template: Option<String>,
    pub locale: Option<String>,
    pub message: Option<Message>,
}

/// The columns of an item, as they are read.
struct ItemRow {
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
    user_id: String,
    channel: String,
    notification_id: Uuid,
    address: Option<String>,
    template: Option<String>,
    locale: Option<String>,
    message: Option<Document<Message>>,
}

impl ItemRow {
    fn item(self) -> Result<OutboxItem, StoreError> {
        Ok(OutboxItem {
            delivery_id: self.delivery_id.into(),
            notification_id: self.notification_id.into(),
            user_id: self.user_id.into(),
            channel: Channel::parse(&self.channel)
                .ok_or_else(|| unknown_word("outbox", &self.channel))?,
            created_at: self.created_at,
            address: self.address,
            template: self.template,
            locale: self.locale,
            message: self.message.map(|message| message.0),
        })
    }
}

/// Which items are listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutboxFilter {
    pub user_id: Option<UserId>,
    pub channel: Option<Channel>,
}

/// Lists a tenant's items, newest first, from before the delivery `before`.
pub async fn list_outbox(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &OutboxFilter,
    before: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<OutboxItem>, StoreError> {
    let rows = sqlx::query_as!(
        ItemRow,
        r#"
        select item.delivery_id, item.created_at, item.user_id, item.channel,
               delivery.notification_id, delivery.address, delivery.template, delivery.locale,
               delivery.message as "message: Document<Message>"
        from (
            select delivery_id, created_at, user_id, channel
            from outbox
            where tenant_id = $1
              and ($2::uuid is null or delivery_id < $2)
              and ($3::text is null or user_id = $3)
              and ($4::text is null or channel = $4)
            order by delivery_id desc
            limit $5
        ) as item
        join deliveries as delivery on delivery.id = item.delivery_id
        order by item.delivery_id desc
        "#,
        tenant_id.as_str(),
        before.map(DeliveryId::as_uuid),
        filter.user_id.as_ref().map(UserId::as_str),
        filter.channel.map(Channel::as_str),
        limit,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the outbox"))?;

    rows.into_iter().map(ItemRow::item).collect()
}

/// One page, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxPage {
    pub items: Vec<OutboxItem>,
    /// What the next page begins before; `None` if there is none.
    pub next: Option<DeliveryId>,
}

/// Lists like [`list_outbox`], but looks at [`SCANNED_MAX`] items at most: what a filter leaves out
/// on the way was read all the same.
pub async fn page_of_outbox(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &OutboxFilter,
    before: Option<DeliveryId>,
    limit: usize,
) -> Result<OutboxPage, StoreError> {
    let end = end_of_scan(connection, tenant_id, before).await?;
    let rows = sqlx::query_as!(
        ItemRow,
        r#"
        select item.delivery_id, item.created_at, item.user_id, item.channel,
               delivery.notification_id, delivery.address, delivery.template, delivery.locale,
               delivery.message as "message: Document<Message>"
        from (
            select delivery_id, created_at, user_id, channel
            from outbox
            where tenant_id = $1
              and ($2::uuid is null or delivery_id < $2)
              and ($3::uuid is null or delivery_id >= $3)
              and ($4::text is null or user_id = $4)
              and ($5::text is null or channel = $5)
            order by delivery_id desc
            limit $6
        ) as item
        join deliveries as delivery on delivery.id = item.delivery_id
        order by item.delivery_id desc
        "#,
        tenant_id.as_str(),
        before.map(DeliveryId::as_uuid),
        end,
        filter.user_id.as_ref().map(UserId::as_str),
        filter.channel.map(Channel::as_str),
        limit as i64 + 1,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the outbox"))?;
    let items: Result<Vec<_>, _> = rows.into_iter().map(ItemRow::item).collect();
    let mut items = items?;
    if items.len() > limit {
        items.truncate(limit);
        let next = items.last().map(|item| item.delivery_id);
        return Ok(OutboxPage { items, next });
    }
    Ok(OutboxPage {
        items,
        next: end.map(DeliveryId::from),
    })
}

/// The last item that a page looks at, if there are as many as it looks at.
async fn end_of_scan(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    before: Option<DeliveryId>,
) -> Result<Option<Uuid>, StoreError> {
    sqlx::query_scalar!(
        r#"
        select delivery_id
        from outbox
        where tenant_id = $1 and ($2::uuid is null or delivery_id < $2)
        order by delivery_id desc
        limit 1 offset $3
        "#,
        tenant_id.as_str(),
        before.map(DeliveryId::as_uuid),
        SCANNED_MAX - 1,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("see where a page of the outbox ends"))
}

/// Finds a tenant's item.
pub async fn find_item(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    id: DeliveryId,
) -> Result<Option<OutboxItem>, StoreError> {
    let row = sqlx::query_as!(
        ItemRow,
        r#"
        select item.delivery_id, item.created_at, item.user_id, item.channel,
               delivery.notification_id, delivery.address, delivery.template, delivery.locale,
               delivery.message as "message: Document<Message>"
        from outbox as item
        join deliveries as delivery on delivery.id = item.delivery_id
        where item.delivery_id = $2 and item.tenant_id = $1
        "#,
        tenant_id.as_str(),
        id.as_uuid(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find an item of the outbox"))?;
    row.map(ItemRow::item).transpose()
}

/// Adds to the list in one statement. A delivery that is on it already, after a replay, stays once.
pub(crate) async fn insert_rows(
    connection: &mut PgConnection,
    rows: &[&Stored],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.delivery_id.as_uuid()).collect();
    let times: Vec<_> = rows.iter().map(|row| row.at).collect();
    let tenants: Vec<_> = rows.iter().map(|row| row.tenant_id.as_str()).collect();
    let users: Vec<_> = rows.iter().map(|row| row.user_id.as_str()).collect();
    let channels: Vec<_> = rows.iter().map(|row| row.channel.as_str()).collect();
    sqlx::query!(
        r#"
        insert into outbox (delivery_id, created_at, tenant_id, user_id, channel)
        select *
        from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[])
        on conflict do nothing
        "#,
        &ids,
        &times,
        &tenants as &[&str],
        &users as &[&str],
        &channels as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

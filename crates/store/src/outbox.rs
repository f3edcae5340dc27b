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
    let rows = sqlx::query!(
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

    rows.into_iter()
        .map(|row| {
            Ok(OutboxItem {
                delivery_id: row.delivery_id.into(),
                notification_id: row.notification_id.into(),
                user_id: row.user_id.into(),
                channel: Channel::parse(&row.channel)
                    .ok_or_else(|| unknown_word("outbox", &row.channel))?,
                created_at: row.created_at,
                address: row.address,
                template: row.template,
                locale: row.locale,
                message: row.message.map(|message| message.0),
            })
        })
        .collect()
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

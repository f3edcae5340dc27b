//! What routing needs to know of people: where they are reached, and what they want.

use domain::{Addresses, ConsentCategories, Consents, Preferences, Recipient, TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::StoreError;
use crate::consents::Standing;
use crate::error::during;
use crate::json::Document;

/// A person of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownRecipient {
    pub tenant_id: TenantId,
    pub recipient: Recipient,
}

/// Finds users and their preferences, for a whole claim of jobs, in one statement.
///
/// Who has neither row is left out, for nothing is known of them; unless consent is asked for some
/// category, which they have not given.
pub async fn list_recipients(
    connection: &mut PgConnection,
    ids: &[(&TenantId, &UserId)],
    asked: &ConsentCategories,
) -> Result<Vec<KnownRecipient>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<_> = ids.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let users: Vec<_> = ids.iter().map(|(_, user)| user.as_str()).collect();
    // Each is looked up by key, whatever the planner thinks of the tables: hence the limits.
    let rows = sqlx::query!(
        r#"
        select wanted.tenant_id as "tenant_id!", wanted.user_id as "user_id!",
               known.addresses as "addresses?: Json<Addresses>", known.locale as "locale?",
               known.timezone as "timezone?", said.body as "body?: Document<Value>",
               agreed.records as "records?: Json<Vec<Standing>>"
        from unnest($1::text[], $2::text[]) as wanted (tenant_id, user_id)
        left join lateral (
            select user_id, addresses, locale, timezone
            from users
            where users.tenant_id = wanted.tenant_id and users.user_id = wanted.user_id
            limit 1
        ) as known on true
        left join lateral (
            select user_id, body
            from preferences
            where preferences.tenant_id = wanted.tenant_id
              and preferences.user_id = wanted.user_id
            limit 1
        ) as said on true
        cross join lateral (
            select jsonb_agg(
                jsonb_build_object(
                    'category', category, 'channel', channel, 'granted', granted
                )
                order by consent_id desc
            ) as records
            from consents
            where consents.tenant_id = wanted.tenant_id and consents.user_id = wanted.user_id
              and consents.category = any($3::text[]) and consents.superseded_at is null
        ) as agreed
        where known.user_id is not null or said.user_id is not null or cardinality($3) > 0
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &asked.names() as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("read recipients"))?;

    let recipients = rows.into_iter().map(|row| {
        let records = row.records.map(|records| records.0).unwrap_or_default();
        let records = records.into_iter().map(Standing::read);
        let records = records.collect::<Result<_, _>>()?;
        Ok(KnownRecipient {
            tenant_id: row.tenant_id.into(),
            recipient: Recipient {
                user_id: row.user_id.into(),
                addresses: row
                    .addresses
                    .map(|addresses| addresses.0)
                    .unwrap_or_default(),
                locale: row.locale,
                timezone: row.timezone,
                preferences: row
                    .body
                    .map(|body| Preferences::of_stored(body.0))
                    .unwrap_or_default(),
                consents: Consents::new(asked.clone(), records),
            },
        })
    });
    recipients.collect()
}

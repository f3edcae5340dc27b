//! What a settlement adds to the counts: what it planned, and where its deliveries came to.
//!
//! Priority and tenant are the notification's. The statements that write notifications answer them,
//! so that nothing is read for it but where none of them met the row.

use std::collections::HashMap;

use domain::{NotificationId, Priority, TenantId};
use sqlx::PgConnection;

use super::fold::{Deliveries, Sorted};
use super::write;
use crate::effect::{Decided, NewNotification};
use crate::stats::{Counted, Counts};

/// What the counts need to know of a notification.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) tenant_id: TenantId,
    pub(super) priority: Priority,
    pub(super) is_test: bool,
    /// The side of a test that it is on: `<rule id>/<action>/<variant>`.
    pub(super) side: Option<String>,
}

/// The notifications of a settlement, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<NotificationId, Facts>);

impl Known {
    pub(super) fn planned(rows: &[&NewNotification]) -> Self {
        let facts = |row: &&NewNotification| Facts {
            tenant_id: row.tenant_id.clone(),
            priority: row.priority,
            is_test: row.is_test,
            side: side_of(&row.decided),
        };
        Self(rows.iter().map(|row| (row.id, facts(row))).collect())
    }

    pub(super) fn learn(&mut self, rows: impl IntoIterator<Item = (NotificationId, Facts)>) {
        self.0.extend(rows);
    }
}

/// Writes the counts of a settlement. `routed` are the direct sends that it routed.
pub(super) async fn write(
    connection: &mut PgConnection,
    mut known: Known,
    sorted: &Sorted<'_>,
    routed: &[NotificationId],
    deliveries: &Deliveries<'_>,
) -> Result<(), sqlx::Error> {
    let moved = deliveries.changed();
    let moved: Vec<_> = moved.filter(|row| row.was != row.status).collect();
    let planned = || sorted.deliveries.iter().chain(&sorted.added);
    let mut unknown: Vec<_> = planned()
        .map(|row| row.notification_id)
        .chain(moved.iter().map(|row| row.notification_id))
        .filter(|id| !known.0.contains_key(id))
        .collect();
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        known.learn(write::facts(connection, &unknown).await?);
    }

    let mut counts = Counts::default();
    let emitted = sorted.notifications.iter().map(|row| row.id);
    // A row that is gone, or is a test, is not counted.
    let facts = |id: NotificationId| known.0.get(&id).filter(|facts| !facts.is_test);
    for id in emitted.chain(routed.iter().copied()) {
        if let Some(facts) = facts(id) {
            let side = facts.side.as_deref();
            counts.notification(&facts.tenant_id, id.as_uuid(), facts.priority, side);
        }
    }
    for row in planned() {
        if let Some(facts) = facts(row.notification_id) {
            let delivery = Counted {
                tenant_id: &facts.tenant_id,
                id: row.id.as_uuid(),
                channel: row.channel,
                priority: facts.priority,
                side: facts.side.as_deref(),
            };
            counts.planned(&delivery, row.status);
        }
    }
    for row in moved {
        if let Some(facts) = facts(row.notification_id) {
            let delivery = Counted {
                tenant_id: &facts.tenant_id,
                id: row.id.as_uuid(),
                channel: row.channel,
                priority: facts.priority,
                side: facts.side.as_deref(),
            };
            counts.moved(&delivery, row.was, row.status);
        }
    }
    counts.write(connection).await
}

/// How a side of a test is written in the counts; the statements of [`write`](mod@write) write it
/// likewise.
fn side_of(decided: &Decided) -> Option<String> {
    let (rule_id, action) = decided.rule?;
    let variant = decided.variant.as_deref()?;
    Some(format!("{rule_id}/{action}/{variant}"))
}

/// Reads the words of a row that the counts need.
pub(super) fn read(
    tenant_id: String,
    priority: &str,
    is_test: bool,
    side: Option<String>,
) -> Result<Facts, sqlx::Error> {
    let priority = Priority::parse(priority)
        .ok_or_else(|| sqlx::Error::Decode(format!("unknown priority {priority:?}").into()))?;
    Ok(Facts {
        tenant_id: tenant_id.into(),
        priority,
        is_test,
        side,
    })
}

//! The in-app half of [`deliver`](crate::deliver): the message is put into the user's feed.
//!
//! No provider is involved and nothing can be lost on the way: the feed's row, its `seq` and the
//! end of the job are one commit. Sockets are woken after it.

use chrono::{DateTime, Utc};
use queue::Outcome;
use store::Effect;
use store::effect::InboxArrival;
use store::prepare::ToDeliver;

pub(crate) fn arrived(row: &ToDeliver, now: DateTime<Utc>) -> Outcome<Effect> {
    Outcome::completed().with(Effect::InboxArrived(InboxArrival {
        delivery_id: row.id,
        notification_id: row.notification_id,
        tenant_id: row.tenant_id.clone(),
        user_id: row.user_id.clone(),
        attempt: row.attempts + 1,
        started_at: now,
        at: now,
        is_sole: row.is_sole,
    }))
}

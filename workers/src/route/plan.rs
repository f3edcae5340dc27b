//! Asks the domain what each user is told of what came in.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{ActionFacts, DirectFacts, PlannedNotification, Recipient, Status};
use store::notifications::Notification;

use super::facts;
use super::load::Source;
use crate::at_once::Arrival;
use crate::catalog::Shelf;

/// What one user is told.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) notification: PlannedNotification,
    /// What is known of the user.
    pub(crate) recipient: Option<Arc<Recipient>>,
    /// How it reaches their feed by the settlement that plans it, if it may.
    pub(crate) arrival: Option<Arrival>,
}

impl Planned {
    fn new(notification: PlannedNotification, recipient: Option<&Arc<Recipient>>) -> Self {
        Self {
            notification,
            recipient: recipient.map(Arc::clone),
            arrival: None,
        }
    }
}

/// Plans the users of this page who are told by themselves. A digest is planned when its job runs:
/// see [`tell`](super::tell).
pub(super) fn plan(source: &Source, shelf: &Shelf, now: DateTime<Utc>) -> Vec<Planned> {
    match source {
        Source::Event { event, heard, .. } => {
            let names = shelf.template_names(&event.tenant_id);
            let mut planned = Vec::new();
            for heard in heard {
                let facts = ActionFacts {
                    event: facts(event),
                    origin: heard.origin(),
                    templates: &names,
                };
                if heard.batch(&facts).is_some() {
                    continue;
                }
                planned.extend(heard.recipients.iter().map(|(user_id, recipient)| {
                    let notification = facts.plan(user_id, recipient.as_deref(), now);
                    Planned::new(notification, recipient.as_ref())
                }));
            }
            planned
        }
        // Routed or cancelled before: nothing is left to decide.
        Source::Notification(sent, _) if is_routed(sent) => Vec::new(),
        Source::Notification(sent, recipient) => {
            let names = shelf.template_names(&sent.tenant_id);
            let facts = DirectFacts {
                user_id: &sent.user_id,
                channels: sent.channels.as_deref(),
                template: sent.template.as_deref(),
                priority: sent.priority,
                category: sent.category.as_deref(),
                data: sent.data.as_ref(),
                is_test: sent.is_test,
                locale: sent.locale.as_deref(),
                send_at: sent.send_at,
                expires_at: sent.expires_at,
                bypass_quiet_hours: sent.bypass_quiet_hours,
            };
            let planned = domain::route_direct(facts, &names, recipient.as_deref(), now);
            vec![Planned::new(planned, recipient.as_ref())]
        }
        Source::Digest(..) => Vec::new(),
    }
}

/// What waits for the end of quiet hours is `pending` too, but has its deliveries.
fn is_routed(sent: &Notification) -> bool {
    sent.status != Status::Pending || sent.delivery_count > 0
}

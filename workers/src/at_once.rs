//! At once: an in-app message that nothing stands in the way of reaches its feed by the settlement
//! that routes it.
//!
//! A feed is a table of ours. Nobody outside is asked, so nothing can be uncertain, and one job does
//! what would be three: the event's `route`, without a `render` and a `deliver` after it. What it
//! writes is what those would have written. `bench pipeline` had 5 500 and 5 200 notifications/s
//! without this and 6 700 and 7 100 with it, in turn on two cores.
//!
//! Everything else takes the usual way: what does not render, what a rate limit holds back, what
//! waits, what is a test, what is one of many, and all while an operator has paused one of the two
//! queues or has them worked on elsewhere. So what can go wrong goes wrong in the job that is named
//! for it, and is seen where it is looked for.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, Message, NotificationId, PlannedNotification, SendFacts, Status, TenantId};
use queue::Failure;
use render::{EventVars, Rendered};
use serde_json::Value;
use store::events::Event;
use store::notifications::Notification;
use store::{Connection, Store, StoreError};

use crate::brief::{Brief, template_of};
use crate::compiled::Text;
use crate::context::Context;
use crate::route::{self, Loaded, Planned, Route, Source};
use crate::throttle::{self, Admission, Asking};
use crate::{loading, queues};

/// The queues that are spared a job.
pub(crate) const SPARED: [&str; 2] = [queues::RENDER, queues::of(Channel::InApp)];

/// Messages of one job that arrive at once. More are shared out among workers.
const MESSAGES_MAX: usize = 64;

/// How long one job may render before the rest takes the usual way: some templates work hard.
const RENDERING_MAX: TimeDelta = TimeDelta::milliseconds(50);

/// How long counting the slots may take: routing waits for it, whatever it routes.
const COUNTING_MAX: Duration = Duration::from_millis(250);

/// What an in-app delivery needs to arrive.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Which of the notification's deliveries it is.
    position: usize,
    /// `None` for a direct send that brings its own words.
    text: Option<Text>,
    /// Until when its rate limits let it pass; `None` where none speaks of it.
    until: Option<DateTime<Utc>>,
}

/// An in-app delivery with its words, to be put into its feed.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) position: usize,
    pub(crate) message: Message,
    pub(crate) template: Option<String>,
    pub(crate) locale: String,
}

/// Loads a claim of `route` jobs, and says which of their messages may arrive at once.
pub(crate) async fn load(
    store: &Store,
    cx: &Context,
    jobs: &[Route],
) -> Result<Vec<Option<Arc<Loaded>>>, Failure> {
    let mut loaded = loading::with_connection(store, async |db| {
        let mut loaded = route::prepare(db, cx, jobs).await?;
        if cx.arrives_at_once {
            find(db, cx, &mut loaded).await?;
        }
        Ok(loaded)
    })
    .await?;
    take_slots(store, cx, &mut loaded).await;
    Ok(loaded.into_iter().map(|it| it.map(Arc::new)).collect())
}

/// Finds what may arrive, and its words.
async fn find(
    connection: &mut Connection,
    cx: &Context,
    loaded: &mut [Option<Loaded>],
) -> Result<(), StoreError> {
    let mut found = Vec::new();
    for (job, loaded) in loaded.iter().enumerate() {
        let Some(loaded) = loaded else { continue };
        let Some(subject) = Subject::of(&loaded.source) else {
            continue;
        };
        for (place, planned) in loaded.planned.iter().enumerate().take(MESSAGES_MAX) {
            let notification = &planned.notification;
            let Some(position) = arriving(notification) else {
                continue;
            };
            let name = template_of(notification.template.as_deref(), subject.content);
            let version = name.map(|name| {
                let pinned = notification.template_version;
                loaded.shelf.version(subject.tenant_id, name, pinned)
            });
            // Without a version there is nothing to tell it in, which its job will say.
            if version.as_ref().is_none_or(Option::is_some) {
                found.push((job, place, position, version.flatten()));
            }
        }
    }
    if found.is_empty() || !are_open(connection).await? {
        return Ok(());
    }
    let wanted = found
        .iter()
        .filter_map(|(_, _, _, version)| version.clone());
    let wanted: Vec<_> = wanted.collect();
    let pinned = cx.catalog.pinned(connection, &wanted).await?;
    for (job, place, position, version) in found {
        let text = version.map(|version| pinned.get(&version));
        let planned = loaded[job]
            .as_mut()
            .and_then(|it| it.planned.get_mut(place));
        if let Some(planned) = planned.filter(|_| !matches!(text, Some(Err(_)))) {
            planned.arrival = Some(Arrival {
                position,
                text,
                until: None,
            });
        }
    }
    Ok(())
}

async fn are_open(connection: &mut Connection) -> Result<bool, StoreError> {
    let open = queue::control::are_open(connection, &SPARED).await;
    open.map_err(|source| StoreError::Database {
        operation: "look for paused queues",
        source,
    })
}

/// The in-app delivery that is due now.
fn arriving(planned: &PlannedNotification) -> Option<usize> {
    planned.deliveries.iter().position(|delivery| {
        delivery.channel == Channel::InApp
            && delivery.status == Status::Queued
            && delivery.quiet.is_none()
    })
}

/// Takes the slots of what may arrive. What gets none, or cannot be counted, takes the usual way.
async fn take_slots(store: &Store, cx: &Context, loaded: &mut [Option<Loaded>]) {
    let mut asking = Vec::new();
    let mut arrivals = Vec::new();
    for loaded in loaded.iter_mut().flatten() {
        let Some(subject) = Subject::of(&loaded.source) else {
            continue;
        };
        let limits = loaded.shelf.limits(subject.tenant_id);
        for planned in &mut loaded.planned {
            if planned.arrival.is_none() {
                continue;
            }
            let notification = &planned.notification;
            let claims = limits.of(&SendFacts {
                tenant_id: subject.tenant_id,
                user_id: &notification.user_id,
                channel: Channel::InApp,
                category: notification.category.as_deref(),
                event_type: subject.kind,
                provider: None,
                address: None,
            });
            if !claims.is_empty() {
                let priority = notification.priority;
                asking.push(Asking { priority, claims });
                arrivals.push(&mut planned.arrival);
            }
        }
    }
    let admissions = throttle::admit(store, cx, &asking, COUNTING_MAX).await;
    let mut admissions = admissions.map(Vec::into_iter);
    for arrival in arrivals {
        match (admissions.as_mut().and_then(Iterator::next), &mut *arrival) {
            (Some(Admission::Slot { until }), Some(arrival)) => arrival.until = Some(until),
            _ => *arrival = None,
        }
    }
}

/// What a message is about, as far as its way depends on it.
struct Subject<'a> {
    tenant_id: &'a TenantId,
    kind: &'a str,
    content: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// `None` for what always takes the usual way.
    fn of(source: &'a Source) -> Option<Self> {
        match source {
            Source::Event { event, .. } => Some(Self {
                tenant_id: &event.tenant_id,
                kind: &event.kind,
                content: None,
            }),
            Source::Notification(sent, _) if sent.send_at.is_none() && !sent.is_test => {
                Some(Self {
                    tenant_id: &sent.tenant_id,
                    kind: &sent.kind,
                    content: sent.content.as_deref(),
                })
            }
            Source::Notification(..) | Source::Digest(..) => None,
        }
    }
}

/// The rendering of one job's messages, which is not to take for ever.
pub(crate) struct Pace<'a> {
    cx: &'a Context,
    ends_at: DateTime<Utc>,
    count: usize,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(cx: &'a Context) -> Self {
        Self {
            cx,
            ends_at: cx.clock.now() + RENDERING_MAX,
            count: 0,
        }
    }

    /// Renders a message that may arrive; `None` where it takes the usual way.
    pub(crate) async fn arrive<'b>(
        &mut self,
        planned: &Planned,
        brief: impl FnOnce() -> Brief<'b>,
    ) -> Option<Arrived> {
        let arrival = planned.arrival.as_ref()?;
        if self.count > 0 {
            // Others wait for this thread.
            tokio::task::yield_now().await;
        }
        self.count += 1;
        let now = self.cx.clock.now();
        if now > self.ends_at || arrival.until.is_some_and(|until| until < now) {
            return None;
        }
        let brief = brief();
        let needs_reader = matches!(&arrival.text, Some(Ok(text)) if text.needs_reader());
        let reader = planned.recipient.as_deref().filter(|_| needs_reader);
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            brief.render(arrival.text.as_ref(), reader, &self.cx.brand)
        }));
        let Rendered { message, locale } = rendered.ok()?.ok()?;
        Some(Arrived {
            position: arrival.position,
            message,
            template: brief.template().map(str::to_owned),
            locale,
        })
    }
}

/// The message that tells an event.
pub(crate) fn of_event<'a>(
    event: &'a Event,
    planned: &'a Planned,
    id: NotificationId,
    now: DateTime<Utc>,
) -> Brief<'a> {
    let planned = &planned.notification;
    let vars = (!planned.vars.is_empty()).then(|| Value::Object(planned.vars.clone()));
    let facts = EventVars {
        id: &event.event_id,
        kind: &event.kind,
        created_at: event.created_at,
    };
    Brief {
        tenant_id: &event.tenant_id,
        user_id: &planned.user_id,
        notification_id: id,
        channel: Channel::InApp,
        kind: &event.kind,
        category: planned.category.as_deref(),
        priority: planned.priority,
        created_at: now,
        template: planned.template.as_deref(),
        template_version: planned.template_version,
        locale: planned.locale.as_deref(),
        subject: None,
        content: None,
        data: vars.map(Cow::Owned),
        event: Some((facts, &event.payload)),
        digest: None,
    }
}

/// The message of a direct send.
pub(crate) fn of_send<'a>(sent: &'a Notification, planned: &'a Planned) -> Brief<'a> {
    let planned = &planned.notification;
    Brief {
        tenant_id: &sent.tenant_id,
        user_id: &sent.user_id,
        notification_id: sent.id,
        channel: Channel::InApp,
        kind: &sent.kind,
        category: planned.category.as_deref(),
        priority: sent.priority,
        created_at: sent.created_at,
        template: sent.template.as_deref(),
        template_version: planned.template_version,
        locale: planned.locale.as_deref(),
        subject: sent.subject.as_deref(),
        content: sent.content.as_deref(),
        data: sent.data.as_ref().map(Cow::Borrowed),
        event: None,
        digest: None,
    }
}

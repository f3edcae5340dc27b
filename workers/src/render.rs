//! `render`: template, locale and data to a stored message.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | [`route`](crate::route), due at the notification's `send_at`; [`quiet_hours`](crate::quiet_hours) |
//! | Queue | `render` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | rendering changes nothing outside; the message is written with the job's ending |
//!
//! A template that fails, fails again: the delivery has `failed` and the job is buried as
//! `permanent`, to be replayed once the template or the data is mended.
//!
//! What has waited, for its `send_at` or otherwise, is held against the user's [`wishes`] once more.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    Channel, ConsentCategories, DeliveryId, MailParts, Message, Recipient, Status, TraceStep,
};
use queue::{Failure, Job, LeaseInfo, Outcome};
use render::{DEFAULT_LOCALE, EventVars, Gathered, NotificationVars, Rendered, UserVars, Vars};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::effect::DeliveryMove;
use store::prepare::ToRender;
use store::recipients::list_recipients;
use store::templates::VersionRef;
use store::{Connection, Effect, StoreError};

use crate::catalog::Shelf;
use crate::compiled::{PinError, PinnedTemplates, Text};
use crate::context::Context;
use crate::deliver::Deliver;
use crate::delivery::DeliveryFacts;
use crate::loading::lined_up;
use crate::{queues, wishes};

const STEP: &str = "render";

/// Payload of a `render` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Render {
    /// The delivery that gets its message.
    pub delivery_id: DeliveryId,
}

impl Job for Render {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "render";
}

/// A delivery, and the template that it is told in.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    row: ToRender,
    /// `None` for a direct send that brings its own words.
    text: Option<Text>,
    /// Who reads it, if the template asks and something is known of them.
    reader: Option<Recipient>,
}

impl Loaded {
    pub(crate) fn of(row: ToRender, shelf: &Shelf, pinned: &PinnedTemplates) -> Self {
        let text = template(&row).map(|name| match version(&row, name, shelf) {
            Some(version) => pinned.get(&version),
            None => Err(PinError::Unknown {
                name: name.to_owned(),
            }),
        });
        Self {
            row,
            text,
            reader: None,
        }
    }

    /// Whether the template depends on who reads it.
    fn needs_reader(&self) -> bool {
        matches!(&self.text, Some(Ok(template)) if template.needs_reader())
    }
}

/// The version that routing has pinned. What it routed before it pinned any is told in the current
/// one.
fn version(row: &ToRender, name: &str, shelf: &Shelf) -> Option<VersionRef> {
    shelf.version(&row.tenant_id, name, row.template_version)
}

/// Loads the deliveries of a claim, with their notification and event, and the versions of
/// templates that this process has not at hand.
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[Render],
) -> Result<Vec<Option<Arc<Loaded>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.delivery_id).collect();
    let latest = cx.catalog.latest();
    let again = wishes::ask_again(cx.clock.now(), latest.consent());
    let rows = store::prepare::load_for_render(connection, &ids, again).await?;
    let is_pinned = |row: &ToRender| row.template_version.is_some() || template(row).is_none();
    let shelf = if rows.iter().all(is_pinned) {
        cx.catalog.latest()
    } else {
        cx.catalog.current(connection).await?
    };
    let wanted = rows
        .iter()
        .filter_map(|row| version(row, template(row)?, &shelf));
    let wanted: Vec<_> = wanted.collect();
    let pinned = cx.catalog.pinned(connection, &wanted).await?;
    let rows = rows.into_iter();
    let mut loaded: Vec<_> = rows.map(|row| Loaded::of(row, &shelf, &pinned)).collect();
    add_readers(connection, &mut loaded).await?;
    Ok(lined_up(&ids, loaded, |loaded: &Loaded| loaded.row.id))
}

/// Reads who the readers are, of those deliveries whose template depends on it.
async fn add_readers(connection: &mut Connection, loaded: &mut [Loaded]) -> Result<(), StoreError> {
    let wanted: BTreeSet<_> = loaded
        .iter()
        .filter(|it| it.needs_reader())
        .map(|it| (&it.row.tenant_id, &it.row.user_id))
        .collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    let unasked = ConsentCategories::none();
    let known = list_recipients(connection, &wanted, &unasked).await?;
    let known: HashMap<_, _> = known
        .into_iter()
        .map(|known| {
            (
                (known.tenant_id, known.recipient.user_id.clone()),
                known.recipient,
            )
        })
        .collect();
    for it in loaded.iter_mut().filter(|it| it.needs_reader()) {
        let key = (it.row.tenant_id.clone(), it.row.user_id.clone());
        it.reader = known.get(&key).cloned();
    }
    Ok(())
}

pub(crate) async fn run(
    job: Render,
    loaded: Option<&Loaded>,
    cx: &Context,
    lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(Loaded { row, text, reader }) = loaded else {
        tracing::warn!(delivery.id = %job.delivery_id, "nothing to render, the row is gone");
        return Ok(Outcome::cancelled());
    };
    let now = cx.clock.now();
    let delivery = facts(row);
    // Two jobs may have planned one stand-in; it is worked on by the one that its row names.
    let is_anothers = row.job_id.is_some_and(|id| id != lease.job_id.as_uuid());
    if delivery.is_over() || is_anothers {
        return Ok(Outcome::completed());
    }
    if delivery.has_expired(now) {
        return Ok(delivery.expired(STEP, now));
    }
    let category = row.category.as_deref();
    if let Some(held) = wishes::held(&delivery, category, row.wishes.as_ref(), STEP, now) {
        return Ok(held);
    }
    if row.digest.as_ref().is_some_and(|items| items.count == 0) {
        return Ok(emptied(&delivery, now));
    }
    let mail = match mail(row) {
        Ok(mail) => mail,
        Err(error) => return Ok(delivery.failed(STEP, "permanent", &error, None, now)),
    };
    Ok(match message(row, text.as_ref(), reader.as_ref(), cx) {
        Ok(Rendered { message, locale }) => rendered(row, Message { mail, ..message }, locale, now),
        Err(error) => delivery.failed(STEP, "permanent", &error, None, now),
    })
}

/// The end of a delivery that tells a digest of which everything was taken back or erased.
fn emptied(delivery: &DeliveryFacts<'_>, now: DateTime<Utc>) -> Outcome<Effect> {
    let reason = "nothing of its digest is left to be told";
    let moved = DeliveryMove {
        error: Some(reason.to_owned()),
        ..delivery.moved(Status::Cancelled, now)
    };
    Outcome::completed()
        .with(Effect::DeliveryMoved(moved))
        .with(delivery.traced(now, TraceStep::new(STEP, "cancelled", reason)))
}

/// The copies and attachments of a direct send, where it goes out as a mail. They were checked at
/// the door if the request named the channel, and here if routing chose it.
fn mail(row: &ToRender) -> Result<Option<MailParts>, String> {
    match (&row.data, row.channel) {
        (Some(data), Channel::Email) => MailParts::from_data(data).map_err(|errors| {
            let each = errors
                .iter()
                .map(|error| format!("{}: {}", error.pointer, error.detail));
            each.collect::<Vec<_>>().join("; ")
        }),
        _ => Ok(None),
    }
}

/// Stores the message and plans its sending.
fn rendered(
    row: &ToRender,
    message: Message,
    locale: String,
    now: DateTime<Utc>,
) -> Outcome<Effect> {
    let delivery = facts(row);
    let deliver = Deliver {
        delivery_id: row.id,
    };
    let next = delivery.job(queues::of(row.channel), &deliver, now);
    Outcome::completed()
        .with(Effect::DeliveryRendered {
            id: row.id,
            message: Box::new(message),
            template: template(row).map(str::to_owned),
            locale: Some(locale),
            job_id: Some(next.job_id.as_uuid()),
        })
        .then(next)
}

/// The error is for people.
fn message(
    row: &ToRender,
    text: Option<&Text>,
    reader: Option<&Recipient>,
    cx: &Context,
) -> Result<Rendered, String> {
    let locale = locale(row);
    let Some(text) = text else {
        let content = row.content.as_deref().unwrap_or_default();
        return Ok(Rendered {
            message: render::literal(row.channel, row.subject.as_deref(), content),
            locale: locale.to_owned(),
        });
    };
    let template = text.as_ref().map_err(ToString::to_string)?;
    let event = row.event.as_ref();
    let payload = event.map(|event| &event.payload);
    let data = with_vars(payload, row.data.as_ref());
    let gathered = row.digest.as_deref().map(|digest| Gathered {
        items: &digest.payloads,
        count: digest.count,
        last: payload,
    });
    let vars = Vars {
        data: &data,
        event: event.map(|event| EventVars {
            id: &event.event_id,
            kind: &event.kind,
            created_at: event.created_at,
        }),
        items: gathered,
        user: UserVars {
            id: &row.user_id,
            locale: reader.and_then(Recipient::language),
            timezone: reader.and_then(Recipient::zone_name),
        },
        notification: NotificationVars {
            id: row.notification_id,
            kind: &row.kind,
            category: row.category.as_deref(),
            priority: row.priority,
            created_at: row.created_at,
        },
        brand: &cx.brand,
        locale,
    };
    let mut rendered = template
        .render(row.channel, &vars)
        .map_err(|error| queue::describe(&error))?;
    // A subject that came with the send wins over the template's, where the channel has one.
    if let (Some(subject), Some(own)) = (&mut rendered.message.subject, &row.subject) {
        subject.clone_from(own);
    }
    Ok(rendered)
}

/// The payload with what its rule adds, which wins; a direct send has its data alone.
fn with_vars<'a>(payload: Option<&'a Value>, vars: Option<&'a Value>) -> Cow<'a, Value> {
    match (payload, vars) {
        (Some(Value::Object(payload)), Some(Value::Object(vars))) => {
            let mut both = payload.clone();
            both.extend(vars.clone());
            Cow::Owned(Value::Object(both))
        }
        (Some(alone), _) | (None, Some(alone)) => Cow::Borrowed(alone),
        (None, None) => Cow::Owned(Value::Null),
    }
}

/// `None` for a direct send that brings its own words.
fn template(row: &ToRender) -> Option<&str> {
    match (&row.template, &row.content) {
        (Some(template), _) => Some(template),
        (None, Some(_)) => None,
        (None, None) => Some(render::PLAIN),
    }
}

fn locale(row: &ToRender) -> &str {
    row.locale.as_deref().unwrap_or(DEFAULT_LOCALE)
}

fn facts(row: &ToRender) -> DeliveryFacts<'_> {
    DeliveryFacts {
        id: row.id,
        notification_id: row.notification_id,
        tenant_id: &row.tenant_id,
        user_id: &row.user_id,
        channel: row.channel,
        address: row.address.as_deref(),
        status: row.status,
        priority: row.priority,
        expires_at: row.expires_at,
        is_sole: row.is_sole,
    }
}

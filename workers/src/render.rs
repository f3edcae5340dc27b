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
use render::{EventVars, Rendered};
use serde::{Deserialize, Serialize};
use store::effect::DeliveryMove;
use store::prepare::ToRender;
use store::recipients::list_recipients;
use store::{Connection, Effect, StoreError};

use crate::brief::Brief;
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
        let brief = brief(&row);
        let text = brief.template().map(|name| match brief.version(shelf) {
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
    let is_pinned =
        |row: &ToRender| row.template_version.is_some() || brief(row).template().is_none();
    let shelf = if rows.iter().all(is_pinned) {
        cx.catalog.latest()
    } else {
        cx.catalog.current(connection).await?
    };
    let wanted = rows.iter().filter_map(|row| brief(row).version(&shelf));
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
    Ok(
        match brief(row).render(text.as_ref(), reader.as_ref(), &cx.brand) {
            Ok(Rendered { message, locale }) => {
                rendered(row, Message { mail, ..message }, locale, now)
            }
            Err(error) => delivery.failed(STEP, "permanent", &error, None, now),
        },
    )
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
            template: brief(row).template().map(str::to_owned),
            locale: Some(locale),
            job_id: Some(next.job_id.as_uuid()),
        })
        .then(next)
}

fn brief(row: &ToRender) -> Brief<'_> {
    Brief {
        tenant_id: &row.tenant_id,
        user_id: &row.user_id,
        notification_id: row.notification_id,
        channel: row.channel,
        kind: &row.kind,
        category: row.category.as_deref(),
        priority: row.priority,
        created_at: row.created_at,
        template: row.template.as_deref(),
        template_version: row.template_version,
        locale: row.locale.as_deref(),
        subject: row.subject.as_deref(),
        content: row.content.as_deref(),
        data: row.data.as_ref().map(Cow::Borrowed),
        event: row.event.as_ref().map(|event| {
            let vars = EventVars {
                id: &event.event_id,
                kind: &event.kind,
                created_at: event.created_at,
            };
            (vars, &event.payload)
        }),
        digest: row.digest.as_deref(),
    }
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

//! Handlers as functions of values: rows in, outcome out, no database.

mod at_once;
mod burial;
mod crash_digest;
mod deliver;
mod digest;
mod digest_way;
mod quiet_hours;
mod render;
mod retry;
mod route;
mod schedule;
mod stand_in;
mod throttle;
mod way;

use ::channels::Channels;
use ::render::Templates;
use chrono::{DateTime, Utc};
use domain::{Channel, DeliveryId, Message, NotificationId, Priority, Status};
use queue::{Clock, Ending, JobId, LeaseInfo, Outcome};
use serde_json::json;
use store::Effect;
use store::prepare::{ToDeliver, ToRender};

use crate::{Catalog, Context};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn context(channels: Channels) -> Context {
    let templates = Templates::builtin().unwrap();
    Context::new(Catalog::new(templates), channels, Clock::manual(now())).seeded(7)
}

/// The lease of a first run.
fn lease() -> LeaseInfo {
    LeaseInfo {
        job_id: JobId::at(now()),
        attempt: 1,
        failures: 0,
        crashes: 0,
        max_attempts: 8,
    }
}

/// The lease of a run after one that left no answer.
fn uncertain_lease() -> LeaseInfo {
    LeaseInfo {
        attempt: 2,
        crashes: 1,
        ..lease()
    }
}

fn to_send(channel: Channel) -> ToDeliver {
    ToDeliver {
        understudy: None,
        id: DeliveryId::at(now()),
        notification_id: NotificationId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        channel,
        status: Status::Queued,
        attempts: 0,
        provider: None,
        address: Some("ada@example.com".into()),
        kind: "notification".into(),
        priority: Priority::High,
        category: None,
        created_at: now(),
        expires_at: None,
        is_test: false,
        wishes: None,
        is_sole: true,
        is_rendered: true,
        message: Some(Message {
            subject: None,
            body: "Hi".into(),
            body_html: None,
            data: None,
            mail: None,
        }),
        limits_revision: 0,
    }
}

fn to_render(channel: Channel) -> ToRender {
    ToRender {
        job_id: None,
        id: DeliveryId::at(now()),
        notification_id: NotificationId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        channel,
        status: Status::Queued,
        priority: Priority::Normal,
        category: None,
        kind: "notification".into(),
        template: None,
        template_version: None,
        locale: None,
        subject: None,
        content: None,
        address: None,
        created_at: now(),
        expires_at: None,
        data: Some(json!({})),
        event: None,
        is_test: false,
        wishes: None,
        is_sole: true,
        digest: None,
    }
}

/// The statuses that the outcome moves deliveries to, in order.
fn statuses(outcome: &Outcome<Effect>) -> Vec<Status> {
    let moves = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::DeliveryMoved(moved) => Some(moved.status),
        _ => None,
    });
    moves.collect()
}

/// The word a dead letter would carry.
fn buried_as(outcome: &Outcome<Effect>) -> Option<&str> {
    match &outcome.ending {
        Ending::Bury { reason, .. } => Some(reason),
        _ => None,
    }
}

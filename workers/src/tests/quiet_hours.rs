//! What becomes of a delivery when quiet hours should be over, and of one that comes into them.

use std::sync::Arc;

use ::channels::{Channels, Scripted, SendError};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, Preferences, Status, TraceStep};
use queue::{Ending, Outcome};
use serde_json::{Value, json};
use store::Effect;
use store::prepare::{ToDeliver, Wishes};

use super::{context, lease, now, statuses, to_send};
use crate::quiet_hours::run;
use crate::{Deliver, QuietHours, deliver};

/// It is 08:00 in UTC; what the user said, and the zone of their row.
fn wishes(said: Value, timezone: Option<&str>) -> Wishes {
    Wishes {
        consents: domain::Consents::default(),
        preferences: Preferences::parse(said).unwrap(),
        timezone: timezone.map(str::to_owned),
        severity: None,
        bypass_quiet_hours: false,
    }
}

/// Quiet until 09:30 in UTC.
fn quiet_now() -> Wishes {
    let quiet_hours = json!({"enabled": true, "start": "22:00", "end": "09:30"});
    wishes(json!({"quiet_hours": quiet_hours}), None)
}

fn held(status: Status, wishes: Option<Wishes>) -> ToDeliver {
    ToDeliver {
        status,
        wishes,
        created_at: now() - TimeDelta::hours(8),
        is_rendered: false,
        ..to_send(Channel::Email)
    }
}

async fn due(row: &ToDeliver) -> Outcome<Effect> {
    let job = QuietHours {
        delivery_id: row.id,
    };
    run(job, Some(row), &context(Channels::new()), lease())
        .await
        .unwrap()
}

/// Queue, kind and time of the one job that comes next.
fn next(outcome: &Outcome<Effect>) -> (&str, &str, Option<DateTime<Utc>>) {
    let [job] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    (job.queue.as_str(), job.kind.as_str(), job.run_at)
}

/// The one decision in the trace.
fn step(outcome: &Outcome<Effect>) -> &TraceStep {
    let mut steps = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Traced { steps, .. } => Some(&steps[0]),
        _ => None,
    });
    let step = steps.next().unwrap();
    assert!(steps.next().is_none());
    step
}

#[tokio::test]
async fn what_is_not_quiet_any_more_is_rendered_or_sent_if_it_was_rendered() {
    let planned = due(&held(Status::Pending, None)).await;
    assert_eq!(planned.ending, Ending::Complete);
    assert_eq!(statuses(&planned), [Status::Queued]);
    assert_eq!(next(&planned), ("render", "render", None));

    let night_before = json!({"quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00"}});
    let rendered = ToDeliver {
        is_rendered: true,
        ..held(Status::Retrying, Some(wishes(night_before, None)))
    };
    let rendered = due(&rendered).await;
    assert_eq!(statuses(&rendered), [Status::Retrying]);
    assert_eq!(next(&rendered), ("email", "deliver", None));
    assert_eq!(step(&rendered).decision, "over");
}

#[tokio::test]
async fn what_is_still_quiet_by_now_waits_again() {
    // In Lisbon it is eight o'clock as well; the user has moved from somewhere east of it.
    let quiet_hours = json!({"enabled": true, "start": "22:00", "end": "08:30"});
    let moved = wishes(json!({"quiet_hours": quiet_hours}), Some("Europe/Lisbon"));

    let outcome = due(&held(Status::Pending, Some(moved))).await;

    assert_eq!(statuses(&outcome), [Status::Pending]);
    let until = now() + TimeDelta::minutes(30);
    assert_eq!(next(&outcome), ("quiet_hours", "quiet_hours", Some(until)));
    let moved = outcome.effects.iter().find_map(|effect| match effect {
        Effect::DeliveryMoved(moved) => moved.job_id,
        _ => None,
    });
    assert_eq!(moved, Some(outcome.jobs[0].job_id.as_uuid()));
    let step = step(&outcome);
    assert_eq!((&*step.step, &*step.decision), ("quiet_hours", "deferred"));
    assert_eq!(
        step.detail,
        json!({
            "channel": "email", "until": until, "zone": "Europe/Lisbon",
            "local": {"start": "22:00", "end": "08:30"}, "row": "/quiet_hours",
        })
    );
}

#[tokio::test]
async fn what_is_not_wanted_by_now_is_not_sent_and_the_trace_names_the_row() {
    let category = Some("marketing".to_owned());
    let quiet_hours = json!({"enabled": true, "start": "22:00", "end": "09:30"});
    let drop = json!({"marketing": {"quiet_hours": "drop"}});
    for (said, row) in [
        (
            json!({"channels": {"email": {"enabled": false}}}),
            "/channels/email/enabled",
        ),
        (
            json!({"quiet_hours": quiet_hours, "categories": drop}),
            "/categories/marketing/quiet_hours",
        ),
    ] {
        let held = ToDeliver {
            category: category.clone(),
            ..held(Status::Pending, Some(wishes(said, None)))
        };

        let outcome = due(&held).await;

        assert_eq!(statuses(&outcome), [Status::Suppressed], "{row}");
        assert!(outcome.jobs.is_empty());
        assert_eq!(step(&outcome).detail["row"], row);
    }
}

#[tokio::test]
async fn what_was_cancelled_or_has_expired_meanwhile_is_not_sent() {
    let cancelled = due(&held(Status::Cancelled, None)).await;
    assert!(cancelled.effects.is_empty() && cancelled.jobs.is_empty());
    let expired = ToDeliver {
        expires_at: Some(now()),
        ..held(Status::Pending, Some(quiet_now()))
    };
    assert_eq!(statuses(&due(&expired).await), [Status::Expired]);
}

#[tokio::test]
async fn what_expires_before_the_end_is_looked_at_when_it_does() {
    let expires_at = now() + TimeDelta::minutes(7);
    let row = ToDeliver {
        expires_at: Some(expires_at),
        ..held(Status::Pending, Some(quiet_now()))
    };
    let outcome = due(&row).await;
    assert_eq!(next(&outcome).2, Some(expires_at));
}

#[tokio::test]
async fn a_message_that_comes_late_into_quiet_hours_is_not_handed_to_anybody() {
    let nobody = SendError::Transient {
        detail: "never asked".into(),
    };
    let provider = Arc::new(Scripted::failing(1, nobody));
    let cx = context(Channels::new().with(Channel::Email, Arc::<Scripted>::clone(&provider) as _));
    let row = ToDeliver {
        is_rendered: true,
        ..held(Status::Queued, Some(quiet_now()))
    };
    let job = Deliver {
        delivery_id: row.id,
    };

    let outcome = deliver::run(job, Some(&row), &cx, lease()).await.unwrap();

    assert_eq!(provider.given().len(), 0);
    assert_eq!(statuses(&outcome), [Status::Queued]);
    let until = now() + TimeDelta::minutes(90);
    assert_eq!(next(&outcome), ("quiet_hours", "quiet_hours", Some(until)));
    // What bypasses quiet hours goes out.
    let bypassing = ToDeliver {
        wishes: row.wishes.map(|said| Wishes {
            consents: domain::Consents::default(),
            bypass_quiet_hours: true,
            ..said
        }),
        ..row
    };
    let _sent = deliver::run(job, Some(&bypassing), &cx, lease())
        .await
        .unwrap();
    assert_eq!(provider.given().len(), 1);
}

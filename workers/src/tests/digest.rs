//! Digests: what closes one, and what it is told as.

use std::sync::Arc;

use ::channels::Channels;
use chrono::TimeDelta;
use domain::{
    Addresses, Channel, Consents, DeliveryId, DigestId, DigestKey, EventId, NotificationId,
    Preferences, Priority, Recipient, Status, Telling, TemplateNames,
};
use queue::{Job, NewJob, Outcome};
use serde_json::json;
use store::Effect;
use store::digests::{About, Digest, DigestStatus, Held, ToTell};
use store::effect::NewNotification;
use store::settlement::{Applied, DigestTurn};

use super::{context, lease, now, statuses};
use crate::batch_flush::Flush;
use crate::burial::on_bury;
use crate::route::tell::tell;
use crate::{BatchFlush, Route, Subject, batch_flush};

fn digest(status: DigestStatus) -> Digest {
    Digest {
        id: DigestId::at(now()),
        key: DigestKey {
            tenant_id: "default".into(),
            user_id: "ada".into(),
            rule_id: Some(domain::RuleId::at(now())),
            action: 1,
            batch_key: "ada@example.com".into(),
        },
        status,
        opened_at: now(),
        closes_at: now() + TimeDelta::minutes(5),
        closed_at: None,
        size_max: None,
        count: 3,
        priority: Priority::High,
        severity: None,
        telling: Telling {
            rule: Some("Orders".into()),
            channels: Some(vec![Channel::InApp, Channel::Email]),
            category: Some("orders".into()),
            expires_in_seconds: Some(60),
            ..Telling::default()
        },
        notification_id: None,
    }
}

/// What quiet hours gather for a feed.
fn of_night(status: DigestStatus) -> Digest {
    let mut night = digest(status);
    night.key.rule_id = None;
    night.key.action = 0;
    night.key.batch_key = Channel::InApp.as_str().to_owned();
    night.telling = Telling {
        channels: Some(vec![Channel::InApp]),
        ..Telling::default()
    };
    night
}

fn closed() -> ToTell {
    ToTell {
        digest: digest(DigestStatus::Closed),
        count: 3,
        held: Vec::new(),
        last_event: Some(EventId::at(now())),
        kind: Some("order.filled".into()),
    }
}

fn flush(digest: Digest, held: &[About], recipient: Option<Recipient>) -> Flush {
    Flush {
        digest,
        held: held.to_vec(),
        recipient: recipient.map(Arc::new),
    }
}

fn known(preferences: Preferences) -> Recipient {
    Recipient {
        user_id: "ada".into(),
        addresses: Addresses::default(),
        locale: None,
        timezone: None,
        preferences,
        consents: Consents::default(),
    }
}

fn told(to_tell: &ToTell, recipient: Option<&Recipient>) -> Outcome<Effect> {
    tell(to_tell, recipient, &TemplateNames::default(), now())
}

fn planned(outcome: &Outcome<Effect>) -> Vec<&NewNotification> {
    let planned = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::NotificationPlanned(planned) => Some(&**planned),
        _ => None,
    });
    planned.collect()
}

/// The words for channels and statuses of the deliveries that are planned.
fn deliveries(outcome: &Outcome<Effect>) -> Vec<(Channel, Status)> {
    let planned = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::DeliveryPlanned(planned) => Some((planned.channel, planned.status)),
        _ => None,
    });
    planned.collect()
}

#[tokio::test]
async fn the_end_of_a_window_closes_what_is_open_and_nothing_else() {
    let cx = context(Channels::new());
    for status in [
        DigestStatus::Open,
        DigestStatus::Closed,
        DigestStatus::Told,
        DigestStatus::Cancelled,
    ] {
        let digest = digest(status);
        let job = BatchFlush {
            digest_id: digest.id,
        };
        let flush = flush(digest, &[], None);
        let digest = &flush.digest;

        let outcome = batch_flush::run(job, Some(&flush), &cx, lease())
            .await
            .unwrap();

        let closes = matches!(
            &outcome.effects[..],
            [Effect::DigestClosed(close)] if close.digest_id == digest.id
        );
        assert_eq!(closes, status == DigestStatus::Open, "{outcome:?}");
        assert_eq!(outcome.effects.len(), usize::from(closes));
        assert_eq!(outcome.jobs, [], "what follows is the settlement's to say");
    }
}

#[test]
fn a_closed_digest_is_one_notification_with_a_job_for_each_delivery() {
    let to_tell = closed();
    let mut recipient = known(Preferences::default());
    recipient.addresses.email = Some("ada@example.com".into());

    let outcome = told(&to_tell, Some(&recipient));

    let [notification] = planned(&outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(notification.event_id, to_tell.last_event);
    assert_eq!(notification.kind, "order.filled");
    assert_eq!(notification.priority, Priority::High);
    assert_eq!(notification.category.as_deref(), Some("orders"));
    assert_eq!(notification.expires_at, Some(now() + TimeDelta::minutes(1)));
    assert_eq!(notification.decided.digest_id, Some(to_tell.digest.id));
    let rule = to_tell.digest.key.rule_id.unwrap();
    assert_eq!(notification.decided.rule, Some((rule, 1)));
    let queued = [Channel::InApp, Channel::Email].map(|channel| (channel, Status::Queued));
    assert_eq!(deliveries(&outcome), queued);
    assert_eq!(outcome.jobs.len(), 2);
    let is_told = |effect: &Effect| {
        matches!(effect, Effect::DigestTold { id, notification_id }
            if *id == to_tell.digest.id && *notification_id == Some(notification.id))
    };
    assert!(outcome.effects.iter().any(is_told));
}

/// The key may be a person's data.
#[test]
fn no_trace_of_a_digest_shows_its_key() {
    let outcome = told(&closed(), None);

    let traces: Vec<_> = outcome
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Traced { steps, .. } => serde_json::to_string(steps).ok(),
            _ => None,
        })
        .collect();
    assert!(
        traces.iter().any(|text| text.contains("window_ended")),
        "{traces:?}"
    );
    assert!(
        !traces.iter().any(|text| text.contains("ada@example.com")),
        "{traces:?}"
    );
}

#[test]
fn what_the_user_wants_is_asked_when_the_digest_is_told() {
    let wishes = json!({"channels": {"in_app": {"enabled": false}}});
    let recipient = known(Preferences::parse(wishes).unwrap());

    let outcome = told(&closed(), Some(&recipient));

    assert_eq!(
        deliveries(&outcome)[0],
        (Channel::InApp, Status::Suppressed)
    );
}

#[test]
fn a_digest_that_was_told_or_taken_back_is_not_told_again() {
    for status in [
        DigestStatus::Told,
        DigestStatus::Cancelled,
        DigestStatus::Open,
    ] {
        let to_tell = ToTell {
            digest: digest(status),
            ..closed()
        };

        let outcome = told(&to_tell, None);

        assert_eq!(outcome.effects, []);
        assert_eq!(outcome.jobs, []);
    }
}

fn about(category: &str) -> About {
    About {
        category: Some(category.to_owned()),
        priority: Priority::Normal,
        severity: None,
        bypass_quiet_hours: false,
    }
}

fn held(to_tell: &ToTell, expires_in: Option<i64>) -> Held {
    Held {
        digest_id: to_tell.digest.id,
        delivery_id: DeliveryId::at(now()),
        notification_id: NotificationId::at(now()),
        address: None,
        about: about("news"),
        event_id: None,
        kind: "news.published".into(),
        expires_at: expires_in.map(|minutes| now() + TimeDelta::minutes(minutes)),
        is_sole: true,
    }
}

#[test]
fn what_quiet_hours_held_back_ends_with_the_digest_that_tells_it() {
    let mut night = closed();
    night.digest = of_night(DigestStatus::Closed);
    night.held = vec![
        held(&night, None),
        held(&night, Some(-1)),
        held(&night, Some(1)),
    ];

    let outcome = told(&night, None);

    let ended = [Status::Expired, Status::Suppressed, Status::Suppressed];
    assert_eq!(statuses(&outcome), ended);
    assert_eq!(planned(&outcome).len(), 1);
    assert_eq!(planned(&outcome)[0].decided.rule, None);
}

/// It is 08:00 in UTC, and quiet until 09:30. `news` is told in a digest.
fn at_night(categories: serde_json::Value) -> Recipient {
    let mut said = json!({
        "quiet_hours": {"enabled": true, "start": "22:00", "end": "09:30", "channels": ["in_app"]},
        "categories": {"news": {"enabled": true, "quiet_hours": "digest"}},
    });
    for (name, category) in categories.as_object().unwrap() {
        said["categories"][name] = category.clone();
    }
    known(Preferences::parse(said).unwrap())
}

/// What the end of the window leads to for a night that holds one delivery of each category.
async fn at_the_end(categories: &[&str], recipient: Recipient) -> Outcome<Effect> {
    let held: Vec<_> = categories.iter().map(|name| about(name)).collect();
    let flush = flush(of_night(DigestStatus::Open), &held, Some(recipient));
    let job = BatchFlush {
        digest_id: flush.digest.id,
    };
    let cx = context(Channels::new());
    batch_flush::run(job, Some(&flush), &cx, lease())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_night_that_is_still_quiet_is_not_told_and_ends_when_it_ends_by_now() {
    // It was to end five minutes from now.
    let outcome = at_the_end(&["news", "news"], at_night(json!({}))).await;

    let Some(Effect::DigestPostponed(postponed)) = outcome.effects.first() else {
        panic!("{outcome:?}")
    };
    assert_eq!(postponed.closes_at, now() + TimeDelta::minutes(90));
    assert!(
        !outcome
            .effects
            .iter()
            .any(|it| matches!(it, Effect::DigestClosed(_)))
    );
    assert_eq!(outcome.jobs, [], "what follows is the settlement's to say");
}

#[tokio::test]
async fn a_night_closes_once_anything_of_it_is_not_to_wait_with_the_others() {
    let off = json!({"ads": {"enabled": false}});
    let alone = json!({"ads": {"enabled": true, "quiet_hours": "defer"}});
    let now_on = json!({"ads": {"enabled": true, "quiet_hours": "deliver"}});
    for changed in [off, alone, now_on] {
        let outcome = at_the_end(&["news", "ads"], at_night(changed)).await;

        let closes = |it: &Effect| matches!(it, Effect::DigestClosed(_));
        assert!(outcome.effects.iter().all(closes), "{outcome:?}");
        assert_eq!(outcome.effects.len(), 1);
    }
    let nothing = at_the_end(&[], at_night(json!({}))).await;
    assert!(matches!(nothing.effects[..], [Effect::DigestClosed(_)]));
}

/// The deliveries that leave a digest and those that join the next, by their place in the night.
fn gone_and_joined(night: &ToTell, outcome: &Outcome<Effect>) -> (Vec<usize>, Vec<usize>) {
    let place = |id| {
        let mut held = night.held.iter();
        held.position(|held| held.delivery_id.as_uuid() == id)
            .unwrap()
    };
    let (mut gone, mut joined) = (Vec::new(), Vec::new());
    for effect in &outcome.effects {
        match effect {
            Effect::DigestLeft { id, source_id } => {
                assert_eq!(*id, night.digest.id);
                gone.push(place(*source_id));
            }
            Effect::DigestJoined(join) => {
                assert_eq!(join.key, night.digest.key);
                assert_eq!(join.closes_at, now() + TimeDelta::minutes(90));
                joined.push(place(join.source_id));
            }
            _ => {}
        }
    }
    (gone, joined)
}

fn night_of(categories: &[&str]) -> ToTell {
    let mut night = ToTell {
        digest: of_night(DigestStatus::Closed),
        ..closed()
    };
    for category in categories {
        let held = Held {
            about: about(category),
            kind: format!("{category}.published"),
            event_id: Some(EventId::at(now())),
            ..held(&night, None)
        };
        night.held.push(held);
    }
    night
}

#[test]
fn what_is_not_wanted_any_more_is_not_told_and_its_trace_names_the_row() {
    let night = night_of(&["news", "ads"]);
    let off =
        known(Preferences::parse(json!({"categories": {"ads": {"enabled": false}}})).unwrap());

    let outcome = told(&night, Some(&off));

    let ended: Vec<_> = outcome
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::DeliveryMoved(moved) => moved.error.as_deref(),
            _ => None,
        })
        .collect();
    let row = "/categories/ads/enabled";
    let why = format!("the user has turned the category off: {row}");
    assert_eq!(ended, [why.as_str(), "told in a digest"]);
    assert_eq!(gone_and_joined(&night, &outcome), (vec![1], vec![]));
    let ads = night.held[1].notification_id.as_uuid();
    let names_row = |effect: &Effect| {
        matches!(effect, Effect::Traced { subject_id, steps, .. }
            if *subject_id == ads && steps[0].detail["row"] == row)
    };
    assert!(outcome.effects.iter().any(names_row));
    // What it is about is what it tells, and not the last that came in.
    let [notification] = planned(&outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(notification.kind, "news.published");
    assert_eq!(notification.event_id, night.held[0].event_id);

    let all_off = night_of(&["ads", "ads"]);
    let nothing = told(&all_off, Some(&off));
    assert_eq!(planned(&nothing).len(), 0);
    assert_eq!(statuses(&nothing), [Status::Suppressed, Status::Suppressed]);
}

#[test]
fn of_a_night_in_which_some_is_wanted_now_the_rest_waits_on_for_its_end() {
    let night = night_of(&["news", "orders", "talk"]);
    let recipient = at_night(json!({
        "orders": {"enabled": true, "quiet_hours": "deliver"},
        "talk": {"enabled": true, "quiet_hours": "defer"},
    }));

    let outcome = told(&night, Some(&recipient));

    assert_eq!(gone_and_joined(&night, &outcome), (vec![2, 0], vec![0]));
    assert_eq!(statuses(&outcome), [Status::Pending, Status::Suppressed]);
    let [notification] = planned(&outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(notification.kind, "orders.published");
    assert_eq!(deliveries(&outcome), [(Channel::InApp, Status::Queued)]);
    let kinds: Vec<_> = outcome.jobs.iter().map(|job| &*job.kind).collect();
    assert_eq!(kinds, ["quiet_hours", "render"]);
}

#[test]
fn a_night_that_closed_too_early_is_gathered_again_unless_it_is_full() {
    let mut night = night_of(&["news", "news"]);
    let again = told(&night, Some(&at_night(json!({}))));
    assert_eq!(gone_and_joined(&night, &again), (vec![0, 1], vec![0, 1]));
    assert_eq!(planned(&again).len(), 0);
    assert_eq!(statuses(&again), []);

    night.digest.size_max = Some(3);
    let full = told(&night, Some(&at_night(json!({}))));
    assert_eq!(gone_and_joined(&night, &full), (vec![], vec![]));
    assert_eq!(deliveries(&full), [(Channel::InApp, Status::Pending)]);
    assert_eq!(full.jobs[0].kind, "quiet_hours");
}

#[test]
fn nothing_is_told_of_a_digest_that_nothing_is_left_of() {
    let mut night = closed();
    night.digest = of_night(DigestStatus::Closed);
    night.held = vec![held(&night, Some(-1))];
    night.count = 1;
    let empty = ToTell {
        count: 0,
        ..closed()
    };

    for to_tell in [night, empty] {
        let outcome = told(&to_tell, None);

        assert_eq!(planned(&outcome).len(), 0);
        assert!(outcome.effects.iter().any(|effect| matches!(
            effect,
            Effect::DigestTold {
                notification_id: None,
                ..
            }
        )));
    }
}

#[test]
fn who_opened_a_digest_plans_its_end_and_who_closed_it_its_telling() {
    let turn = |minutes| DigestTurn {
        digest_id: DigestId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        closes_at: now() + TimeDelta::minutes(minutes),
        priority: Priority::Critical,
    };
    let (opened, closed) = (turn(5), turn(1));
    let applied = Applied {
        opened: vec![opened.clone()],
        closed: vec![closed.clone()],
        ..Applied::default()
    };

    let jobs = crate::ledger::follow_ups(&applied, now());

    let kinds: Vec<_> = jobs.iter().map(|job| (&*job.queue, &*job.kind)).collect();
    assert_eq!(kinds, [("batch_flush", "batch_flush"), ("route", "route")]);
    assert_eq!(jobs[0].run_at, Some(opened.closes_at));
    assert_eq!(jobs[1].run_at, None);
    let about = |job: &NewJob| Subject::of(&job.kind, &job.payload);
    assert_eq!(about(&jobs[0]), Some(Subject::Digest(opened.digest_id)));
    assert_eq!(about(&jobs[1]), Some(Subject::Digest(closed.digest_id)));
    assert!(
        jobs.iter()
            .all(|job| job.priority == queue::Priority::Critical)
    );
}

/// It waits with all it holds, for an operator to let the job run again.
#[test]
fn a_digest_whose_job_was_buried_is_left_as_it_is_and_says_why() {
    let digest_id = DigestId::at(now());
    let flush = serde_json::to_value(BatchFlush { digest_id }).unwrap();
    let tell = serde_json::to_value(Route::Digest { digest_id }).unwrap();

    for (kind, payload) in [(BatchFlush::KIND, flush), (Route::KIND, tell)] {
        let effects = on_bury(kind, &payload, "crashed", now());

        let [
            Effect::Traced {
                subject_id, steps, ..
            },
        ] = &effects[..]
        else {
            panic!("{effects:?}")
        };
        assert_eq!(*subject_id, digest_id.as_uuid());
        assert_eq!(steps[0].decision, "buried");
    }
}

//! What a schedule fires, once, and what it plans next.

use ::channels::Channels;
use ::render::Templates;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Action, Every, Rule, RuleId, TenantId};
use queue::{Clock, Ending, NewJob, Outcome};
use serde::Deserialize;
use serde_json::json;
use store::Effect;
use store::events::NewEvent;

use super::{context, lease, now};
use crate::schedule::{plan_schedule, run};
use crate::{Catalog, Context, Route, Schedule};

/// Every full hour; it is 08:00.
fn hourly() -> Rule {
    Rule {
        id: RuleId::at(now()),
        version: 3,
        name: "Report".into(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: Vec::new(),
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: Some(domain::Schedule {
            every: Every::Cron("0 * * * *".into()),
            timezone: "Europe/Berlin".parse().unwrap(),
        }),
        actions: vec![Action {
            template_vars: json!({"desk": "fx"}).as_object().unwrap().clone(),
            ..Action::default()
        }],
    }
}

fn tenant() -> TenantId {
    "acme".into()
}

fn link(rule: &Rule, at: DateTime<Utc>) -> Schedule {
    Schedule {
        tenant_id: tenant(),
        rule_id: rule.id,
        version: rule.version,
        at,
    }
}

/// What becomes of a link that was due at `at` and runs now.
async fn due(rule: &Rule, by_now: Option<&Rule>, at: DateTime<Utc>) -> Outcome<Effect> {
    let cx = context(Channels::new());
    run(link(rule, at), by_now, &cx, lease()).await.unwrap()
}

fn fired(outcome: &Outcome<Effect>) -> Vec<&NewEvent> {
    let events = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::EventFired(event) => Some(&**event),
        _ => None,
    });
    events.collect()
}

fn read(job: &NewJob) -> Schedule {
    Schedule::deserialize(&job.payload).unwrap()
}

#[tokio::test]
async fn a_rule_whose_time_has_come_fires_its_event_and_plans_the_next_time() {
    let rule = hourly();

    let outcome = due(&rule, Some(&rule), now()).await;

    assert_eq!(outcome.ending, Ending::Complete);
    let [event] = fired(&outcome)[..] else {
        panic!("{:?}", outcome.effects)
    };
    assert_eq!(event.tenant_id, tenant());
    assert_eq!(event.kind, "schedule");
    assert_eq!(event.producer, "postrider.schedule");
    assert_eq!(event.event_id, format!("{}@2027-01-15T08:00:00Z", rule.id));
    assert_eq!(event.payload, json!({"desk": "fx"}));
    let [route, next] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs)
    };
    let told = Route::Rule {
        event_id: event.id,
        rule_id: rule.id,
        action: None,
        after: None,
    };
    assert_eq!(Route::deserialize(&route.payload).unwrap(), told);
    let nine = now() + TimeDelta::hours(1);
    assert_eq!((next.run_at, read(next)), (Some(nine), link(&rule, nine)));
    assert_eq!(next.unique_key, Some(format!("{}@3", rule.id)));
}

#[tokio::test]
async fn what_was_missed_fires_once_for_the_latest_of_it() {
    let rule = hourly();

    let outcome = due(&rule, Some(&rule), now() - TimeDelta::hours(50)).await;

    let [event] = fired(&outcome)[..] else {
        panic!("{:?}", outcome.effects)
    };
    assert_eq!(event.occurred_at, Some(now()));
    assert_eq!(read(&outcome.jobs[1]).at, now() + TimeDelta::hours(1));
    // Not even the latest if the rule was not valid any more.
    let valid_until = Some(now() - TimeDelta::minutes(90));
    let rule = Rule {
        valid_until,
        ..rule
    };
    let outcome = due(&rule, Some(&rule), now() - TimeDelta::hours(50)).await;
    let last = fired(&outcome)[0].occurred_at;
    assert_eq!(last, Some(now() - TimeDelta::hours(2)));
    assert_eq!(outcome.jobs.len(), 1, "and it was the last");
}

#[tokio::test]
async fn a_link_that_runs_a_moment_early_by_the_clock_of_its_process_fires_its_own_time() {
    let rule = hourly();
    let nine = now() + TimeDelta::hours(1);

    let outcome = due(&rule, Some(&rule), nine).await;

    assert_eq!(fired(&outcome)[0].occurred_at, Some(nine));
    assert_eq!(read(&outcome.jobs[1]).at, nine + TimeDelta::hours(1));
}

#[tokio::test]
async fn a_rule_that_was_changed_turned_off_or_removed_ends_its_old_chain() {
    let rule = hourly();
    let changed = Rule {
        version: 4,
        ..rule.clone()
    };
    let off = Rule {
        enabled: false,
        ..rule.clone()
    };
    for by_now in [Some(&changed), Some(&off), None] {
        let outcome = due(&rule, by_now, now()).await;
        assert!(outcome.effects.is_empty() && outcome.jobs.is_empty());
    }
    assert_eq!(plan_schedule(&tenant(), &off, now()), None);
}

/// A chain as the queue would run it: each link at its time.
async fn times(expression: &str, from: &str, links: usize) -> Vec<String> {
    let mut now: DateTime<Utc> = from.parse().unwrap();
    let rule = Rule {
        schedule: Some(domain::Schedule {
            every: Every::Cron(expression.into()),
            timezone: "Europe/Berlin".parse().unwrap(),
        }),
        ..hourly()
    };
    let mut fired_at = Vec::new();
    let mut next = plan_schedule(&tenant(), &rule, now);
    for _ in 0..links {
        let job = read(&next.take().unwrap());
        now = job.at;
        let templates = Templates::builtin().unwrap();
        let clock = Clock::manual(now + TimeDelta::milliseconds(3));
        let cx = Context::new(Catalog::new(templates), Channels::new(), clock);
        let mut outcome = run(job, Some(&rule), &cx, lease()).await.unwrap();
        for event in fired(&outcome) {
            let at = event.occurred_at.unwrap();
            fired_at.push(at.format("%dT%H:%M").to_string());
        }
        next = outcome.jobs.pop();
    }
    fired_at
}

#[tokio::test]
async fn a_chain_fires_once_a_day_across_changes_of_the_clocks() {
    let spring = times("30 2 * * *", "2026-03-27T12:00:00Z", 3).await;
    assert_eq!(spring, ["28T01:30", "29T01:00", "30T00:30"]);
    let autumn = times("30 2 * * *", "2026-10-23T12:00:00Z", 3).await;
    assert_eq!(autumn, ["24T00:30", "25T00:30", "26T01:30"]);
    let halves = times("*/30 * * * *", "2026-10-24T23:45:00Z", 6).await;
    let expected = [
        "25T00:00", "25T00:30", "25T01:00", "25T01:30", "25T02:00", "25T02:30",
    ];
    assert_eq!(halves, expected);
}

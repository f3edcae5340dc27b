//! `schedule`: a rule's time has come; fires it, and plans its next time.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | whoever saves a rule that has a schedule, upkeep, itself; due when the rule fires |
//! | Queue | `route` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | event, `route` job and next link are written with this one's ending |
//!
//! Nobody leads: a schedule is a chain of jobs, each link made by the settlement of the one before.
//! Of each version of a rule one link is open at most, for its key is the rule and the version: so
//! it fires once, on however many nodes, and whoever saves a rule or looks after the chains may plan
//! without asking whether a link is there. A link of another version than the rule's by now, or of
//! one that is off or gone, ends its chain.
//!
//! A rule fires an event of producer `postrider.schedule`, named by the rule and the instant, which
//! that rule alone is told of. What was missed while nobody worked fires once, for the latest
//! instant of them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{EventId, Rule, RuleId, TenantId, TraceStep};
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::events::NewEvent;
use store::{Connection, Effect, StoreError};

use crate::catalog::Catalog;
use crate::context::Context;
use crate::queues;
use crate::route::Route;

const STEP: &str = "schedule";

/// Who submits what schedules fire.
const PRODUCER: &str = "postrider.schedule";

/// The type of an event whose rule names none.
const EVENT_TYPE: &str = "schedule";

/// Payload of a `schedule` job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub tenant_id: TenantId,
    pub rule_id: RuleId,
    /// Of the rule, when it was planned.
    pub version: i64,
    /// When it fires.
    pub at: DateTime<Utc>,
}

impl Job for Schedule {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "schedule";
}

/// Begins the chains of rules that have a schedule, in the transaction that saves them. One that has
/// an open link goes on with that.
pub async fn start_schedules<'a>(
    db: &mut Connection,
    rules: impl IntoIterator<Item = (&'a TenantId, &'a Rule)>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rules = rules.into_iter();
    let links: Vec<_> = rules
        .filter_map(|(tenant_id, rule)| plan_schedule(tenant_id, rule, now))
        .collect();
    queue::enqueue(db, &links, None)
        .await
        .map_err(|refused| StoreError::Database {
            operation: "plan what rules fire",
            source: refused.source,
        })
}

/// Begins the chains that have no link: where the last one died, the rule would never fire again.
pub async fn mend_schedules(
    db: &mut Connection,
    catalog: &Catalog,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let shelf = catalog.current(db).await?;
    let rules = shelf.all_rules();
    start_schedules(db, rules.map(|(tenant_id, rule)| (tenant_id, &**rule)), now).await
}

/// The next link of a rule's chain; `None` if the rule does not fire any more.
pub(crate) fn plan_schedule(
    tenant_id: &TenantId,
    rule: &Rule,
    now: DateTime<Utc>,
) -> Option<NewJob> {
    let at = rule.fires_after(now)?;
    let link = Schedule {
        tenant_id: tenant_id.clone(),
        rule_id: rule.id,
        version: rule.version,
        at,
    };
    let job = NewJob::new(JobId::at(now), queues::ROUTE, &link)
        .run_at(Some(at))
        .lane(queue::lane_of(&[tenant_id.as_str(), &rule.name]))
        .unique_key(format!("{}@{}", rule.id, rule.version));
    Some(job)
}

/// Looks the rules of a claim up, as they are by now.
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[Schedule],
) -> Result<Vec<Option<Arc<Rule>>>, StoreError> {
    let shelf = cx.catalog.current(connection).await?;
    let rule = |job: &Schedule| shelf.rules(&job.tenant_id)?.rule(job.rule_id).cloned();
    Ok(jobs.iter().map(rule).collect())
}

pub(crate) async fn run(
    job: Schedule,
    loaded: Option<&Rule>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    // The chain of the rule's present version, if it still has one, is another.
    let by_now = loaded.filter(|rule| rule.version == job.version && rule.enabled);
    let Some((rule, schedule)) = by_now.and_then(|rule| Some((rule, rule.schedule.as_ref()?)))
    else {
        return Ok(Outcome::completed());
    };
    let now = cx.clock.now();
    let valid_until = rule
        .valid_until
        .map(|until| until - TimeDelta::microseconds(1));
    let until = valid_until.map_or(now, |until| until.min(now));
    let at = schedule.latest(job.at, until.max(job.at));
    let next = plan_schedule(&job.tenant_id, rule, now.max(at));

    let event = event(&job.tenant_id, rule, at, now);
    let route = Route::Rule {
        event_id: event.id,
        rule_id: rule.id,
        action: None,
        after: None,
    };
    let route = NewJob::new(JobId::at(now), queues::ROUTE, &route)
        .lane(queue::lane_of(&[job.tenant_id.as_str(), &event.kind]));
    let reason = if at == job.at {
        "its time has come"
    } else {
        "times were missed; the latest of them fires"
    };
    let step = TraceStep::new(STEP, "fired", reason).with_detail(json!({
        "rule_id": rule.id, "at": at, "next": next.as_ref().and_then(|next| next.run_at),
    }));
    let mut outcome = Outcome::completed()
        .with(Effect::Traced {
            subject_id: event.id.as_uuid(),
            at: now,
            steps: vec![step],
        })
        .with(Effect::EventFired(Box::new(event)))
        .then(route);
    outcome.jobs.extend(next);
    Ok(outcome)
}

/// What the rule fires. Its payload is what the first action gives its template.
fn event(tenant_id: &TenantId, rule: &Rule, at: DateTime<Utc>, now: DateTime<Utc>) -> NewEvent {
    let kind = rule.event_types.first();
    let vars = rule.actions.first().map(|action| &action.template_vars);
    NewEvent {
        id: EventId::at(now),
        tenant_id: tenant_id.clone(),
        created_at: now,
        occurred_at: Some(at),
        event_id: format!("{}@{}", rule.id, at.format("%FT%TZ")),
        producer: PRODUCER.to_owned(),
        kind: kind.map_or(EVENT_TYPE, String::as_str).to_owned(),
        severity: None,
        dedupe_key: None,
        payload: Value::Object(vars.cloned().unwrap_or_default()),
    }
}

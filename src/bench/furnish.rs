//! Furnishing of a stage: rules, templates, preferences and limits, so that a run decides as much as
//! a busy installation does.

use anyhow::{Context, ensure};
use domain::{
    Channel, Limit, LimitBook, LimitSubmission, Preferences, RuleId, RuleSubmission, TenantId,
    UserId,
};
use queue::Clock;
use serde_json::{Value, json};
use store::Store;
use store::limits::{lock_limits, upsert_limit};
use store::preferences::upsert_preferences;
use store::rules::{NewRule, apply_rules};
use store::templates::{NewTemplate, create_template};

/// The template that all rules tell by: written over the API, so a version of it is pinned.
const TEMPLATE: &str = "bench.order";

/// The type of the events that rule `n` speaks of.
pub(super) fn event_type(n: u64) -> String {
    format!("BENCH_ORDER_{n}")
}

/// Writes `rules` rules of a type each, with a condition and a CEL expression that hold; one
/// template in two languages; what every user wants; and, if it `is_limited`, a limit on the feed
/// that is counted for every message and never full.
pub(super) async fn furnish(
    store: &Store,
    rules: u64,
    is_limited: bool,
    users: &[String],
) -> anyhow::Result<()> {
    let tenant = TenantId::default();
    let now = Clock::system().now();
    let mut tx = store.begin().await?;
    let template = NewTemplate {
        name: TEMPLATE.to_owned(),
        description: None,
        category: Some("trading".to_owned()),
        channels: vec![Channel::InApp],
        locales: vec!["ru".to_owned()],
        tags: Vec::new(),
        enabled: true,
        body: template(),
        actor: "cli:bench".to_owned(),
        at: now,
    };
    create_template(&mut tx, &tenant, RuleId::at(now).as_uuid(), template).await?;
    let rows = (0..rules).map(|n| {
        let rule = RuleSubmission::parse(rule(n))
            .map_err(|errors| anyhow::anyhow!("a rule of the bench is refused: {errors:?}"))?;
        Ok(NewRule {
            rule_id: RuleId::at(now),
            name: rule.name().to_owned(),
            enabled: true,
            body: rule.to_value(),
        })
    });
    let rows: Vec<_> = rows.collect::<anyhow::Result<_>>()?;
    let applied = apply_rules(&mut tx, &tenant, &rows, now).await?;
    ensure!(applied.is_some(), "there are too many rules");
    let preferences = Preferences::parse(preferences())
        .map_err(|errors| anyhow::anyhow!("preferences of the bench are refused: {errors:?}"))?;
    for user in users {
        let user = UserId::from(user.as_str());
        upsert_preferences(&mut tx, &tenant, &user, &preferences, now).await?;
    }
    if !is_limited {
        return tx.commit().await.context("could not furnish the stage");
    }
    let limit = LimitSubmission::parse(limit())
        .map_err(|errors| anyhow::anyhow!("the limit of the bench is refused: {errors:?}"))?;
    lock_limits(&mut tx, &tenant).await?;
    let limit = limit.into_limit(RuleId::at(now).as_uuid(), now, now);
    upsert_limit(&mut tx, &tenant, &limit).await?;
    tx.commit().await.context("could not furnish the stage")
}

/// Lifts the limits that ship for mail: a bench sends in seconds what they give a day for.
pub(super) async fn lift_mail_limits(store: &Store) -> anyhow::Result<()> {
    let tenant = TenantId::default();
    let now = Clock::system().now();
    let mut tx = store.begin().await?;
    let defaults = LimitBook::with_defaults(lock_limits(&mut tx, &tenant).await?);
    let of_mail = |limit: &Limit| limit.of.channel == Some(Channel::Email);
    for limit in defaults.into_iter().filter(of_mail) {
        let lifted = Limit {
            id: RuleId::at(now).as_uuid(),
            enabled: false,
            ..limit
        };
        upsert_limit(&mut tx, &tenant, &lifted).await?;
    }
    tx.commit().await.context("could not lift the limits")
}

fn rule(n: u64) -> Value {
    json!({
        "name": format!("bench {n}"),
        "event_type": event_type(n),
        "conditions": [{"field": "quantity", "operator": "gte", "value": 10}],
        "when": "event.data.symbol == 'AAPL' && event.data.price < 1000.0",
        "actions": [{
            "type": "notify", "channels": ["in_app"], "fallback": ["push"], "template": TEMPLATE,
            "priority": "normal",
            "recipients": {"type": "dynamic", "expression": "event.data.user_id"},
        }],
    })
}

fn template() -> Value {
    json!({
        "name": TEMPLATE,
        "category": "trading",
        "channels": {"in_app": {
            "title": "Order filled",
            "message": "{{ quantity | number }} {{ symbol }} filled at {{ price | money('USD') }}.",
        }},
        "translations": {"ru": {"in_app": {
            "title": "Заявка исполнена",
            "message": "{{ symbol }}: {{ quantity | number }} по {{ price | money('USD') }}.",
        }}},
    })
}

fn preferences() -> Value {
    json!({
        "locale": "ru", "timezone": "Europe/Moscow",
        "channels": {"sms": {"enabled": false}},
        "categories": {"trading": {"enabled": true, "min_priority": "low"}},
        "quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00"},
    })
}

fn limit() -> Value {
    json!({
        "name": "bench feed", "scope": "user_channel", "channel": "in_app", "max": 100_000,
        "window": "1h",
    })
}

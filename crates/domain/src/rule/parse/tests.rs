//! What a rule may say, what is refused, and that what is written is read back.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::rule::{Action, Batch, Selector, Variant};
use crate::{Channel, Priority};

fn parse(body: Value) -> Rule {
    let submission = RuleSubmission::parse(body).expect("the body is good");
    submission.into_rule(RuleId::from(Uuid::nil()), 0)
}

fn errors(body: Value) -> Vec<FieldError> {
    RuleSubmission::parse(body).expect_err("the body is bad")
}

fn pointers(body: Value) -> Vec<String> {
    errors(body)
        .into_iter()
        .map(|error| error.pointer)
        .collect()
}

/// A rule with one action of these keys.
fn acting(action: Value) -> Value {
    json!({"name": "r", "event_type": "a", "actions": [action]})
}

fn recipients(recipients: Value) -> Vec<Selector> {
    let rule = parse(acting(json!({"recipients": recipients})));
    rule.actions.into_iter().next().unwrap().recipients
}

/// The rule of the documentation.
fn margin_call() -> Value {
    json!({
        "name": "Margin Call",
        "event_type": "MARGIN_CALL",
        "conditions": [{"field": "severity", "operator": "gte", "value": "high"}],
        "actions": [{
            "type": "notify",
            "channels": ["in_app", "sms", "voice", "email"],
            "fallback": ["push"],
            "template": "risk.margin_call",
            "priority": "high",
            "bypass_quiet_hours": true,
            "recipients": {"type": "dynamic", "expression": "event.data.user_id"},
            "batch_window": "5m",
            "batch_size": 100,
            "batch_key": "event.data.account_id",
        }],
    })
}

#[test]
fn the_rule_of_the_rules_file_is_read_as_it_is_meant() {
    let rule = parse(margin_call());
    assert_eq!(rule.event_types, ["MARGIN_CALL"]);
    assert!(rule.enabled);
    let action = &rule.actions[0];
    assert_eq!(action.priority, Some(Priority::High));
    assert_eq!(action.fallback, [Channel::Push]);
    assert!(action.bypass_quiet_hours);
    let batch = Batch {
        window: Duration::from_mins(5),
        size: Some(100),
        key: Some("event.data.account_id".to_owned()),
    };
    assert_eq!(action.batch, Some(batch));
    let dynamic = Selector::Dynamic("event.data.user_id".to_owned());
    assert_eq!(action.recipients, [dynamic]);
}

#[test]
fn the_forms_of_system_c_mean_the_same() {
    let flat = parse(json!({
        "name": "Report",
        "event_pattern": "event.type == 'report.ready'",
        "template_id": "report.ready",
        "template_vars": {"team": "ops"},
        "channels": ["INAPP", "browser"],
        "fallback_channels": ["email"],
        "priority": "medium",
        "recipients": ["u1", "u2", "#ops"],
    }));
    assert_eq!(flat.when.as_deref(), Some("event.type == 'report.ready'"));
    let action = &flat.actions[0];
    assert_eq!(action.template.as_deref(), Some("report.ready"));
    assert_eq!(action.template_vars["team"], "ops");
    assert_eq!(
        action.channels,
        Some(vec![Channel::InApp, Channel::WebPush])
    );
    assert_eq!(action.fallback, [Channel::Email]);
    assert_eq!(action.priority, Some(Priority::Normal));
    assert_eq!(action.recipients.len(), 2);
}

#[test]
fn schedules_are_read_in_every_form() {
    let of = |schedule: Value, timezone: Value| {
        let rule = parse(json!({
            "name": "r", "schedule": schedule, "timezone": timezone, "recipients": ["u"],
        }));
        rule.schedule.unwrap()
    };
    let five_minutes = Every::Interval(Duration::from_mins(5));
    for every in ["every 5m", "5m", "PT5M", "Every 5 minutes"] {
        assert_eq!(of(json!(every), Value::Null).every, five_minutes, "{every}");
    }
    for body in [
        json!({"every": "5m"}),
        json!({"interval": 300}),
        json!({"every": "every 5m"}),
    ] {
        assert_eq!(of(body, Value::Null).every, five_minutes);
    }
    let cron = Schedule {
        every: Every::Cron("0 9 * * 1-5".to_owned()),
        timezone: chrono_tz::Europe::Berlin,
    };
    assert_eq!(of(json!("0 9 * * 1-5"), json!("Europe/Berlin")), cron);
    let body = json!({"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"});
    assert_eq!(of(body, Value::Null), cron);
}

#[test]
fn recipients_are_read_in_every_form() {
    let users = |names: &[&str]| Selector::Users(names.iter().map(|name| (*name).into()).collect());
    let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (body, expected) in [
        (json!(["u1", "u2"]), vec![users(&["u1", "u2"])]),
        (
            json!({"type": "users", "users": ["u1"]}),
            vec![users(&["u1"])],
        ),
        (
            json!({"type": "users", "ids": ["u1"]}),
            vec![users(&["u1"])],
        ),
        (json!({"type": "user", "users": "u1"}), vec![users(&["u1"])]),
        (
            json!({"type": "roles", "roles": ["a"]}),
            vec![Selector::Roles(texts(&["a"]))],
        ),
        (
            json!({"type": "Groups", "groups": ["a"]}),
            vec![Selector::Groups(texts(&["a"]))],
        ),
        (
            json!({"type": "topics", "names": ["a"]}),
            vec![Selector::Topics(texts(&["a"]))],
        ),
        (
            json!({"type": "targets", "targets": ["#a"]}),
            vec![Selector::Targets(texts(&["#a"]))],
        ),
        (
            json!("event.data.ids"),
            vec![Selector::Dynamic("event.data.ids".to_owned())],
        ),
        (
            json!({"users": ["u1"], "roles": ["a"]}),
            vec![users(&["u1"]), Selector::Roles(texts(&["a"]))],
        ),
        (
            json!([{"type": "roles", "roles": ["a"]}, "u1", "#b"]),
            vec![
                Selector::Roles(texts(&["a"])),
                users(&["u1"]),
                Selector::Targets(texts(&["#b"])),
            ],
        ),
    ] {
        assert_eq!(recipients(body.clone()), expected, "{body}");
    }
}

#[test]
fn what_is_wrong_is_named_where_it_stands() {
    for (body, expected) in [
        (json!({}), vec!["/name", "/actions"]),
        (json!({"name": "r", "actions": []}), vec!["/actions"]),
        (
            json!({"name": Uuid::nil(), "channels": ["email"]}),
            vec!["/name"],
        ),
        (
            json!({"name": "r", "channels": ["pigeon"]}),
            vec!["/channels/0"],
        ),
        (json!({"name": "r", "channels": []}), vec!["/channels"]),
        (
            json!({"name": "r", "channels": ["email"], "colour": 1}),
            vec!["/colour"],
        ),
        (
            json!({"name": "r", "template": "a", "template_id": "b"}),
            vec!["/template_id"],
        ),
        (
            json!({"name": "r", "priority": "low", "actions": [{}]}),
            vec!["/priority"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "event_types": ["order.*"]}),
            vec!["/event_types"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "valid_from": "2030-01-02T00:00:00Z",
                "valid_until": "2030-01-02T00:00:00Z"}),
            vec!["/valid_until"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "timezone": "Europe/Berlin"}),
            vec!["/timezone"],
        ),
        (
            json!({"name": "r", "recipients": ["u"], "schedule": "now and then"}),
            vec!["/schedule"],
        ),
        (
            json!({"name": "r", "recipients": ["u"], "schedule": "0 0 30 2 *"}),
            vec!["/schedule"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "schedule": "1h", "event_type": "a"}),
            vec!["/event_types", "/recipients"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "when": "event.type =="}),
            vec!["/when"],
        ),
        (
            json!({"name": "r", "channels": ["email"], "conditions": [
                {"field": "a", "operator": "near", "value": 1},
                {"operator": "eq", "value": 1},
                {"field": "a", "operator": "matches", "value": "("},
                {"field": "a", "operator": "in", "value": 1},
                {"field": "severity", "operator": "gte", "value": "awful"},
                {"field": "a", "operator": "eq"},
                {"field": "a", "operator": "gt", "value": true},
                {"field": "a", "operator": "exists", "value": 1},
                7,
            ]}),
            vec![
                "/conditions/8",
                "/conditions/0/operator",
                "/conditions/1/field",
                "/conditions/2/value",
                "/conditions/3/value",
                "/conditions/4/value",
                "/conditions/5/value",
                "/conditions/6/value",
                "/conditions/7/value",
            ],
        ),
    ] {
        let mut found = pointers(body.clone());
        found.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn what_is_wrong_with_an_action_is_named_where_it_stands() {
    let variants = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name}))
            .collect::<Vec<_>>()
    };
    for (action, expected) in [
        (json!({"type": "email"}), "/type"),
        (
            json!({"channels": ["email"], "fallback": ["EMAIL"]}),
            "/fallback",
        ),
        (json!({"fallback": ["in_app"]}), "/fallback"),
        (json!({"batch_size": 10}), "/batch_window"),
        (json!({"batch_key": "event.type"}), "/batch_window"),
        (json!({"batch_window": "0s"}), "/batch_window"),
        (json!({"batch_window": "32d"}), "/batch_window"),
        (
            json!({"batch_window": "5m", "batch_size": 0}),
            "/batch_size",
        ),
        (
            json!({"batch_window": "5m", "batch_key": "1 +"}),
            "/batch_key",
        ),
        (json!({"expires_in": "soon"}), "/expires_in"),
        (json!({"locale": "german"}), ""),
        (json!({"variants": variants(&["a"])}), "/variants"),
        (
            json!({"variants": variants(&["a", "a"])}),
            "/variants/1/name",
        ),
        (
            json!({"variants": [{"name": "a"}, {"name": "b", "weight": 0}]}),
            "/variants/1/weight",
        ),
        (json!({"recipients": []}), "/recipients"),
        (json!({"recipients": 7}), "/recipients"),
        (json!({"recipients": "u1"}), "/recipients"),
        (json!({"recipients": ["u1", ""]}), "/recipients/1"),
        (json!({"recipients": {"type": "crowd"}}), "/recipients/type"),
        (json!({"recipients": {}}), "/recipients/type"),
        (
            json!({"recipients": {"type": "users"}}),
            "/recipients/users",
        ),
        (
            json!({"recipients": {"type": "dynamic"}}),
            "/recipients/expression",
        ),
        (
            json!({"recipients": [{"type": "roles", "roles": []}]}),
            "/recipients/0/roles",
        ),
        (
            json!({"template_vars": {"a": "x".repeat(VALUE_BYTES_MAX)}}),
            "/template_vars",
        ),
        (json!({"template_vars": {"a": "\0"}}), "/template_vars/a"),
    ] {
        if expected.is_empty() {
            // A tag that nobody knows has the shape of one, and is taken.
            parse(acting(action));
            continue;
        }
        assert_eq!(pointers(acting(action)), [format!("/actions/0{expected}")]);
    }
}

#[test]
fn every_count_has_a_bound() {
    let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
    let condition = json!({"field": "a", "operator": "exists"});
    for (body, expected) in [
        (json!({"event_types": names(TYPES_MAX + 1)}), "/event_types"),
        (json!({"domains": names(TYPES_MAX + 1)}), "/domains"),
        (
            json!({"conditions": vec![condition; CONDITIONS_MAX + 1]}),
            "/conditions",
        ),
        (
            json!({"actions": vec![json!({}); ACTIONS_MAX + 1]}),
            "/actions",
        ),
        (json!({"recipients": names(1001)}), "/recipients"),
        (
            json!({"recipients": {"users": names(1001)}}),
            "/recipients/users",
        ),
        (
            json!({"when": format!("'{}' == ''", "x".repeat(5000))}),
            "/when",
        ),
        (
            json!({"description": "x".repeat(DESCRIPTION_CHARS_MAX + 1)}),
            "/description",
        ),
    ] {
        let mut body = body;
        body["name"] = json!("r");
        if body.get("actions").is_none() {
            body["channels"] = json!(["email"]);
        }
        assert_eq!(pointers(body), [expected]);
    }
}

#[test]
fn what_was_stored_is_read_without_compiling_it_again() {
    let body = json!({"name": "r", "channels": ["email"], "when": "event.type =="});
    assert!(RuleSubmission::parse(body.clone()).is_err());
    assert!(RuleSubmission::of_stored(body).is_ok());
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Zа-я][a-zA-Zа-я0-9 ._-]{0,20}"
}

fn expression() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("event.type == 'a'".to_owned()),
        Just("event.data.x > 1 && has(event.data.y)".to_owned()),
    ]
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0i64..4_000_000_000, 0u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn span() -> impl Strategy<Value = Duration> {
    (1u64..2_000_000).prop_map(Duration::from_secs)
}

fn channels() -> impl Strategy<Value = Option<Vec<Channel>>> {
    let some = proptest::sample::subsequence(Channel::ALL.to_vec(), 1..=4);
    proptest::option::of(some)
}

fn selector() -> impl Strategy<Value = Selector> {
    let names = || {
        proptest::collection::btree_set(name(), 1..4)
            .prop_map(|names| names.into_iter().collect::<Vec<_>>())
    };
    prop_oneof![
        names().prop_map(|names| {
            Selector::Users(names.into_iter().map(crate::UserId::from).collect())
        }),
        names().prop_map(Selector::Roles),
        names().prop_map(Selector::Groups),
        names().prop_map(Selector::Topics),
        names().prop_map(Selector::Targets),
        expression().prop_map(Selector::Dynamic),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let vars = proptest::collection::btree_map(name(), any::<i64>().prop_map(Value::from), 0..3);
    let batch = (
        span(),
        proptest::option::of(1u32..10_000),
        proptest::option::of(expression()),
    )
        .prop_map(|(window, size, key)| Batch { window, size, key });
    let variant = (1u32..1000, proptest::option::of(name()), channels());
    let variants = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(variant, 2..4).prop_map(|variants| {
            let named = |(index, (weight, template, channels))| Variant {
                name: format!("v{index}"),
                weight,
                template,
                channels,
            };
            variants.into_iter().enumerate().map(named).collect()
        }),
    ];
    let texts = (
        proptest::option::of(name()),
        proptest::option::of(name()),
        proptest::option::of(prop_oneof![Just("de".to_owned()), Just("pt-BR".to_owned())]),
    );
    let rest = (
        proptest::option::of(proptest::sample::select(Priority::ALL.to_vec())),
        any::<bool>(),
        proptest::option::of(span()),
        proptest::collection::vec(selector(), 1..4),
        proptest::option::of(batch),
        variants,
    );
    (channels(), channels(), texts, vars, rest).prop_map(
        |(channels, fallback, texts, vars, rest)| {
            let first = channels.clone().unwrap_or_else(|| vec![Channel::InApp]);
            let fallback = fallback.unwrap_or_default().into_iter();
            let (template, category, locale) = texts;
            let (priority, bypass_quiet_hours, expires_in, recipients, batch, variants) = rest;
            Action {
                fallback: fallback
                    .filter(|channel| !first.contains(channel))
                    .collect(),
                channels,
                template,
                template_vars: vars.into_iter().collect(),
                category,
                priority,
                locale,
                bypass_quiet_hours,
                expires_in,
                recipients,
                batch,
                variants,
            }
        },
    )
}

fn condition() -> impl Strategy<Value = Condition> {
    let tests = prop_oneof![
        Just((Operator::Exists, Value::Null)),
        Just((Operator::Exists, json!(false))),
        Just((Operator::Matches, json!("^a+$"))),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(|number| (Operator::Gte, json!(number))),
        Just((Operator::In, json!(["a", 1, null]))),
        name().prop_map(|text| (Operator::Eq, json!(text))),
    ];
    (name(), tests).prop_map(|(field, (operator, value))| Condition {
        // Not `severity`, whose values are others.
        field: format!("payload.{field}"),
        operator,
        value,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let names = || proptest::collection::btree_set(name(), 0..3);
    let domain = name().prop_map(|name| name.replace(['.', '_'], "-"));
    let heard = (
        names(),
        proptest::collection::btree_set(domain, 0..3),
        proptest::collection::vec(condition(), 0..4),
        proptest::option::of(expression()),
    );
    let every = prop_oneof![
        Just(Every::Cron("*/5 9-17 * * 1-5".to_owned())),
        span().prop_map(Every::Interval),
    ];
    let zone = proptest::sample::select(vec![chrono_tz::UTC, chrono_tz::Asia::Kathmandu]);
    let schedule = (every, zone).prop_map(|(every, timezone)| Schedule { every, timezone });
    let speaks = prop_oneof![
        heard.prop_map(|heard| (heard, None)),
        schedule.prop_map(|schedule| {
            (
                (BTreeSet::default(), BTreeSet::default(), Vec::new(), None),
                Some(schedule),
            )
        }),
    ];
    (
        name(),
        proptest::option::of(name()),
        any::<bool>(),
        proptest::option::of(time()),
        proptest::option::of(1i64..1_000_000),
        speaks,
        proptest::collection::vec(action(), 1..3),
    )
        .prop_map(
            |(name, description, enabled, from, lasts, speaks, actions)| {
                let ((event_types, domains, conditions, when), schedule) = speaks;
                let until = |from: DateTime<Utc>| Some(from + TimeDelta::seconds(lasts?));
                Rule {
                    id: RuleId::from(Uuid::nil()),
                    version: 0,
                    name,
                    description,
                    enabled,
                    valid_from: from,
                    valid_until: from.and_then(until),
                    event_types: event_types.into_iter().collect(),
                    domains: domains.into_iter().collect(),
                    conditions,
                    when,
                    schedule,
                    actions,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rule_that_is_written_is_read_back_the_same(rule in rule()) {
        let body = rule.to_value();
        prop_assert_eq!(&parse(body.clone()), &rule);
        // What is stored, and what a YAML file gives, have been text in between.
        let stored = serde_json::from_str(&body.to_string()).unwrap();
        let again = RuleSubmission::of_stored(stored).unwrap();
        prop_assert_eq!(again.to_value(), body);
    }
}

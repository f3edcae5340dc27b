//! Which rules speak of which events, and for whom.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::rule::{Action, Batch, Condition, Every, Operator, Schedule, Selector};
use crate::{EventFacts, Severity, TraceStep};

fn rule(name: &str) -> Rule {
    let id = name
        .bytes()
        .fold(0u128, |id, byte| id * 251 + u128::from(byte));
    Rule {
        id: RuleId::from(Uuid::from_u128(id)),
        version: 1,
        name: name.to_owned(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: Vec::new(),
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: None,
        actions: vec![Action::default()],
    }
}

fn of_types(name: &str, types: &[&str]) -> Rule {
    Rule {
        event_types: types.iter().map(ToString::to_string).collect(),
        ..rule(name)
    }
}

fn when(name: &str, source: &str) -> Rule {
    Rule {
        when: Some(source.to_owned()),
        ..rule(name)
    }
}

fn facts<'a>(kind: &'a str, payload: &'a Value) -> EventFacts<'a> {
    EventFacts {
        event_id: "e-1",
        producer: "risk",
        created_at: DateTime::UNIX_EPOCH,
        kind,
        severity: Some(Severity::High),
        payload,
    }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn names(matching: &Matching) -> Vec<&str> {
    matching
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect()
}

/// The names of the rules that speak of an event of this type.
fn matched(rules: Vec<Rule>, kind: &str, payload: &Value) -> Vec<String> {
    let book = RuleBook::compile(rules, None);
    let matching = book.matching(&Scene::of(&facts(kind, payload)), now());
    names(&matching).into_iter().map(str::to_owned).collect()
}

fn step<'a>(matching: &'a Matching, rule: &str) -> &'a TraceStep {
    let is_of = |step: &&TraceStep| step.detail["rule"] == rule;
    matching
        .steps
        .iter()
        .find(is_of)
        .expect("the rule has a step")
}

#[test]
fn a_rule_is_found_by_type_by_domain_or_for_any_event() {
    let rules = || {
        let domain = Rule {
            domains: vec!["Order".to_owned()],
            ..rule("domain")
        };
        vec![
            rule("any"),
            domain,
            of_types("exact", &["ORDER_FILLED", "other"]),
            of_types("other", &["order.cancelled"]),
        ]
    };
    let payload = json!({});
    for (kind, expected) in [
        ("order.filled", vec!["any", "domain", "exact"]),
        ("ORDER_FILLED", vec!["any", "domain", "exact"]),
        ("order", vec!["any", "domain"]),
        ("orders.filled", vec!["any"]),
        ("other", vec!["any", "exact"]),
    ] {
        assert_eq!(matched(rules(), kind, &payload), expected, "{kind}");
    }
}

#[test]
fn types_and_domains_must_both_hold() {
    let both = |domain: &str| Rule {
        domains: vec![domain.to_owned()],
        ..of_types("both", &["order.filled"])
    };
    let payload = json!({});
    assert_eq!(
        matched(vec![both("order")], "order.filled", &payload),
        ["both"]
    );
    assert!(matched(vec![both("risk")], "order.filled", &payload).is_empty());
}

#[test]
fn a_rule_that_is_off_or_not_valid_now_does_not_match_and_says_so() {
    let hour = TimeDelta::hours(1);
    let off = Rule {
        enabled: false,
        ..rule("off")
    };
    let early = Rule {
        valid_from: Some(now() + hour),
        ..rule("early")
    };
    // The end is not part of it.
    let late = Rule {
        valid_until: Some(now()),
        ..rule("late")
    };
    let begins = Rule {
        valid_from: Some(now()),
        ..rule("begins")
    };
    let book = RuleBook::compile(vec![off, early, late, begins], None);
    let payload = json!({});
    let matching = book.matching(&Scene::of(&facts("a", &payload)), now());

    assert_eq!(names(&matching), ["begins"]);
    for (rule, reason) in [
        ("off", "it is switched off"),
        ("early", "it is not valid yet"),
        ("late", "it is not valid any more"),
    ] {
        assert_eq!(step(&matching, rule).decision, "not_matched");
        assert_eq!(step(&matching, rule).reason, reason);
    }
}

#[test]
fn the_first_condition_that_fails_is_named_without_the_content() {
    let condition = |field: &str, operator, value| Condition {
        field: field.to_owned(),
        operator,
        value,
    };
    let strict = Rule {
        conditions: vec![
            condition("severity", Operator::Gte, json!("high")),
            condition("amount", Operator::Gt, json!(100)),
        ],
        ..rule("strict")
    };
    let book = RuleBook::compile(vec![strict], None);
    let payload = json!({"amount": 7});
    let matching = book.matching(&Scene::of(&facts("a", &payload)), now());
    assert_eq!(
        step(&matching, "strict").reason,
        "`amount` gt 100 does not hold"
    );
}

#[test]
fn a_rule_that_fails_leaves_the_others_alone() {
    let rules = vec![
        when("bad source", "event.data."),
        when("missing", "event.data.amount > 1"),
        when("no truth", "event.type"),
        when("fine", "event.type == 'a'"),
    ];
    let book = RuleBook::compile(rules, None);
    let payload = json!({});
    let matching = book.matching(&Scene::of(&facts("a", &payload)), now());

    assert_eq!(names(&matching), ["fine"]);
    assert_eq!(
        step(&matching, "missing").reason,
        "when: the event has no `amount`"
    );
    assert_eq!(step(&matching, "no truth").decision, "failed");
    assert!(
        step(&matching, "bad source")
            .reason
            .contains("cannot be read as CEL")
    );
    let broken: Vec<_> = book.broken().map(|(rule, _)| rule.name.as_str()).collect();
    assert_eq!(broken, ["bad source"]);
}

#[test]
fn a_when_that_names_its_types_is_looked_at_for_those_only() {
    let rules = vec![when(
        "typed",
        "event.type == 'order.filled' && event.data.x > 1",
    )];
    let book = RuleBook::compile(rules, None);
    let payload = json!({});
    assert!(
        book.matching(&Scene::of(&facts("other", &payload)), now())
            .steps
            .is_empty()
    );
    assert_eq!(
        book.matching(&Scene::of(&facts("order.filled", &payload)), now())
            .steps
            .len(),
        1
    );
}

#[test]
fn a_rule_with_a_schedule_matches_no_event() {
    let scheduled = Rule {
        schedule: Some(Schedule {
            every: Every::Cron("0 9 * * *".to_owned()),
            timezone: chrono_tz::UTC,
        }),
        ..rule("daily")
    };
    assert!(matched(vec![scheduled], "a", &json!({})).is_empty());
}

#[test]
fn a_trace_names_twenty_rules_that_did_not_match_and_counts_the_rest() {
    let rules = (0..50)
        .map(|n| when(&format!("r{n:02}"), "false"))
        .collect();
    let book = RuleBook::compile(rules, None);
    let payload = json!({});
    let matching = book.matching(&Scene::of(&facts("a", &payload)), now());
    assert_eq!(matching.steps.len(), 21);
    let last = matching.steps.last().unwrap();
    assert_eq!(last.reason, "30 more rules were looked at");
    assert_eq!(last.detail, json!({"looked_at": 50, "matched": 0}));
}

/// 120 rules hold the same broad pattern against a text of 2400 bytes, half of them in a condition:
/// there is a budget for 48 of them.
#[test]
fn conditions_and_expressions_of_all_rules_share_the_budget_of_the_event() {
    let pattern = "(a{1,20}){1,10}b|<i>";
    let mut rules = vec![when("z", "event.data.n == 1")];
    for n in 0..60 {
        let condition = Condition {
            field: "s".to_owned(),
            operator: Operator::Matches,
            value: json!(pattern),
        };
        rules.push(Rule {
            conditions: vec![condition],
            ..rule(&format!("a{n:02}"))
        });
        rules.push(when(
            &format!("b{n:02}"),
            &format!("event.data.s.matches('{pattern}')"),
        ));
    }
    let book = RuleBook::compile(rules, None);
    assert!(book.broken().next().is_none());
    let payload = json!({"s": "a".repeat(2400), "n": 1});
    let event = facts("a", &payload);
    let scene = Scene::of(&event);
    let looked_at = |matching: &Matching| {
        let is_paid = |step: &&TraceStep| !step.reason.contains("the rules took too long");
        matching.steps.iter().filter(is_paid).count()
    };
    let matching = book.matching(&scene, now());
    assert!(looked_at(&matching) >= MISSES_NAMED_MAX);
    // What costs next to nothing is still asked.
    assert_eq!(names(&matching), ["z"]);

    let again = book.matching(&scene, now());
    let reason = &step(&again, "a00").reason;
    assert_eq!(
        reason,
        "conditions/0: is not evaluated: the rules took too long for this event"
    );
    let text = json!({"s": "a".repeat(2400)});
    let spent = book.matching(&Scene::of(&facts("a", &text)), now());
    assert_eq!(step(&spent, "a19").decision, "not_matched");
}

#[test]
fn what_has_not_changed_is_not_compiled_again() {
    let old = RuleBook::compile(vec![when("a", "true"), when("b", "true")], None);
    let changed = Rule {
        version: 2,
        ..when("b", "false")
    };
    let book = RuleBook::compile(vec![when("a", "true"), changed], Some(&old));
    assert!(Arc::ptr_eq(&old.rules[0], &book.rules[0]));
    assert_eq!(book.rules[1].rule.version, 2);
    let payload = json!({});
    assert_eq!(
        names(&book.matching(&Scene::of(&facts("x", &payload)), now())),
        ["a"]
    );

    let renamed = Rule {
        version: 2,
        ..when("a", "true")
    };
    let again = RuleBook::compile(vec![renamed], Some(&book));
    let expression = |book: &RuleBook| Arc::clone(book.rules[0].expression("true").unwrap());
    assert!(Arc::ptr_eq(&expression(&old), &expression(&again)));
}

fn with_action(action: Action) -> (RuleBook, Rule) {
    let rule = Rule {
        actions: vec![action],
        ..rule("acts")
    };
    (RuleBook::compile(vec![rule.clone()], None), rule)
}

fn audience(recipients: Vec<Selector>, payload: &Value) -> Result<Audience, RuleError> {
    let (book, rule) = with_action(Action {
        recipients,
        ..Action::default()
    });
    book.audience(&rule, 0, &Scene::of(&facts("a", payload)))
}

fn users(names: &[&str]) -> BTreeSet<UserId> {
    names.iter().map(|name| UserId::from(*name)).collect()
}

#[test]
fn every_kind_of_selector_is_heard_together() {
    let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let recipients = vec![
        Selector::Users(vec!["ada".into()]),
        Selector::Roles(texts(&["trader"])),
        Selector::Groups(texts(&["desk-1"])),
        Selector::Topics(texts(&["releases"])),
        Selector::Targets(texts(&["#ops-critical", "on-call"])),
        Selector::Dynamic("event.data.user_ids".to_owned()),
        Selector::Dynamic("event.data.owner".to_owned()),
    ];
    let payload = json!({"user_ids": ["u1", 7], "owner": "ada"});
    let found = audience(recipients, &payload).unwrap();
    assert_eq!(
        found.users,
        users(&["#ops-critical", "7", "ada", "on-call", "u1"])
    );
    assert_eq!(
        found.roles.len() + found.groups.len() + found.topics.len(),
        3
    );
    assert!(found.failed.is_empty());
}

#[test]
fn an_action_without_recipients_is_for_the_user_in_the_payload() {
    let found = audience(Vec::new(), &json!({"user_id": 42})).unwrap();
    assert_eq!(found.users, users(&["42"]));
    let error = audience(Vec::new(), &json!({})).unwrap_err();
    assert_eq!(error.place, "actions/0/recipients");
}

#[test]
fn a_selector_that_fails_is_reported_and_the_others_are_heard() {
    let dynamic = || Selector::Dynamic("event.data.owner".to_owned());
    let found = audience(
        vec![Selector::Users(vec!["ada".into()]), dynamic()],
        &json!({}),
    )
    .unwrap();
    assert_eq!(found.users, users(&["ada"]));
    assert_eq!(found.failed[0].place, "actions/0/recipients/1");

    let many: Vec<_> = (0..=DYNAMIC_USERS_MAX).map(|n| n.to_string()).collect();
    for payload in [
        json!({}),
        json!({"owner": null}),
        json!({"owner": ""}),
        json!({"owner": {"id": 1}}),
        json!({"owner": ["a", null]}),
        json!({"owner": "x".repeat(256)}),
        json!({"owner": many}),
    ] {
        let error = audience(vec![dynamic()], &payload).unwrap_err();
        assert_eq!(error.place, "actions/0/recipients/0");
    }
    assert_eq!(
        audience(vec![dynamic()], &json!({"owner": []})).unwrap(),
        Audience::default()
    );
}

#[test]
fn a_batch_key_is_a_text_of_bounded_length() {
    let key = |source: Option<&str>, payload: &Value| {
        let (book, rule) = with_action(Action {
            batch: Some(Batch {
                window: std::time::Duration::from_mins(1),
                size: None,
                key: source.map(str::to_owned),
            }),
            ..Action::default()
        });
        book.batch_key(&rule, 0, &Scene::of(&facts("a", payload)))
    };
    let payload = json!({"text": "a", "n": 7, "f": 1.5, "t": true, "z": null, "list": [1]});
    for (source, expected) in [
        (None, ""),
        (Some("event.data.text"), "a"),
        (Some("event.data.n"), "7"),
        (Some("event.data.f"), "1.5"),
        (Some("event.data.t"), "true"),
        (Some("event.data.z"), ""),
        (Some("event.type + ':' + event.data.text"), "a:a"),
    ] {
        assert_eq!(key(source, &payload).as_deref(), Ok(expected), "{source:?}");
    }
    assert!(key(Some("event.data.list"), &payload).is_err());
    assert!(key(Some("event.data.missing"), &payload).is_err());
    let long = key(Some("event.data.text"), &json!({"text": "é".repeat(256)})).unwrap();
    assert_eq!(long.len(), 43);
}

#[test]
fn a_rule_of_another_version_is_not_in_the_book() {
    let (book, rule) = with_action(Action::default());
    let changed = Rule { version: 2, ..rule };
    let payload = json!({"user_id": "u"});
    assert!(
        book.audience(&changed, 0, &Scene::of(&facts("a", &payload)))
            .is_err()
    );
    assert!(
        book.audience(&changed, 9, &Scene::of(&facts("a", &payload)))
            .is_err()
    );
}

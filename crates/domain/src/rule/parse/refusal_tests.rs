//! What a rule cannot mean is refused in words that say what to do.

use serde_json::{Value, json};

use super::*;

/// Where a rule with these keys is refused, and why.
fn refusals(keys: Value) -> Vec<String> {
    let mut body = json!({"name": "r", "recipients": ["u1"]});
    let Value::Object(keys) = keys else {
        panic!("keys are an object")
    };
    for (key, value) in keys {
        body[&key] = value;
    }
    let errors = RuleSubmission::parse(body).err().unwrap_or_default();
    let told = |error: FieldError| format!("{}: {}", error.pointer, error.detail);
    errors.into_iter().map(told).collect()
}

#[test]
fn a_null_is_not_given() {
    for name in [
        "event_type",
        "event_types",
        "domain",
        "domains",
        "when",
        "event_pattern",
        "conditions",
        "schedule",
        "template_id",
        "fallback_channels",
    ] {
        assert_eq!(refusals(json!({ name: null })), [""; 0], "{name}");
    }
    let one_of_two = json!({"event_type": null, "event_types": ["a"], "template_id": null});
    assert_eq!(refusals(one_of_two), [""; 0]);
    assert_eq!(
        refusals(json!({"schedule": {"cron": "0 9 * * *", "every": null, "interval": null}})),
        [""; 0]
    );
}

#[test]
fn a_type_that_is_neither_text_nor_list_is_told_what_it_must_be() {
    for name in ["event_type", "event_types", "domains"] {
        let expected = format!("/{name}: must be a string, or an array of strings");
        for value in [json!(5), json!({}), json!(true)] {
            assert_eq!(refusals(json!({ name: value })), [expected.as_str()]);
        }
    }
    assert_eq!(
        refusals(json!({"event_types": ["a", 5]})),
        ["/event_types/1: must be a string"]
    );
}

#[test]
fn a_schedule_is_cron_or_an_interval() {
    let detail = "cannot be given beside `cron`; give one of them";
    for name in ["every", "interval"] {
        let schedule = json!({"cron": "0 9 * * *", name: "5m", "timezone": "Europe/Berlin"});
        let expected = format!("/schedule/{name}: {detail}");
        assert_eq!(refusals(json!({ "schedule": schedule })), [expected]);
    }
}

#[test]
fn a_domain_ends_before_the_first_dot() {
    let detail = "must have no `.` and no `_`: a domain is what stands before the first";
    for (keys, pointer) in [
        (json!({"domains": ["a", "a.b"]}), "/domains/1"),
        (json!({"domains": ["a_b"]}), "/domains/0"),
        (json!({"domains": "a."}), "/domains"),
        (json!({"domain": "a.b"}), "/domain"),
    ] {
        assert_eq!(refusals(keys), [format!("{pointer}: {detail}")]);
    }
    assert_eq!(refusals(json!({"domains": ["a", "B-2"]})), [""; 0]);
}

#[test]
fn a_rule_cannot_be_named_as_the_dry_run() {
    let detail = "/name: must not be `test`: `/v1/rules/test` is the dry run";
    assert_eq!(refusals(json!({"name": "test"})), [detail]);
    assert_eq!(refusals(json!({"name": "Test"})), [""; 0]);
}

#[test]
fn what_was_stored_before_it_was_refused_is_still_read() {
    let body = json!({"name": "test", "domains": ["a.b"], "recipients": ["u1"]});
    assert!(RuleSubmission::of_stored(body).is_ok());
}

//! From facts to plans.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::*;
use crate::{Addresses, Consents, Preferences, Recipient};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn event<'a>(kind: &'a str, payload: &'a Value) -> EventFacts<'a> {
    EventFacts {
        event_id: "e-1",
        producer: "",
        created_at: DateTime::UNIX_EPOCH,
        kind,
        severity: None,
        payload,
    }
}

fn direct<'a>(user_id: &'a UserId, channels: Option<&'a [Channel]>) -> DirectFacts<'a> {
    DirectFacts {
        user_id,
        channels,
        template: None,
        priority: Priority::Normal,
        category: None,
        data: None,
        is_test: false,
        locale: None,
        send_at: None,
        expires_at: None,
        bypass_quiet_hours: false,
    }
}

/// What is planned about an event that no rule speaks of.
fn unruled_plan(
    event: EventFacts<'_>,
    templates: &TemplateNames,
    recipient: Option<&Recipient>,
) -> PlannedNotification {
    let user_id = unruled(&event).unwrap();
    let facts = ActionFacts {
        event,
        origin: Origin::Default,
        templates,
    };
    facts.plan(&user_id, recipient, now())
}

fn planned(send: DirectFacts<'_>, recipient: Option<&Recipient>) -> PlannedNotification {
    route_direct(send, &TemplateNames::default(), recipient, now())
}

fn ada() -> Recipient {
    Recipient {
        user_id: "ada".into(),
        addresses: Addresses {
            email: Some("ada@example.com".into()),
            ..Default::default()
        },
        locale: None,
        timezone: None,
        preferences: Preferences::default(),
        consents: Consents::default(),
    }
}

/// Ada, who has said `preferences`.
fn ada_who_said(preferences: Value) -> Recipient {
    Recipient {
        preferences: Preferences::parse(preferences).unwrap(),
        ..ada()
    }
}

#[test]
fn an_event_type_finds_its_template_in_any_spelling() {
    let templates = TemplateNames::new([("order.filled", Some("trading"))]);

    assert_eq!(templates.of_type("ORDER_FILLED"), Some("order.filled"));
    assert_eq!(templates.of_type("order.filled"), Some("order.filled"));
    assert_eq!(templates.of_type("order.cancelled"), None);
}

#[test]
fn the_user_in_the_payload_hears_of_the_event_in_app() {
    let payload = json!({"user_id": "ada"});
    let facts = EventFacts {
        event_id: "e-1",
        producer: "",
        created_at: DateTime::UNIX_EPOCH,
        severity: Some(Severity::High),
        ..event("ORDER_FILLED", &payload)
    };

    let plan = unruled_plan(
        facts,
        &TemplateNames::new([("order.filled", Some("trading"))]),
        None,
    );

    let notification = &plan;
    assert_eq!(notification.user_id, "ada".into());
    assert_eq!(notification.template.as_deref(), Some("order.filled"));
    assert_eq!(notification.priority, Priority::High);
    assert_eq!(
        notification.deliveries,
        [PlannedDelivery::queued(Channel::InApp, None)]
    );
}

#[test]
fn an_event_without_a_template_is_told_plainly() {
    let payload = json!({"user_id": 42});

    let plan = unruled_plan(
        event("cache.warm", &payload),
        &TemplateNames::default(),
        None,
    );

    assert_eq!(plan.user_id, "42".into());
    assert_eq!(plan.template, None);
    assert_eq!(plan.steps[1].decision, "plain");
}

#[test]
fn an_event_that_names_nobody_leads_to_nothing_and_says_so() {
    let long = "u".repeat(NAME_CHARS_MAX + 1);
    for payload in [
        json!({}),
        json!({"user_id": ""}),
        json!({"user_id": 1.5}),
        json!({"user_id": long}),
    ] {
        let step = unruled(&event("x", &payload)).expect_err("nobody is named");

        assert_eq!(step.decision, "no_recipient", "{payload}");
    }
}

#[test]
fn a_direct_send_without_channels_goes_in_app() {
    let plan = planned(direct(&"ada".into(), None), None);

    assert_eq!(
        plan.deliveries,
        [PlannedDelivery::queued(Channel::InApp, None)]
    );
    assert_eq!(plan.status, Status::Queued);
}

#[test]
fn the_address_of_a_send_wins_over_the_users_own() {
    let data = json!({"email": "other@example.com"});
    let user_id = "ada".into();
    let facts = DirectFacts {
        data: Some(&data),
        ..direct(&user_id, Some(&[Channel::Email]))
    };

    let plan = planned(facts, Some(&ada()));

    assert_eq!(
        plan.deliveries[0].address.as_deref(),
        Some("other@example.com")
    );
}

#[test]
fn a_channel_without_an_address_fails_and_the_others_go_on() {
    let channels = [Channel::Sms, Channel::Email, Channel::InApp];

    let plan = planned(direct(&"ada".into(), Some(&channels)), Some(&ada()));

    let statuses: Vec<_> = plan
        .deliveries
        .iter()
        .map(|delivery| delivery.status)
        .collect();
    assert_eq!(statuses, [Status::Failed, Status::Queued, Status::Queued]);
    assert_eq!(
        plan.deliveries[0].error.as_deref(),
        Some("the user has no sms address")
    );
    assert_eq!(plan.status, Status::Queued);
}

#[test]
fn a_send_nobody_can_receive_has_failed() {
    let plan = planned(direct(&"ada".into(), Some(&[Channel::Sms])), None);

    assert_eq!(plan.status, Status::Failed);
}

#[test]
fn every_device_of_a_user_gets_its_own_delivery() {
    let mut phones = ada();
    phones.addresses.push = vec![json!({"token": "a"}), json!({"token": "b"})];

    let plan = planned(direct(&"ada".into(), Some(&[Channel::Push])), Some(&phones));

    assert_eq!(plan.deliveries.len(), 2);
}

#[test]
fn what_expired_before_routing_is_not_sent() {
    let user_id = "ada".into();
    let facts = DirectFacts {
        expires_at: Some(now()),
        ..direct(&user_id, None)
    };

    let plan = planned(facts, None);

    assert_eq!(plan.status, Status::Expired);
    assert_eq!(plan.deliveries[0].status, Status::Expired);
}

#[test]
fn no_address_is_written_into_a_trace() {
    let plan = planned(direct(&"ada".into(), Some(&[Channel::Email])), Some(&ada()));

    let trace = serde_json::to_string(&plan.steps).unwrap();
    assert!(!trace.contains("ada@example.com"), "{trace}");
}

#[test]
fn a_channel_that_is_off_is_suppressed_and_the_plan_names_the_row() {
    let ada = ada_who_said(json!({"channels": {"email": {"enabled": false}}}));
    let channels = [Channel::Email, Channel::InApp];

    let plan = planned(direct(&"ada".into(), Some(&channels)), Some(&ada));

    let statuses: Vec<_> = plan.deliveries.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [Status::Suppressed, Status::Queued]);
    assert_eq!(plan.status, Status::Queued);
    let error = plan.deliveries[0].error.as_deref().unwrap();
    assert!(error.ends_with("/channels/email/enabled"), "{error}");
    let step = plan.steps.iter().find(|step| step.decision == "suppressed");
    let row = &step.unwrap().detail["row"];
    assert_eq!(row, "/channels/email/enabled");
}

/// Without the preference it would have failed for want of an address, which is nobody's wish.
#[test]
fn a_notification_of_which_nothing_is_left_is_suppressed() {
    let ada = ada_who_said(json!({"enabled": false}));
    let channels = [Channel::Sms, Channel::Push, Channel::InApp];

    let plan = planned(direct(&"ada".into(), Some(&channels)), Some(&ada));

    assert_eq!(plan.status, Status::Suppressed);
    assert_eq!(plan.deliveries.len(), 3);
}

#[test]
fn an_event_that_the_user_does_not_want_is_a_suppressed_notification() {
    let ada = ada_who_said(json!({"categories": {"trading": {"enabled": false}}}));
    let payload = json!({"user_id": "ada"});
    let templates = TemplateNames::new([("order.filled", Some("trading"))]);

    let plan = unruled_plan(event("ORDER_FILLED", &payload), &templates, Some(&ada));

    let notification = &plan;
    assert_eq!(notification.category.as_deref(), Some("trading"));
    assert_eq!(notification.status, Status::Suppressed);
    let step = notification.steps.last().unwrap();
    assert_eq!(step.detail["row"], "/categories/trading/enabled");
}

#[test]
fn a_direct_send_has_the_category_of_its_template_unless_it_names_one() {
    let ada = ada_who_said(json!({"categories": {"trading": {"enabled": false}}}));
    let templates = TemplateNames::new([("order.filled", Some("trading"))]);
    let user_id = "ada".into();
    let send = |category| {
        let facts = DirectFacts {
            template: Some("order.filled"),
            category,
            ..direct(&user_id, None)
        };
        route_direct(facts, &templates, Some(&ada), now()).status
    };

    assert_eq!(send(None), Status::Suppressed);
    assert_eq!(send(Some("security")), Status::Queued);
}

#[test]
fn a_test_goes_out_whatever_the_user_wants_and_says_so() {
    let ada = ada_who_said(json!({"enabled": false}));
    let user_id = "ada".into();
    let facts = DirectFacts {
        is_test: true,
        ..direct(&user_id, Some(&[Channel::Email]))
    };

    let plan = planned(facts, Some(&ada));

    assert_eq!(plan.status, Status::Queued);
    let step = &plan.steps[1];
    assert_eq!(step.decision, "preferences_disregarded");
    assert_eq!(step.detail["row"], "/enabled");
}

#[test]
fn the_address_of_a_preference_wins_over_the_users_and_loses_to_the_sends() {
    let ada = ada_who_said(json!({"channels": {"email": {"address": "home@example.com"}}}));
    let data = json!({"email": "now@example.com"});
    let user_id = "ada".into();
    let address = |data| {
        let facts = DirectFacts {
            data,
            ..direct(&user_id, Some(&[Channel::Email]))
        };
        planned(facts, Some(&ada)).deliveries[0].address.clone()
    };

    assert_eq!(address(None).as_deref(), Some("home@example.com"));
    assert_eq!(address(Some(&data)).as_deref(), Some("now@example.com"));
}

#[test]
fn the_language_is_the_sends_else_the_preferences_else_the_users() {
    let speaks = |preferences| Recipient {
        locale: Some("fr".into()),
        ..ada_who_said(preferences)
    };
    let (plain, german) = (speaks(json!({})), speaks(json!({"locale": "de"})));
    let user_id = "ada".into();
    let locale = |locale, recipient| {
        let facts = DirectFacts {
            locale,
            ..direct(&user_id, None)
        };
        planned(facts, recipient).locale
    };

    assert_eq!(locale(Some("ru"), Some(&german)).as_deref(), Some("ru"));
    assert_eq!(locale(None, Some(&german)).as_deref(), Some("de"));
    assert_eq!(locale(None, Some(&plain)).as_deref(), Some("fr"));
    assert_eq!(locale(None, None), None);
}

/// What a rule with this action tells Ada of an event, at `at`.
fn ruled_plan(
    action: crate::Action,
    kind: &str,
    recipient: &Recipient,
    at: DateTime<Utc>,
) -> PlannedNotification {
    let body = json!({"name": "r", "recipients": ["ada"]});
    let rule = crate::RuleSubmission::parse(body).unwrap();
    let rule = rule.into_rule(RuleId::from(uuid::Uuid::nil()), 1);
    let rule = crate::Rule {
        actions: vec![action],
        ..rule
    };
    let templates = [("order.filled", None), ("digest", None)];
    let payload = json!({});
    let facts = ActionFacts {
        event: event(kind, &payload),
        origin: Origin::Rule(&rule, 0),
        templates: &TemplateNames::new(templates),
    };
    facts.plan(&recipient.user_id, Some(recipient), at)
}

#[test]
fn a_digest_is_told_in_the_template_of_digests_where_nothing_names_another() {
    let told_in = |template: Option<&str>, is_gathered: bool, kind| {
        let batch = crate::Batch {
            window: std::time::Duration::from_mins(5),
            size: None,
            key: None,
        };
        let action = crate::Action {
            template: template.map(str::to_owned),
            batch: is_gathered.then_some(batch),
            ..crate::Action::default()
        };
        let plan = ruled_plan(action, kind, &ada(), now());
        (plan.template, plan.template_version)
    };
    let known = |name: &str| (Some(name.to_owned()), Some(0));

    assert_eq!(told_in(None, true, "trade"), known("digest"));
    assert_eq!(told_in(None, false, "trade"), (None, None));
    assert_eq!(told_in(None, true, "ORDER_FILLED"), known("order.filled"));
    assert_eq!(
        told_in(Some("order.filled"), true, "trade"),
        known("order.filled")
    );
    // What is named is waited for, and not told in another.
    assert_eq!(
        told_in(Some("later"), true, "trade"),
        (Some("later".to_owned()), None)
    );
}

#[test]
fn what_passes_quiet_hours_says_so_while_it_is_quiet() {
    let ada = ada_who_said(json!({
        "quiet_hours": {"enabled": true, "start": "22:00", "end": "08:00", "timezone": "UTC"},
        "categories": {"risk": {"enabled": true, "quiet_hours": "deliver"}},
    }));
    let passes = |bypass, priority, category: Option<&str>, channel, hour: i64| {
        let action = crate::Action {
            channels: Some(vec![channel]),
            bypass_quiet_hours: bypass,
            priority: Some(priority),
            category: category.map(str::to_owned),
            ..crate::Action::default()
        };
        let at = DateTime::from_timestamp(1_799_971_200 + hour * 3600, 0).unwrap();
        let plan = ruled_plan(action, "a", &ada, at);
        let steps = plan.steps.into_iter();
        let mut passed = steps.filter(|step| step.step == "quiet_hours");
        passed.next().map(|step| {
            assert_eq!(step.decision, "passed");
            assert_eq!(plan.deliveries[0].status, Status::Queued);
            let until = step.detail["until"].as_str().unwrap().to_owned();
            (until, step.detail["row"].clone())
        })
    };
    let (normal, critical) = (Priority::Normal, Priority::Critical);
    let night = |row| Some(("2027-01-15T08:00:00Z".to_owned(), row));
    let email = Channel::Email;

    assert_eq!(passes(true, normal, None, email, 1), night(Value::Null));
    let row = json!("/quiet_hours/allow_critical");
    assert_eq!(passes(false, critical, None, email, 1), night(row));
    let row = json!("/categories/risk/quiet_hours");
    assert_eq!(passes(false, normal, Some("risk"), email, 1), night(row));
    // By day, over a channel that is not held back, and where it is held back: nothing.
    assert_eq!(passes(true, critical, Some("risk"), email, 12), None);
    assert_eq!(passes(true, critical, None, Channel::InApp, 1), None);
    assert_eq!(passes(false, normal, None, email, 1), None);
    assert_eq!(passes(true, normal, None, Channel::Sms, 1), None);
}

#[test]
fn consent_is_looked_up_wherever_any_word_of_an_action_may_lead_to_it() {
    let needs = |action: crate::Action, kind: &str| {
        let body = json!({"name": "r", "recipients": ["ada"]});
        let rule = crate::RuleSubmission::parse(body).unwrap();
        let rule = crate::Rule {
            actions: vec![action],
            ..rule.into_rule(RuleId::from(uuid::Uuid::nil()), 1)
        };
        let news = Some("marketing");
        let templates = [("news", news), ("digest", news), ("order.filled", None)];
        let payload = json!({});
        let facts = ActionFacts {
            event: event(kind, &payload),
            origin: Origin::Rule(&rule, 0),
            templates: &TemplateNames::new(templates),
        };
        facts.may_need(&crate::ConsentCategories::default())
    };
    let plain = crate::Action::default;
    let told_in = |name: &str| Some(name.to_owned());

    assert!(!needs(plain(), "order.filled"));
    assert!(needs(plain(), "news"));
    let template = told_in("news");
    assert!(needs(
        crate::Action {
            template,
            ..plain()
        },
        "order.filled"
    ));
    let variant = crate::Variant {
        name: "b".into(),
        weight: 1,
        template: told_in("news"),
        channels: None,
    };
    let variants = vec![variant];
    assert!(needs(
        crate::Action {
            variants,
            ..plain()
        },
        "order.filled"
    ));
    let batch = Some(crate::Batch {
        window: std::time::Duration::from_mins(5),
        size: None,
        key: None,
    });
    assert!(needs(crate::Action { batch, ..plain() }, "trade"));
    // The category that an action names stands before those of templates.
    let category = told_in("trading");
    assert!(!needs(
        crate::Action {
            category,
            ..plain()
        },
        "news"
    ));
    let category = told_in("marketing");
    assert!(needs(
        crate::Action {
            category,
            ..plain()
        },
        "trade"
    ));
}

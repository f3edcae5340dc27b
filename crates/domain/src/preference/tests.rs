//! What holds for any preferences, and what is wrong with some bodies.

use chrono::DateTime;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Addresses, Recipient, Status, Telling, TellingFacts, TemplateNames, UserId};

/// Names that a pointer has to escape are among them.
const CATEGORIES: [&str; 4] = ["marketing", "a/b~c", "security", "日報"];

fn channel() -> impl Strategy<Value = Channel> {
    prop::sample::select(Channel::ALL.to_vec())
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(Severity::ALL.to_vec())
}

fn category() -> impl Strategy<Value = &'static str> {
    prop::sample::select(CATEGORIES.to_vec())
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(vec![Tz::Europe__Berlin, Tz::Asia__Kolkata, Tz::UTC])
}

fn clock() -> impl Strategy<Value = WallClock> {
    (0..24_u32, 0..60_u32, 0..60_u32).prop_map(|(hour, minute, second)| {
        WallClock::parse(&format!("{hour:02}:{minute:02}:{second:02}")).unwrap()
    })
}

fn channels() -> impl Strategy<Value = BTreeMap<Channel, ChannelPreference>> {
    btree_map(channel(), (any::<bool>(), any::<bool>()), 0..6).prop_map(|said| {
        let said = said.into_iter().map(|(channel, (enabled, has_address))| {
            let address = match channel.address_key() {
                Some("email") => Some("ada@example.com"),
                Some("phone") => Some("+15551234567"),
                Some("webhook") => Some("https://example.com/hook"),
                Some(_) => Some("#ada"),
                None => None,
            };
            let address = address.filter(|_| has_address).map(str::to_owned);
            (channel, ChannelPreference { enabled, address })
        });
        said.collect()
    })
}

fn about_category() -> impl Strategy<Value = CategoryPreference> {
    let mode = prop::sample::select(QuietMode::ALL.to_vec());
    let only = vec(channel(), 0..4).prop_map(|mut only| {
        only.sort_unstable();
        only.dedup();
        only
    });
    (
        any::<bool>(),
        option::of(only),
        option::of(priority()),
        option::of(mode),
    )
        .prop_map(
            |(enabled, channels, min_priority, quiet_hours)| CategoryPreference {
                enabled,
                channels,
                min_priority,
                quiet_hours,
            },
        )
}

fn quiet_hours() -> impl Strategy<Value = QuietHours> {
    (
        any::<bool>(),
        clock(),
        clock(),
        option::of(zone()),
        any::<bool>(),
    )
        .prop_filter("a window has a length", |said| said.1 != said.2)
        .prop_map(
            |(enabled, start, end, timezone, allow_critical)| QuietHours {
                enabled,
                start,
                end,
                timezone,
                allow_critical,
                channels: timezone.map(|_| vec![Channel::Email]),
            },
        )
}

fn preferences() -> impl Strategy<Value = Preferences> {
    let categories = btree_map(category().prop_map(str::to_owned), about_category(), 0..4);
    (
        prop::bool::weighted(0.8),
        option::of(Just("pt-BR".to_owned())),
        option::of(zone()),
        option::of(severity()),
        channels(),
        categories,
        quiet_hours(),
    )
        .prop_map(
            |(enabled, locale, timezone, min_severity, channels, categories, quiet_hours)| {
                Preferences {
                    enabled,
                    locale,
                    timezone,
                    min_severity,
                    channels,
                    categories,
                    quiet_hours,
                }
            },
        )
}

fn matter() -> impl Strategy<Value = Matter<'static>> {
    (option::of(category()), priority(), option::of(severity())).prop_map(
        |(category, priority, severity)| Matter {
            category,
            priority,
            severity,
        },
    )
}

fn several() -> impl Strategy<Value = Vec<Channel>> {
    vec(channel(), 0..5)
}

/// What turns a channel off, said a second time and apart from the decision.
fn is_off(said: &Preferences, channel: Channel, category: Option<&str>) -> bool {
    let about = category.and_then(|name| said.categories.get(name));
    !said.enabled
        || said.channels.get(&channel).is_some_and(|it| !it.enabled)
        || about.is_some_and(|it| !it.enabled)
        || about.is_some_and(|it| {
            it.channels
                .as_ref()
                .is_some_and(|only| !only.contains(&channel))
        })
}

proptest! {
    #[test]
    fn preferences_read_back_from_what_they_print(said in preferences()) {
        prop_assert_eq!(Preferences::parse(said.to_value()), Ok(said.clone()));
        prop_assert_eq!(Preferences::of_stored(said.to_value()), said);
    }

    #[test]
    fn merging_twice_changes_nothing_more(said in preferences(), patch in preferences()) {
        let once = said.merged(patch.to_value()).unwrap();
        prop_assert_eq!(once.merged(patch.to_value()), Ok(once.clone()));
    }

    #[test]
    fn merging_nothing_or_itself_changes_nothing(said in preferences()) {
        prop_assert_eq!(said.merged(json!({})), Ok(said.clone()));
        prop_assert_eq!(said.merged(said.to_value()), Ok(said.clone()));
    }

    #[test]
    fn no_channel_of_a_plan_is_off(
        said in preferences(), channels in several(), fallback in several(), matter in matter(),
    ) {
        let recipient = Recipient {
            user_id: "ada".into(),
            // Without a number, so that something has to stand in for text messages and calls.
            addresses: Addresses { email: Some("ada@example.com".into()), ..Addresses::default() },
            locale: None,
            timezone: None,
            preferences: said.clone(),
            consents: Consents::default(),
        };
        let telling = Telling {
            channels: Some(channels.clone()),
            fallback,
            category: matter.category.map(str::to_owned),
            ..Telling::default()
        };
        let facts = TellingFacts {
            telling: &telling,
            rule: None,
            kind: "noted",
            priority: matter.priority,
            severity: matter.severity,
            expires_at: None,
            is_digest: false,
            templates: &TemplateNames::default(),
        };
        let user = UserId::from("ada");
        let planned = facts.plan(&user, Some(&recipient), DateTime::UNIX_EPOCH, Vec::new());

        for delivery in &planned.deliveries {
            let is_open = matches!(delivery.status, Status::Queued | Status::Pending);
            prop_assert!(!is_open || !is_off(&said, delivery.channel, matter.category));
        }
        // Nothing goes missing: what is not sent is planned too, with its row.
        for channel in channels {
            let own = planned.deliveries.iter().find(|it| it.channel == channel);
            prop_assert!(own.is_some_and(|it| {
                !is_off(&said, channel, matter.category)
                    || it.status == Status::Suppressed && it.error.is_some()
            }), "{channel}");
        }
    }

    #[test]
    fn a_suppression_names_a_row_that_exists(
        said in preferences(), channel in channel(), matter in matter(),
    ) {
        if let Verdict::Suppressed(suppression) = said.decide(channel, &matter, &Consents::default()) {
            prop_assert!(said.to_value().pointer(&suppression.row).is_some(), "{suppression:?}");
        }
    }

    #[test]
    fn what_is_critical_is_stopped_by_an_opt_out_alone(
        said in preferences(), channel in channel(), matter in matter(),
    ) {
        for critical in [
            Matter { priority: Priority::Critical, ..matter },
            Matter { severity: Some(Severity::Critical), ..matter },
        ] {
            let is_suppressed = said.decide(channel, &critical, &Consents::default()) != Verdict::Allowed;
            prop_assert_eq!(is_suppressed, is_off(&said, channel, critical.category));
        }
    }

    #[test]
    fn who_says_nothing_misses_nothing(channel in channel(), matter in matter()) {
        prop_assert_eq!(Preferences::default().decide(channel, &matter, &Consents::default()), Verdict::Allowed);
    }
}

fn said(body: Value) -> Preferences {
    Preferences::parse(body).unwrap()
}

fn pointers(result: Result<Preferences, Vec<crate::FieldError>>) -> Vec<String> {
    let errors = result.expect_err("the body is bad");
    let mut pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
    pointers.sort();
    pointers
}

/// The row that decides about a mail of category `marketing`.
fn deciding_row(body: Value, priority: Priority, severity: Option<Severity>) -> Option<String> {
    let matter = Matter {
        category: Some("marketing"),
        priority,
        severity,
    };
    match said(body).decide(Channel::Email, &matter, &Consents::default()) {
        Verdict::Allowed => None,
        Verdict::Suppressed(suppression) => Some(suppression.row),
    }
}

#[test]
fn the_widest_row_that_says_no_decides() {
    let mut body = json!({
        "enabled": false, "min_severity": "high",
        "channels": {"email": {"enabled": false}},
        "categories": {"marketing": {
            "enabled": false, "channels": ["sms"], "min_priority": "critical"}},
    });
    let rows = [
        ("/enabled", json!(true)),
        ("/channels/email/enabled", json!(true)),
        ("/categories/marketing/enabled", json!(true)),
        ("/categories/marketing/channels", json!(["email"])),
        ("/categories/marketing/min_priority", json!("low")),
        ("/min_severity", json!("medium")),
    ];
    for (row, consent) in rows {
        let decided = deciding_row(body.clone(), Priority::Normal, None);
        assert_eq!(decided.as_deref(), Some(row));
        *body.pointer_mut(row).unwrap() = consent;
    }
    assert_eq!(deciding_row(body, Priority::Normal, None), None);
}

#[test]
fn a_threshold_counts_the_higher_of_priority_and_severity() {
    let body = json!({"min_severity": "high"});
    let row = |priority, severity| deciding_row(body.clone(), priority, severity);

    assert_eq!(row(Priority::High, Some(Severity::Low)), None);
    assert_eq!(row(Priority::Low, Some(Severity::High)), None);
    assert!(row(Priority::Normal, Some(Severity::Medium)).is_some());
    assert!(row(Priority::Normal, None).is_some());
}

#[test]
fn an_empty_list_of_channels_leaves_a_category_none() {
    let body = json!({"categories": {"marketing": {"channels": []}}});

    let row = deciding_row(body, Priority::Critical, None);

    assert_eq!(row.as_deref(), Some("/categories/marketing/channels"));
}

#[test]
fn a_full_body_is_read_under_all_the_names_of_channels() {
    let preferences = said(json!({
        "enabled": true, "locale": "pt-BR", "timezone": "America/Sao_Paulo",
        "min_severity": "NORMAL",
        "channels": {"EMAIL": {"enabled": false, "address": "ada@example.com"},
                     "websocket": {"enabled": true}, "browser": {"enabled": false}},
        "categories": {"marketing": {"enabled": true, "channels": ["inapp", "email"],
                                     "min_priority": "medium", "quiet_hours": "digest"}},
        "quiet_hours": {"enabled": true, "start": "23:30", "end": "06:00",
                        "timezone": "Asia/Kolkata", "allow_critical": false,
                        "channels": ["sms"]},
    }));

    assert_eq!(preferences.min_severity, Some(Severity::Medium));
    let channels: Vec<_> = preferences.channels.keys().copied().collect();
    assert_eq!(channels, [Channel::Email, Channel::WebPush, Channel::InApp]);
    let about = &preferences.categories["marketing"];
    let only = Some(vec![Channel::InApp, Channel::Email]);
    assert_eq!(
        (&about.channels, about.min_priority),
        (&only, Some(Priority::Normal))
    );
    assert_eq!(about.quiet_hours, Some(QuietMode::Digest));
    assert_eq!(preferences.quiet_hours.start.to_string(), "23:30");
    assert!(!preferences.quiet_hours.allow_critical);
}

#[test]
fn an_empty_body_and_nulls_are_the_default() {
    let nulls = json!({"enabled": null, "channels": {"email": null}, "quiet_hours": null,
                       "categories": {"x": {"channels": null}}, "min_severity": null});

    assert_eq!(said(json!({})), Preferences::default());
    assert_eq!(said(nulls).categories["x"], CategoryPreference::default());
}

#[test]
fn every_problem_is_pointed_at() {
    let body = json!({
        "enabled": "yes", "locale": "de_DE", "timezone": "Berlin", "min_severity": "dire",
        "colour": "red",
        "channels": {"fax": {}, "email": {"address": "nobody"}, "push": {"address": "t"},
                     "sms": 7, "in_app": {"mute": true}},
        "categories": {"": {}, "a/b": {"channels": ["email", "fax"], "min_priority": 3,
                                       "quiet_hours": "later", "more": 1}},
        "quiet_hours": {"start": "25:00", "end": 8, "timezone": "+01:00", "channels": "all"},
    });

    assert_eq!(
        pointers(Preferences::parse(body)),
        [
            "/categories/",
            "/categories/a~1b/channels/1",
            "/categories/a~1b/min_priority",
            "/categories/a~1b/more",
            "/categories/a~1b/quiet_hours",
            "/channels/email/address",
            "/channels/fax",
            "/channels/in_app/mute",
            "/channels/push/address",
            "/channels/sms",
            "/colour",
            "/enabled",
            "/locale",
            "/min_severity",
            "/quiet_hours/channels",
            "/quiet_hours/end",
            "/quiet_hours/start",
            "/quiet_hours/timezone",
            "/timezone",
        ]
    );
    for body in [json!([]), json!("x"), json!(null)] {
        assert_eq!(pointers(Preferences::parse(body)), [""]);
    }
}

#[test]
fn a_channel_may_be_named_once() {
    let body = json!({"channels": {"in_app": {"enabled": false}, "inapp": {"enabled": true}}});

    assert_eq!(pointers(Preferences::parse(body)), ["/channels/inapp"]);
}

#[test]
fn quiet_hours_have_a_length_and_categories_a_bound() {
    let many: serde_json::Map<_, _> = (0..201).map(|n| (n.to_string(), json!({}))).collect();

    let same = json!({"quiet_hours": {"start": "08:00"}});
    assert_eq!(pointers(Preferences::parse(same)), ["/quiet_hours/end"]);
    assert_eq!(
        pointers(Preferences::parse(json!({"categories": many}))),
        ["/categories"]
    );
}

#[test]
fn merging_changes_what_is_named_and_null_takes_it_back() {
    let before = said(json!({
        "locale": "de", "channels": {"in_app": {"enabled": false}},
        "categories": {"marketing": {"enabled": false, "channels": ["email"]}, "news": {}},
        "quiet_hours": {"end": "07:00"},
    }));
    let patch = json!({
        "locale": null, "channels": {"inapp": {"enabled": true}},
        "categories": {"marketing": {"channels": null}, "news": null},
        "quiet_hours": {"start": "08:00"},
    });

    let after = before.merged(patch).unwrap();

    assert_eq!(after.locale, None);
    assert!(after.channels[&Channel::InApp].enabled);
    assert_eq!(after.channels.len(), 1);
    let marketing = &after.categories["marketing"];
    assert_eq!((marketing.enabled, &marketing.channels), (false, &None));
    assert!(!after.categories.contains_key("news"));
    assert_eq!(after.quiet_hours.end.to_string(), "07:00");
}

#[test]
fn a_bad_patch_is_refused_as_it_was_written() {
    let before = said(json!({"quiet_hours": {"start": "09:00", "end": "10:00"}}));

    let unknown = json!({"colour": null, "channels": {"websocket": {"enabled": 1}}});
    assert_eq!(
        pointers(before.merged(unknown)),
        ["/channels/websocket/enabled", "/colour"]
    );
    let contradiction = json!({"quiet_hours": {"end": "09:00"}});
    assert_eq!(pointers(before.merged(contradiction)), ["/quiet_hours/end"]);
}

#[test]
fn what_a_later_version_stored_costs_no_opt_out() {
    let stored = json!({
        "enabled": true, "mood": "calm", "channels": {"email": {"enabled": false, "font": "big"},
                                                      "pigeon": {"enabled": false}},
    });

    let read = Preferences::of_stored(stored);

    assert!(!read.channels[&Channel::Email].enabled);
    assert_eq!(read.channels.len(), 1);
}

/// The row that decides about a mail of category `marketing`, which needs consent.
fn row_with(
    body: Value,
    records: &[(Option<Channel>, bool)],
    priority: Priority,
) -> Option<String> {
    let records = records.iter().map(|&(channel, is_granted)| ConsentRecord {
        category: "marketing".to_owned(),
        channel,
        is_granted,
    });
    let consents = Consents::new(ConsentCategories::default(), records.collect());
    let matter = Matter {
        category: Some("marketing"),
        priority,
        severity: None,
    };
    match said(body).decide(Channel::Email, &matter, &consents) {
        Verdict::Allowed => None,
        Verdict::Suppressed(suppression) => Some(suppression.row),
    }
}

#[test]
fn what_needs_consent_is_sent_to_who_has_given_it_last() {
    let row = |records: &[_]| row_with(json!({}), records, Priority::Critical);
    let refused = Some("/consents/marketing".to_owned());
    let (mail, text) = (Some(Channel::Email), Some(Channel::Sms));

    assert_eq!(row(&[]), refused, "not even what is critical");
    assert_eq!(row(&[(None, true)]), None);
    assert_eq!(row(&[(mail, true)]), None);
    assert_eq!(row(&[(text, true)]), refused);
    // The latest first: what was said of all channels holds until one is spoken of, and after.
    assert_eq!(row(&[(mail, false), (None, true)]), refused);
    assert_eq!(row(&[(None, true), (mail, false)]), None);
    assert_eq!(row(&[(None, false), (mail, true)]), refused);
    assert_eq!(row(&[(text, false), (None, true)]), None);
}

#[test]
fn who_has_turned_a_category_on_has_agreed_unless_a_record_says_otherwise() {
    let on = json!({"categories": {"marketing": {"enabled": true}}});
    let refused = Some("/consents/marketing".to_owned());

    assert_eq!(row_with(on.clone(), &[], Priority::Normal), None);
    assert_eq!(row_with(on, &[(None, false)], Priority::Normal), refused);
}

#[test]
fn an_opt_out_decides_before_consent_and_a_threshold_after_it() {
    let off = json!({"categories": {"marketing": {"enabled": false}}});
    let row = row_with(off, &[(None, true)], Priority::Normal);
    assert_eq!(row.as_deref(), Some("/categories/marketing/enabled"));

    let high = json!({"min_severity": "high"});
    assert_eq!(
        row_with(high.clone(), &[], Priority::Low).as_deref(),
        Some("/consents/marketing")
    );
    assert_eq!(
        row_with(high, &[(None, true)], Priority::Low).as_deref(),
        Some("/min_severity")
    );
}

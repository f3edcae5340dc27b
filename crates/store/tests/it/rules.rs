//! Rules: changed one at a time, applied from files, and loaded into a copy.

use chrono::TimeDelta;
use domain::{RuleId, TenantId};
use serde_json::{Value, json};
use store::revisions::read_revisions;
use store::rules::{
    NewRule, RuleRef, RuleSource, Saved, StoredRule, apply_rules, create_rule, find_rule,
    list_rules, load_changed, prune_rules, remove_rule, replace_rule,
};
use uuid::Uuid;

use crate::kit::Kit;

fn body(name: &str, channel: &str) -> Value {
    json!({"name": name, "enabled": true, "actions": [{"type": "notify", "channels": [channel]}]})
}

fn new(name: &str, channel: &str) -> NewRule {
    NewRule {
        rule_id: RuleId::from(Uuid::now_v7()),
        name: name.into(),
        enabled: true,
        body: body(name, channel),
    }
}

async fn create(kit: &Kit, tenant: &str, name: &str) -> Saved {
    let mut tx = kit.store.begin().await.unwrap();
    let saved = create_rule(&mut tx, &tenant.into(), new(name, "email"), kit.now).await;
    tx.commit().await.unwrap();
    saved.unwrap()
}

fn done(saved: Saved) -> StoredRule {
    match saved {
        Saved::Done(rule) => *rule,
        other => panic!("{other:?}"),
    }
}

async fn apply(kit: &Kit, rules: &[NewRule]) -> Vec<(String, i64)> {
    let mut tx = kit.store.begin().await.unwrap();
    let applied = apply_rules(&mut tx, &TenantId::default(), rules, kit.now).await;
    tx.commit().await.unwrap();
    let applied = applied.unwrap().expect("there are not too many");
    applied
        .into_iter()
        .map(|rule| (rule.name, rule.version))
        .collect()
}

#[tokio::test]
async fn a_rule_is_found_by_id_and_by_name_in_its_tenant_only() {
    let kit = Kit::create().await;
    let tenant = TenantId::default();
    let rule = done(create(&kit, "default", "margin").await);
    assert_eq!(create(&kit, "default", "margin").await, Saved::NameTaken);
    let other = done(create(&kit, "other", "margin").await);
    let second = done(create(&kit, "default", "orders").await);

    let mut reader = kit.store.acquire().await.unwrap();
    for name in ["margin".to_owned(), rule.rule_id.to_string()] {
        let found = find_rule(&mut reader, &tenant, &RuleRef::parse(&name)).await;
        assert_eq!(found.unwrap().as_ref(), Some(&rule));
    }
    let foreign = RuleRef::Id(other.rule_id.as_uuid());
    assert_eq!(
        find_rule(&mut reader, &tenant, &foreign).await.unwrap(),
        None
    );

    let page = list_rules(&mut reader, &tenant, None, 10).await.unwrap();
    assert_eq!(page, [second.clone(), rule.clone()]);
    let before = Some(second.rule_id.as_uuid());
    let page = list_rules(&mut reader, &tenant, before, 10).await.unwrap();
    assert_eq!(page, [rule]);
}

#[tokio::test]
async fn every_change_raises_the_version_and_the_revision() {
    let kit = Kit::create().await;
    let tenant = TenantId::default();
    let rule = done(create(&kit, "default", "margin").await);
    let later = kit.now + TimeDelta::seconds(1);
    let mut tx = kit.store.begin().await.unwrap();
    let before = read_revisions(&mut tx).await.unwrap().rules;

    let by = RuleRef::parse("margin");
    let renamed = replace_rule(&mut tx, &tenant, &by, new("calls", "sms"), later).await;
    let renamed = done(renamed.unwrap().unwrap());
    assert_eq!((renamed.rule_id, renamed.version), (rule.rule_id, 2));
    assert_eq!(renamed.body, body("calls", "sms"));
    assert_eq!((renamed.created_at, renamed.updated_at), (kit.now, later));

    let gone = replace_rule(&mut tx, &tenant, &by, new("x", "sms"), later).await;
    assert_eq!(gone.unwrap(), None);
    let removed = remove_rule(&mut tx, &tenant, &RuleRef::parse("calls")).await;
    assert_eq!(removed.unwrap(), Some((rule.rule_id, "calls".into())));
    assert!(read_revisions(&mut tx).await.unwrap().rules > before);
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_given_twice() {
    let kit = Kit::create().await;
    create(&kit, "default", "a").await;
    create(&kit, "default", "b").await;
    let mut tx = kit.store.begin().await.unwrap();
    let by = RuleRef::parse("b");
    let saved = replace_rule(&mut tx, &TenantId::default(), &by, new("a", "sms"), kit.now).await;
    assert_eq!(saved.unwrap(), Some(Saved::NameTaken));
}

#[tokio::test]
async fn applying_again_changes_nothing_and_pruning_leaves_what_the_api_keeps() {
    let kit = Kit::create().await;
    let tenant = TenantId::default();
    create(&kit, "default", "by hand").await;
    create(&kit, "default", "taken over").await;

    let rules = [
        new("b", "email"),
        new("a", "email"),
        new("taken over", "email"),
    ];
    let first = apply(&kit, &rules).await;
    let expected = [
        ("a".to_owned(), 1),
        ("b".to_owned(), 1),
        ("taken over".to_owned(), 2),
    ];
    assert_eq!(first, expected);
    assert!(apply(&kit, &rules).await.is_empty());
    let changed = apply(&kit, &[new("a", "sms"), new("b", "email")]).await;
    assert_eq!(changed, [("a".to_owned(), 2)]);

    let mut tx = kit.store.begin().await.unwrap();
    let removed = prune_rules(&mut tx, &tenant, &["a"]).await.unwrap();
    let names: Vec<_> = removed.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["b", "taken over"]);
    let by_hand = find_rule(&mut tx, &tenant, &RuleRef::parse("by hand")).await;
    assert_eq!(by_hand.unwrap().unwrap().source, RuleSource::Api);
}

#[tokio::test]
async fn a_copy_is_told_of_all_rules_and_given_the_bodies_of_those_that_changed() {
    let kit = Kit::create().await;
    let kept = done(create(&kit, "default", "kept").await);
    let other = done(create(&kit, "other", "kept").await);
    create(&kit, "default", "removed").await;
    let mut reader = kit.store.acquire().await.unwrap();
    let known = read_revisions(&mut reader).await.unwrap().rules;
    assert_eq!(load_changed(&mut reader, 0).await.unwrap().len(), 3);

    let mut tx = kit.store.begin().await.unwrap();
    let by = RuleRef::Id(other.rule_id.as_uuid());
    replace_rule(&mut tx, &"other".into(), &by, new("kept", "sms"), kit.now)
        .await
        .unwrap();
    remove_rule(&mut tx, &TenantId::default(), &RuleRef::parse("removed"))
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let rules = load_changed(&mut reader, known).await.unwrap();
    let told: Vec<_> = rules
        .into_iter()
        .map(|rule| (rule.rule_id, rule.version, rule.body))
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&(kept.rule_id, 1, None)));
    assert!(told.contains(&(other.rule_id, 2, Some(body("kept", "sms")))));
}

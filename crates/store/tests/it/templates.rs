//! Templates and their versions.

use chrono::TimeDelta;
use domain::{Channel, TenantId};
use serde_json::json;
use store::templates::{
    NewTemplate, Saved, StoredTemplate, TemplateFilter, TemplateRef, VersionRef, create_template,
    find_template, list_changes, list_taken, list_templates, list_versions, load_versions,
    prune_versions, remove_template, replace_template,
};
use uuid::Uuid;

use crate::kit::Kit;

fn new(kit: &Kit, name: &str, text: &str) -> NewTemplate {
    NewTemplate {
        name: name.into(),
        description: None,
        category: Some("trading".into()),
        channels: vec![Channel::Sms],
        locales: vec!["ru".into()],
        tags: vec!["spring".into()],
        enabled: true,
        body: json!({"name": name, "channels": {"sms": {"body": text}}}),
        actor: "key:pr_x".into(),
        at: kit.now,
    }
}

async fn create(kit: &Kit, tenant: &str, name: &str, text: &str) -> Saved {
    let mut tx = kit.store.begin().await.unwrap();
    let id = Uuid::now_v7();
    let saved = create_template(&mut tx, &tenant.into(), id, new(kit, name, text)).await;
    tx.commit().await.unwrap();
    saved.unwrap()
}

async fn created(kit: &Kit, name: &str, text: &str) -> StoredTemplate {
    match create(kit, "default", name, text).await {
        Saved::Done(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

async fn replaced(kit: &Kit, name: &str, text: &str) -> Option<StoredTemplate> {
    let mut tx = kit.store.begin().await.unwrap();
    let by = TemplateRef::parse(name);
    let new = new(kit, name, text);
    let stored = replace_template(&mut tx, &TenantId::default(), &by, new).await;
    tx.commit().await.unwrap();
    stored.unwrap()
}

async fn removed(kit: &Kit, name: &str) -> bool {
    let mut tx = kit.store.begin().await.unwrap();
    let by = TemplateRef::parse(name);
    let removed = remove_template(&mut tx, &TenantId::default(), &by, kit.now).await;
    tx.commit().await.unwrap();
    removed.unwrap().is_some()
}

async fn text_of(kit: &Kit, name: &str, version: u32) -> Option<String> {
    let wanted = VersionRef {
        tenant_id: TenantId::default(),
        key: domain::template_key(name),
        version,
    };
    let mut reader = kit.store.acquire().await.unwrap();
    let pinned = load_versions(&mut reader, &[wanted]).await.unwrap();
    let pinned = pinned.first()?;
    let text = pinned.body["channels"]["sms"]["body"].as_str();
    Some(text.unwrap().to_owned())
}

#[tokio::test]
async fn a_name_is_taken_once_per_tenant_in_whatever_case_and_with_underscores_for_dots() {
    let kit = Kit::create().await;
    created(&kit, "order.filled", "one").await;

    let again = create(&kit, "default", "ORDER_FILLED", "two").await;
    assert_eq!(again, Saved::NameTaken);
    let other = create(&kit, "other", "ORDER_FILLED", "two").await;
    assert!(matches!(other, Saved::Done(_)));

    let mut reader = kit.store.acquire().await.unwrap();
    let by_name = TemplateRef::parse("Order_Filled");
    let found = find_template(&mut reader, &TenantId::default(), &by_name).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found.head.name, "order.filled");
    let by_id = TemplateRef::Id(found.head.template_id);
    let same = find_template(&mut reader, &TenantId::default(), &by_id).await;
    assert_eq!(same.unwrap(), Some(found.clone()));
    let elsewhere = find_template(&mut reader, &"other".into(), &by_id).await;
    assert_eq!(elsewhere.unwrap(), None);
    let keys = ["order.filled".to_owned(), "plain".to_owned()];
    let taken = list_taken(&mut reader, &TenantId::default(), &keys).await;
    assert_eq!(taken.unwrap(), ["order.filled"]);
}

#[tokio::test]
async fn every_version_stays_readable_also_of_a_template_that_is_removed() {
    let kit = Kit::create().await;
    let first = created(&kit, "news", "one").await;
    let second = replaced(&kit, "News", "two").await.unwrap();

    assert_eq!((first.head.version, second.head.version), (1, 2));
    assert_eq!(second.head.template_id, first.head.template_id);
    assert_eq!(text_of(&kit, "news", 1).await.as_deref(), Some("one"));
    assert_eq!(text_of(&kit, "news", 2).await.as_deref(), Some("two"));

    assert!(removed(&kit, "news").await);
    assert!(!removed(&kit, "news").await);
    assert!(replaced(&kit, "news", "three").await.is_none());
    assert_eq!(text_of(&kit, "news", 2).await.as_deref(), Some("two"));

    let third = created(&kit, "news", "three").await;
    assert_eq!(third.head.version, 3);
    assert_eq!(third.head.template_id, first.head.template_id);
    assert_eq!(text_of(&kit, "news", 2).await.as_deref(), Some("two"));
    let mut reader = kit.store.acquire().await.unwrap();
    let versions = list_versions(&mut reader, third.head.template_id, Some(3), 10).await;
    let numbers: Vec<_> = versions.unwrap().iter().map(|it| it.version).collect();
    assert_eq!(numbers, [2, 1]);
}

#[tokio::test]
async fn a_new_version_keeps_the_name() {
    let kit = Kit::create().await;
    let stored = created(&kit, "news", "one").await;

    let mut tx = kit.store.begin().await.unwrap();
    let by = TemplateRef::Id(stored.head.template_id);
    let new = new(&kit, "other", "two");
    let renamed = replace_template(&mut tx, &TenantId::default(), &by, new).await;

    assert_eq!(renamed.unwrap(), None);
}

#[tokio::test]
async fn changes_are_listed_in_their_order_each_template_once() {
    let kit = Kit::create().await;
    created(&kit, "a", "one").await;
    created(&kit, "b", "one").await;
    replaced(&kit, "a", "two").await.unwrap();
    let mut reader = kit.store.acquire().await.unwrap();

    let changes = list_changes(&mut reader, 0).await.unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|it| (it.head.name.as_str(), it.head.version, it.is_removed))
        .collect();
    assert_eq!(seen, [("b", 1, false), ("a", 2, false)]);

    let known = changes[1].revision;
    assert!(list_changes(&mut reader, known).await.unwrap().is_empty());
    drop(reader);
    assert!(removed(&kit, "b").await);
    let mut reader = kit.store.acquire().await.unwrap();
    let changes = list_changes(&mut reader, known).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert!(changes[0].is_removed);
}

#[tokio::test]
async fn a_list_is_in_the_order_of_names_and_keeps_to_its_filter() {
    let kit = Kit::create().await;
    for name in ["b_2", "a.1", "B.1"] {
        created(&kit, name, "text").await;
    }
    let mut tx = kit.store.begin().await.unwrap();
    let plain = NewTemplate {
        category: None,
        tags: vec![],
        enabled: false,
        ..new(&kit, "c", "text")
    };
    create_template(&mut tx, &TenantId::default(), Uuid::now_v7(), plain)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let names = async |filter: TemplateFilter, after: Option<&str>| {
        let mut reader = kit.store.acquire().await.unwrap();
        let listed = list_templates(&mut reader, &TenantId::default(), &filter, after, 3).await;
        let names = listed.unwrap().into_iter().map(|it| it.name);
        names.collect::<Vec<_>>()
    };
    let all = TemplateFilter::default();
    assert_eq!(names(all.clone(), None).await, ["a.1", "B.1", "b_2"]);
    assert_eq!(names(all.clone(), Some("b.1")).await, ["b_2", "c"]);
    let disabled = TemplateFilter {
        enabled: Some(false),
        ..all.clone()
    };
    assert_eq!(names(disabled, None).await, ["c"]);
    let tagged = TemplateFilter {
        tag: Some("spring".into()),
        category: Some("trading".into()),
        ..all
    };
    assert_eq!(names(tagged, Some("a.1")).await, ["B.1", "b_2"]);
}

#[tokio::test]
async fn versions_are_pruned_once_another_followed_long_ago_and_the_current_one_never() {
    let mut kit = Kit::create().await;
    created(&kit, "news", "one").await;
    created(&kit, "gone", "one").await;
    kit.now += TimeDelta::days(10);
    replaced(&kit, "news", "two").await.unwrap();
    assert!(removed(&kit, "gone").await);

    let mut tx = kit.store.begin().await.unwrap();
    let early = kit.now - TimeDelta::days(1);
    assert_eq!(prune_versions(&mut tx, early).await.unwrap(), 0);
    let late = kit.now + TimeDelta::days(1);
    assert_eq!(prune_versions(&mut tx, late).await.unwrap(), 2);
    assert_eq!(prune_versions(&mut tx, late).await.unwrap(), 0);
    tx.commit().await.unwrap();

    assert_eq!(text_of(&kit, "news", 1).await, None);
    assert_eq!(text_of(&kit, "gone", 1).await, None);
    assert_eq!(text_of(&kit, "news", 2).await.as_deref(), Some("two"));
    assert_eq!(created(&kit, "gone", "again").await.head.version, 2);
}

//! Topics and their members.

use chrono::TimeDelta;
use domain::{TenantId, UserId};
use store::topics::{
    Topic, TopicRef, delete_members, delete_topic, find_topic, insert_members, insert_topic,
    keep_members, list_members, list_topics, list_topics_of, update_topic,
};
use uuid::Uuid;

use crate::kit::Kit;

fn topic(kit: &Kit, name: &str) -> Topic {
    Topic {
        topic_id: Uuid::now_v7(),
        name: name.into(),
        description: None,
        created_at: kit.now,
        updated_at: kit.now,
    }
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().copied().map(UserId::from).collect()
}

#[tokio::test]
async fn a_name_is_taken_once_per_tenant() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let (tenant, other) = (TenantId::default(), TenantId::from("other"));
    let (first, second) = (topic(&kit, "news"), topic(&kit, "ops"));

    assert!(insert_topic(&mut tx, &tenant, &first).await.unwrap());
    assert!(
        !insert_topic(&mut tx, &tenant, &topic(&kit, "news"))
            .await
            .unwrap()
    );
    assert!(
        insert_topic(&mut tx, &other, &topic(&kit, "news"))
            .await
            .unwrap()
    );
    assert!(insert_topic(&mut tx, &tenant, &second).await.unwrap());
    tx.commit().await.unwrap();

    let mut tx = kit.store.begin().await.unwrap();
    let renamed = Topic {
        name: "news".into(),
        updated_at: kit.now + TimeDelta::seconds(1),
        ..second.clone()
    };
    assert!(!update_topic(&mut tx, &renamed).await.unwrap());
    drop(tx);
    let mut reader = kit.store.acquire().await.unwrap();
    let listed = list_topics(&mut reader, &tenant, None, 10).await.unwrap();
    assert_eq!(listed, [second.clone(), first.clone()]);
    let older = list_topics(&mut reader, &tenant, Some(second.topic_id), 10).await;
    assert_eq!(older.unwrap(), std::slice::from_ref(&first));
    let by_id = TopicRef::parse(&first.topic_id.to_string());
    let by_name = TopicRef::parse("news");
    for by in [&by_id, &by_name] {
        let found = find_topic(&mut reader, &tenant, by).await.unwrap();
        assert_eq!(found.as_ref(), Some(&first));
    }
    assert_eq!(find_topic(&mut reader, &other, &by_id).await.unwrap(), None);
}

#[tokio::test]
async fn members_are_added_kept_and_removed_by_the_batch() {
    let kit = Kit::create().await;
    let mut tx = kit.store.begin().await.unwrap();
    let tenant = TenantId::default();
    let news = topic(&kit, "news");
    let id = news.topic_id;
    insert_topic(&mut tx, &tenant, &news).await.unwrap();
    let add = async |tx: &mut store::Connection, names: &[&str]| {
        insert_members(tx, &tenant, id, &users(names), kit.now)
            .await
            .unwrap()
    };

    assert_eq!(add(&mut tx, &["a", "b", "c"]).await, 3);
    assert_eq!(add(&mut tx, &["c", "d"]).await, 1);
    assert_eq!(
        delete_members(&mut tx, id, &users(&["a", "x"]))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        keep_members(&mut tx, id, &users(&["c", "d", "e"]))
            .await
            .unwrap(),
        1
    );
    let members = list_members(&mut tx, id, Some(&"c".into()), 10)
        .await
        .unwrap();

    let names: Vec<_> = members
        .iter()
        .map(|member| member.user_id.as_str())
        .collect();
    assert_eq!(names, ["d"]);
    let of_d = list_topics_of(&mut tx, &tenant, &"d".into()).await.unwrap();
    assert_eq!(of_d, ["news"]);
    assert_eq!(keep_members(&mut tx, id, &[]).await.unwrap(), 2);
    add(&mut tx, &["z"]).await;
    assert!(delete_topic(&mut tx, id).await.unwrap());
    assert!(!delete_topic(&mut tx, id).await.unwrap());
    assert!(
        list_members(&mut tx, id, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

//! The feed: reading it, and saying what was read.

use domain::{NotificationId, TenantId, UserId};
use store::inbox::{FeedPosition, Head, feed_after, feed_after_many, head};
use store::reading::{Ack, Marked, ack};

use crate::kit::Kit;

async fn acked(kit: &Kit, user: &str, what: Ack) -> Marked {
    let mut tx = kit.store.begin().await.unwrap();
    let (tenant, user) = (TenantId::default(), UserId::from(user));
    let acked = ack(&mut tx, &tenant, &user, &what, kit.now).await.unwrap();
    tx.commit().await.unwrap();
    acked
}

async fn unread(kit: &Kit, user: &str) -> i64 {
    let mut connection = kit.store.acquire().await.unwrap();
    head(&mut connection, &TenantId::default(), &user.into())
        .await
        .unwrap()
        .unread
}

async fn three(kit: &Kit, user: &str) -> [NotificationId; 3] {
    [
        kit.arrived(user, "one").await,
        kit.arrived(user, "two").await,
        kit.arrived(user, "three").await,
    ]
}

#[tokio::test]
async fn a_feed_is_read_from_any_number_on() {
    let kit = Kit::create().await;
    let ids = three(&kit, "ada").await;
    let mut connection = kit.store.acquire().await.unwrap();
    let (tenant, ada) = (TenantId::default(), UserId::from("ada"));

    let rest = feed_after(&mut connection, &tenant, &ada, 1, 10)
        .await
        .unwrap();

    let seen: Vec<_> = rest
        .iter()
        .map(|item| (item.seq, item.notification_id))
        .collect();
    assert_eq!(seen, [(2, ids[1]), (3, ids[2])]);
    assert_eq!(rest[0].message, "two");
    assert_eq!(rest[0].title.as_deref(), Some("Title"));
    assert_eq!(rest[0].data.as_ref().unwrap()["from"], "template");
    assert_eq!(
        head(&mut connection, &tenant, &ada).await.unwrap(),
        Head { seq: 3, unread: 3 }
    );
    assert_eq!(
        head(&mut connection, &tenant, &"new".into()).await.unwrap(),
        Head::default()
    );
}

#[tokio::test]
async fn many_feeds_are_read_at_once_each_up_to_its_limit() {
    let kit = Kit::create().await;
    three(&kit, "ada").await;
    kit.arrived("bob", "hello").await;
    let position = |user: &str, after_seq| FeedPosition {
        tenant_id: TenantId::default(),
        user_id: user.into(),
        after_seq,
    };
    let mut connection = kit.store.acquire().await.unwrap();

    let positions = [position("ada", 0), position("bob", 0), position("eve", 0)];
    let items = feed_after_many(&mut connection, &positions, 2)
        .await
        .unwrap();

    let seen: Vec<_> = items
        .iter()
        .map(|item| (item.user_id.as_str(), item.seq))
        .collect();
    assert_eq!(seen, [("ada", 1), ("ada", 2), ("bob", 1)]);
}

#[tokio::test]
async fn reading_up_to_a_number_reads_everything_before_it_once() {
    let kit = Kit::create().await;
    let ids = three(&kit, "ada").await;

    let first = acked(&kit, "ada", Ack::UpTo(2)).await;
    let again = acked(&kit, "ada", Ack::UpTo(2)).await;
    let lower = acked(&kit, "ada", Ack::UpTo(1)).await;

    assert_eq!((&first.read, first.unread), (&vec![ids[0], ids[1]], 1));
    assert_eq!((&again.read, again.unread), (&Vec::new(), 1));
    assert_eq!((&lower.read, lower.unread), (&Vec::new(), 1));
}

#[tokio::test]
async fn what_arrives_later_is_unread_whatever_number_was_named_before() {
    let kit = Kit::create().await;
    three(&kit, "ada").await;
    acked(&kit, "ada", Ack::UpTo(i64::MAX)).await;

    let later = kit.arrived("ada", "four").await;

    assert_eq!(unread(&kit, "ada").await, 1);
    assert_eq!(acked(&kit, "ada", Ack::UpTo(4)).await.read, [later]);
}

#[tokio::test]
async fn single_notifications_are_read_once_and_then_skipped() {
    let kit = Kit::create().await;
    let ids = three(&kit, "ada").await;

    let second = acked(&kit, "ada", Ack::Notifications(vec![ids[1], ids[1]])).await;
    let again = acked(&kit, "ada", Ack::Notifications(vec![ids[1]])).await;
    let rest = acked(&kit, "ada", Ack::UpTo(3)).await;

    assert_eq!((&second.read, second.unread), (&vec![ids[1]], 2));
    assert_eq!((&again.read, again.unread), (&Vec::new(), 2));
    assert_eq!((&rest.read, rest.unread), (&vec![ids[0], ids[2]], 0));
}

#[tokio::test]
async fn nobody_reads_for_another() {
    let kit = Kit::create().await;
    let ids = three(&kit, "ada").await;
    kit.arrived("bob", "hello").await;

    let foreign = acked(&kit, "bob", Ack::Notifications(ids.to_vec())).await;
    let stranger = acked(&kit, "eve", Ack::Notifications(ids.to_vec())).await;

    assert_eq!((&foreign.read, foreign.unread), (&Vec::new(), 1));
    assert_eq!((&stranger.read, stranger.unread), (&Vec::new(), 0));
    assert_eq!(unread(&kit, "ada").await, 3);
}

//! How a notification's status follows from several deliveries.

use std::sync::Arc;

use domain::{Channel, Status};

use crate::kit::Kit;

#[tokio::test]
async fn a_notification_shows_what_is_left_to_do_and_then_the_best_end() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email, Channel::Sms]).await;

    kit.settle(&[kit.moved(deliveries[0], Status::Delivered)])
        .await;
    let halfway = kit.status(id).await;
    kit.settle(&[kit.moved(deliveries[1], Status::Failed)])
        .await;

    assert_eq!(halfway, Status::Queued);
    assert_eq!(kit.status(id).await, Status::Delivered);
}

/// Each settlement moves one sibling of every notification. Whichever commits last must see the
/// other's moves, or a notification would stay open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn siblings_settled_at_once_add_up() {
    let kit = Arc::new(Kit::create().await);
    let mut notifications = Vec::new();
    let (mut emails, mut texts) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let (id, deliveries) = kit.planned("ada", &[Channel::Email, Channel::Sms]).await;
        notifications.push(id);
        emails.push(kit.moved(deliveries[0], Status::Failed));
        texts.push(kit.moved(deliveries[1], Status::Failed));
    }
    texts.reverse();

    let mut tasks = tokio::task::JoinSet::new();
    for effects in [emails, texts] {
        let kit = Arc::clone(&kit);
        tasks.spawn(async move { kit.try_settle(&effects).await });
    }
    while let Some(settled) = tasks.join_next().await {
        settled.unwrap().unwrap();
    }

    for id in notifications {
        assert_eq!(kit.status(id).await, Status::Failed);
    }
}

//! What followers of feeds ask: where feeds stand, what was marked since, and whether a ticket is good.

use chrono::TimeDelta;
use domain::{Channel, NotificationId, TenantId, UserId};
use store::feed_pruning::prune;
use store::following::{Changed, MarksPosition, changes_after, standings};
use store::reading::{Mark, mark};
use store::settlement::{Limits, apply_within};
use store::tickets::{NewTicket, issue, redeem};

use crate::kit::{Kit, rendered};

fn tenant() -> TenantId {
    TenantId::default()
}

/// Lets `count` notifications arrive, of which at most `unread_max` stay unread.
async fn arrive(kit: &Kit, user: &str, count: usize, unread_max: u32) -> Vec<NotificationId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let (id, deliveries) = kit.planned(user, &[Channel::InApp]).await;
        kit.settle(&[rendered(deliveries[0], "Hi")]).await;
        let mut tx = kit.store.begin().await.unwrap();
        let effects = [kit.arrival(id, deliveries[0], user)];
        apply_within(&mut tx, &effects, Limits { unread_max })
            .await
            .unwrap();
        tx.commit().await.unwrap();
        ids.push(id);
    }
    ids
}

async fn marked(kit: &Kit, user: &str, id: NotificationId, what: Mark) {
    let mut tx = kit.store.begin().await.unwrap();
    mark(&mut tx, &tenant(), &user.into(), &[id], what, kit.now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// What was marked in the feed of `user` after a position.
async fn changed(kit: &Kit, user: &str, after: i64) -> Option<Changed> {
    let position = MarksPosition {
        tenant_id: tenant(),
        user_id: UserId::from(user),
        after,
    };
    let mut connection = kit.store.acquire().await.unwrap();
    let changes = changes_after(&mut connection, &[position]).await.unwrap();
    changes.into_iter().next()
}

#[tokio::test]
async fn feeds_are_told_apart_and_those_that_never_began_are_left_out() {
    let kit = Kit::create().await;
    arrive(&kit, "ada", 2, 100).await;
    arrive(&kit, "bob", 1, 100).await;

    let feeds = ["bob", "nobody", "ada"].map(|user| (tenant(), UserId::from(user)));
    let mut connection = kit.store.acquire().await.unwrap();
    let mut found = standings(&mut connection, &feeds).await.unwrap();

    found.sort_by(|one, other| one.user_id.as_str().cmp(other.user_id.as_str()));
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.user_id.as_str(), it.seq, it.unread, it.marks))
        .collect();
    assert_eq!(found, [("ada", 2, 2, 0), ("bob", 1, 1, 0)]);
}

#[tokio::test]
async fn what_was_read_is_named_to_whoever_has_not_heard_of_it() {
    let kit = Kit::create().await;
    let ids = arrive(&kit, "ada", 3, 100).await;
    assert_eq!(changed(&kit, "ada", 0).await, None);

    marked(&kit, "ada", ids[0], Mark::Read).await;
    marked(&kit, "ada", ids[2], Mark::Read).await;

    let all = changed(&kit, "ada", 0).await.unwrap();
    assert_eq!((&all.read, all.is_altered), (&vec![ids[0], ids[2]], false));
    assert_eq!((all.standing.unread, all.standing.marks), (1, 2));
    let last = changed(&kit, "ada", 1).await.unwrap();
    assert_eq!(last.read, [ids[2]]);
    assert_eq!(changed(&kit, "ada", 2).await, None);
}

#[tokio::test]
async fn more_than_reading_is_told_apart_from_it_and_seeing_is_told_to_nobody() {
    let kit = Kit::create().await;
    let ids = arrive(&kit, "ada", 2, 100).await;

    marked(&kit, "ada", ids[0], Mark::Seen).await;
    assert_eq!(changed(&kit, "ada", 0).await, None);
    marked(&kit, "ada", ids[0], Mark::Archived).await;
    let archived = changed(&kit, "ada", 0).await.unwrap();
    assert_eq!((&archived.read, archived.is_altered), (&vec![ids[0]], true));

    marked(&kit, "ada", ids[0], Mark::Unread).await;
    let back = changed(&kit, "ada", 1).await.unwrap();
    assert_eq!((back.read.len(), back.is_altered), (0, true));
    marked(&kit, "ada", ids[1], Mark::Read).await;
    let read = changed(&kit, "ada", 2).await.unwrap();
    assert_eq!((&read.read, read.is_altered), (&vec![ids[1]], false));
}

#[tokio::test]
async fn what_counts_as_read_for_want_of_room_is_told_like_what_was_read() {
    let kit = Kit::create().await;
    let ids = arrive(&kit, "ada", 4, 2).await;

    let trimmed = changed(&kit, "ada", 0).await.unwrap();

    assert_eq!(
        (&trimmed.read, trimmed.is_altered),
        (&ids[..2].to_vec(), false)
    );
    assert_eq!(trimmed.standing.unread, 2);
}

#[tokio::test]
async fn unread_entries_that_are_removed_are_told() {
    let kit = Kit::create().await;
    arrive(&kit, "ada", 1, 100).await;

    let mut tx = kit.store.begin().await.unwrap();
    let later = kit.now + TimeDelta::hours(1);
    prune(&mut tx, None, later).await.unwrap();
    tx.commit().await.unwrap();

    let removed = changed(&kit, "ada", 0).await.unwrap();
    assert_eq!((removed.read.len(), removed.is_altered), (0, true));
    assert_eq!(removed.standing.unread, 0);
}

#[tokio::test]
async fn a_ticket_is_redeemed_once_and_in_time() {
    let kit = Kit::create().await;
    let ticket = |number: u8, minutes: i64| NewTicket {
        hash: [number; 32],
        tenant_id: tenant(),
        user_id: UserId::from("ada"),
        expires_at: kit.now + TimeDelta::minutes(minutes),
        session_ends_at: Some(kit.now),
    };
    let mut tx = kit.store.begin().await.unwrap();
    issue(&mut tx, &[ticket(1, 1), ticket(2, -1)])
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let redeemed = async || {
        let mut tx = kit.store.begin().await.unwrap();
        let hashes = [[1; 32], [2; 32], [3; 32]];
        let redeemed = redeem(&mut tx, &hashes, kit.now).await.unwrap();
        tx.commit().await.unwrap();
        redeemed
    };
    // Two at once, and one after: one of them is admitted.
    let (one, other) = tokio::join!(redeemed(), redeemed());
    let admitted: Vec<_> = one
        .into_iter()
        .chain(other)
        .chain(redeemed().await)
        .collect();
    assert_eq!(admitted.len(), 1);
    assert_eq!(
        (admitted[0].hash, &admitted[0].user_id),
        ([1; 32], &UserId::from("ada"))
    );
}

//! Digests of quiet hours that end at another time, and what leaves them untold.

use chrono::TimeDelta;
use domain::{DigestKey, EventId};
use serde_json::json;
use store::digests::list_items;
use store::effect::{DigestJoin, Effect};

use crate::digests::{joined, key};
use crate::kit::Kit;

#[tokio::test]
async fn the_end_of_an_open_digest_moves_and_a_look_is_planned_at_it() {
    let kit = Kit::create().await;
    let key = DigestKey {
        rule_id: None,
        ..key("ada", "email")
    };
    let (_, one) = kit.item(&key);
    let id = kit.settle(&[one]).await.opened[0].digest_id;
    let digest = kit.digest(id).await;
    let end = |minutes| kit.now + TimeDelta::minutes(minutes);

    // Of two that say so at once the earlier counts: one may have seen old wishes.
    let moved = [
        digest.postpone(end(30), kit.now),
        digest.postpone(end(20), kit.now),
    ];
    let applied = kit.settle(&moved).await;
    assert_eq!(applied.opened.len(), 1);
    assert_eq!(
        (applied.opened[0].digest_id, applied.opened[0].closes_at),
        (id, end(20))
    );
    assert_eq!(applied.closed, []);

    // After the old end and before the new one it gathers on; and a join with the move itself.
    let late = |at| DigestJoin {
        at,
        ..kit.join(&key, EventId::at(kit.now).as_uuid(), None)
    };
    let joined_late = kit.settle(&[joined(late(end(10)))]).await;
    let with_move = kit
        .settle(&[joined(late(end(25))), digest.postpone(end(40), end(25))])
        .await;
    assert_eq!((joined_late.closed, with_move.closed), (vec![], vec![]));
    let found = kit.digest(id).await;
    assert_eq!((found.closes_at, found.count), (end(40), 3));

    // Who closes it at the same time wins, and then there is nothing to move.
    let applied = kit
        .settle(&[digest.postpone(end(50), kit.now), digest.close(kit.now)])
        .await;
    assert_eq!((applied.opened.len(), applied.closed.len()), (0, 1));
    let (_, two) = kit.item(&key);
    let next = kit.settle(&[two]).await.opened[0].digest_id;
    let stale = kit.settle(&[digest.postpone(end(60), kit.now)]).await;
    assert_eq!((stale.opened, stale.closed), (vec![], vec![]));
    assert_eq!(kit.digest(next).await.closes_at, end(5));
    assert_eq!(
        kit.digests().await.len(),
        2,
        "and no empty one was left behind"
    );
}

#[tokio::test]
async fn what_leaves_a_closed_digest_is_not_handed_to_its_template() {
    let kit = Kit::create().await;
    let key = key("ada", "");
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(kit.event(json!({"n": n})).await);
    }
    let joins: Vec<_> = ids
        .iter()
        .map(|id| joined(kit.join(&key, id.as_uuid(), None)))
        .collect();
    let id = kit.settle(&joins).await.opened[0].digest_id;
    let close = kit.digest(id).await.close(kit.now);
    kit.settle(&[close]).await;

    let source_id = ids[1].as_uuid();
    kit.settle(&[Effect::DigestLeft { id, source_id }]).await;

    let mut db = kit.store.acquire().await.unwrap();
    let items = &list_items(&mut db, &[id]).await.unwrap()[&id];
    assert_eq!(items.count, 2);
    assert_eq!(items.payloads, [json!({"n": 1}), json!({"n": 3})]);
}

//! Dead letters in the console: found, looked at, and run again after a rehearsal.

use serde_json::json;
use testkit::eventually;

use super::Visitor;
use crate::SOON;
use crate::front::Front;
use crate::house::House;

/// A house in which sends by SMS to `users` have failed for good.
pub(crate) async fn house_with_dead_letters(users: &[&str]) -> House {
    let house = House::start(workers::Providers::default()).await;
    for user in users {
        let id = house
            .send(
                json!({"user_id": user, "channels": ["sms"], "content": "4711",
                "data": {"phone": "+4915112345678"}}),
            )
            .await;
        house.comes_to(&id, "failed").await;
    }
    house
}

#[tokio::test]
async fn dead_letters_are_filtered_and_counted_and_each_is_shown_whole() {
    let house = house_with_dead_letters(&["u1", "u2"]).await;
    let visitor = Visitor::admin(&house.front).await;

    let html = visitor.get("/console/dead-letters").await.shown();
    assert!(html.contains("2 dead letters"), "{html}");
    assert!(html.contains("no_provider"), "{html}");
    for (filter, count) in [
        (
            "queue=sms&kind=deliver&since=2020-01-01T00%3A00",
            "2 dead letters",
        ),
        ("queue=email", "0 dead letters"),
        ("kind=render", "0 dead letters"),
        ("error=no+such+words", "0 dead letters"),
        ("until=2020-01-01T00%3A00", "0 dead letters"),
    ] {
        let path = format!("/console/dead-letters?{filter}");
        let html = visitor.get(&path).await.shown();
        assert!(html.contains(count), "{filter}: {html}");
    }
    let (_, rest) = html.split_once("href=\"/console/dead-letters/01").unwrap();
    let id = format!("01{}", rest.split('"').next().unwrap());
    let html = visitor
        .get(&format!("/console/dead-letters/{id}"))
        .await
        .shown();
    for part in ["delivery_id", "no_provider", "Attempt 1", "4711", &id] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let absent = "/console/dead-letters/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d";
    assert_eq!(visitor.get(absent).await.status, 404);
}

#[tokio::test]
async fn a_rehearsal_changes_nothing_and_a_replay_tells_what_it_did() {
    let house = house_with_dead_letters(&["u1", "u2"]).await;
    let front = &house.front;
    let visitor = Visitor::admin(front).await;
    // Meanwhile one of them has arrived by other means.
    sqlx::raw_sql("update deliveries set status = 'delivered' where user_id = 'u1'")
        .execute(front.store.pool())
        .await
        .unwrap();

    let path = "/console/dead-letters/replay?queue=sms";
    let html = visitor.get(path).await.shown();
    assert!(html.contains("Replay 2 dead letters?"), "{html}");
    assert_eq!(front.count("replays").await, 0);
    let fields = [("queue", "sms"), ("rate", "100")];
    let led = visitor
        .submit(path, "/console/dead-letters/replay", &fields)
        .await
        .led_to();
    eventually(SOON, async || {
        visitor
            .get(&led)
            .await
            .shown()
            .contains("Done: 1 of 2 run again.")
    })
    .await;

    let html = visitor.get(&led).await.shown();
    assert!(html.contains("skipped: was delivered meanwhile"), "{html}");
    assert!(html.contains("100 a second"), "{html}");
    assert!(html.contains("key:pr_admin"), "{html}");
    let list = visitor.get("/console/dead-letters").await.shown();
    assert!(list.contains("2 of 2"), "the replay is in the list: {list}");
    let audited: i64 =
        sqlx::query_scalar("select count(*) from audit where action = 'dead_letters.replayed'")
            .fetch_one(front.store.pool())
            .await
            .unwrap();
    assert_eq!(audited, 1);
    let stopped = visitor
        .submit("/console", &format!("{led}/cancel"), &[])
        .await;
    assert_eq!(stopped.status, 409, "it is over");
}

#[tokio::test]
async fn only_those_that_are_ticked_are_replayed() {
    let house = house_with_dead_letters(&["u1", "u2", "u3"]).await;
    let front = &house.front;
    let visitor = Visitor::admin(front).await;
    let ids: Vec<String> =
        sqlx::query_scalar("select job_id::text from queue.dead_letters order by died_at")
            .fetch_all(front.store.pool())
            .await
            .unwrap();

    let path = format!("/console/dead-letters/replay?id={}&id={}", ids[0], ids[2]);
    let html = visitor.get(&path).await.shown();
    assert!(html.contains("Replay 2 dead letters?"), "{html}");
    let fields = [("id", ids[0].as_str()), ("id", &ids[2])];
    let led = visitor
        .submit(&path, "/console/dead-letters/replay", &fields)
        .await
        .led_to();

    eventually(SOON, async || {
        visitor.get(&led).await.shown().contains("Done: 2 of 2")
    })
    .await;
    let html = visitor.get(&led).await.shown();
    assert!(html.contains(&ids[0]) && !html.contains(&ids[1]), "{html}");
}

#[tokio::test]
async fn a_replay_is_stopped_and_nobody_else_sees_it() {
    // Nobody works here, so it stands still.
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    super::insert_dead_letter(&front, "broken").await;
    let path = "/console/dead-letters/replay?kind=deliver";
    let led = visitor
        .submit(path, "/console/dead-letters/replay", &[("kind", "deliver")])
        .await
        .led_to();
    front
        .create_key("pr_other", "other", &[domain::Role::Admin])
        .await;
    let other = Visitor::holding(&front, "pr_other").await;
    assert_eq!(other.get(&led).await.status, 404);
    let cancel = format!("{led}/cancel");
    assert_eq!(other.submit("/console", &cancel, &[]).await.status, 404);

    let html = visitor.get(&led).await.shown();
    assert!(html.contains("0 of 1 looked at so far"), "{html}");
    assert_eq!(visitor.submit(&led, &cancel, &[]).await.led_to(), led);

    let html = visitor.get(&led).await.shown();
    assert!(html.contains("Stopped after 0 of 1"), "{html}");
    let nothing = visitor
        .submit(path, "/console/dead-letters/replay", &[("kind", "none")])
        .await;
    assert_eq!(nothing.status, 409, "what does not match is not replayed");
}

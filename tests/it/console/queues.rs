//! The page of the queues: what it shows, and its switch.

use super::Visitor;
use crate::front::Front;
use crate::house::House;

#[tokio::test]
async fn a_queue_is_paused_and_resumed_and_the_page_says_by_whom() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;

    let led = visitor
        .submit("/console/queues", "/console/queues/email/pause", &[])
        .await
        .led_to();
    let html = visitor.get(&led).await.shown();
    assert!(html.contains("The queue email is paused"), "{html}");
    assert!(html.contains("by key:pr_admin since"), "{html}");
    assert!(html.contains("/console/queues/email/resume"), "{html}");
    let api = front.get("/v1/admin/queues").await.expect(200);
    let is_email = |queue: &&serde_json::Value| queue["name"] == "email";
    let email = api["items"].as_array().unwrap().iter().find(is_email);
    assert_eq!(email.unwrap()["paused"], true);

    let led = visitor
        .submit("/console/queues", "/console/queues/email/resume", &[])
        .await
        .led_to();
    assert!(visitor.get(&led).await.shown().contains("runs again"));
    let actions: Vec<(String, String)> = sqlx::query_as(
        "select action, subject from audit where subject = 'email' order by audit_id",
    )
    .fetch_all(front.store.pool())
    .await
    .unwrap();
    assert_eq!(
        actions,
        ["queue.paused", "queue.resumed"].map(|action| (action.to_owned(), "email".to_owned()))
    );
    let nowhere = visitor
        .submit("/console/queues", "/console/queues/nowhere/pause", &[])
        .await;
    assert_eq!(nowhere.status, 404);
}

#[tokio::test]
async fn the_page_names_the_processes_that_work() {
    let house = House::with_outbox().await;
    let visitor = Visitor::admin(&house.front).await;

    let html = visitor.get("/console/queues").await.shown();

    assert!(html.contains("alive"), "{html}");
    assert!(!html.contains("No process works"), "{html}");
    let alone = Front::start().await;
    let visitor = Visitor::admin(&alone).await;
    let html = visitor.get("/console/queues").await.shown();
    assert!(html.contains("No process works"), "{html}");
}

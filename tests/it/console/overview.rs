//! The overview: one word for how things stand, and the numbers behind it.

use chrono::{DurationRound, TimeDelta, Utc};
use domain::Role;
use postrider::pulse::Pulse;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};
use queue::Clock;
use serde_json::json;
use store::pulse::What;

use super::{Visitor, insert_dead_letter};
use crate::front::Front;
use crate::house::House;

#[tokio::test]
async fn a_house_that_works_is_well_and_one_without_workers_is_not() {
    let house = House::with_outbox().await;
    let id = house
        .send(json!({"user_id": "u1", "channels": ["in_app"], "content": "Hello"}))
        .await;
    house.comes_to(&id, "delivered").await;
    let html = Visitor::admin(&house.front)
        .await
        .get("/console")
        .await
        .shown();
    assert!(html.contains("All is well"), "{html}");
    for title in ["Throughput", "Latency", "Queue depth", "Oldest job"] {
        assert!(
            html.contains(&format!("<h2>{title}</h2>")),
            "{title}: {html}"
        );
    }

    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    insert_dead_letter(&front, "the provider said no").await;
    visitor
        .submit("/console/queues", "/console/queues/sms/pause", &[])
        .await
        .led_to();
    let html = visitor.get("/console").await.shown();
    for said in [
        "Something does not work",
        "No process works",
        "1 job gave up in the last hour",
        "The queue sms is paused",
        "the provider said no",
    ] {
        assert!(html.contains(said), "{said}: {html}");
    }
}

#[tokio::test]
async fn another_tenant_sees_its_own_numbers_only() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    insert_dead_letter(&front, "nobody elses business").await;

    let html = Visitor::holding(&front, "pr_other")
        .await
        .get("/console")
        .await
        .shown();

    assert!(html.contains("All is well"), "{html}");
    assert!(html.contains("Throughput"), "{html}");
    for shared in ["Queue depth", "elses business", "No process works"] {
        assert!(!html.contains(shared), "{shared}: {html}");
    }
}

#[tokio::test]
async fn every_process_adds_what_it_did_to_the_same_minute() {
    let front = Front::start().await;
    let registry = Registry::new();
    let latency = Histogram::with_opts(
        HistogramOpts::new("notification_delivery_latency_seconds", "…").buckets(vec![1.0, 2.0]),
    )
    .unwrap();
    let attempts = IntCounterVec::new(
        Opts::new("postrider_attempts_total", "…"),
        &["channel", "outcome"],
    )
    .unwrap();
    registry.register(Box::new(latency.clone())).unwrap();
    registry.register(Box::new(attempts.clone())).unwrap();
    let now = Utc::now();
    let clock = Clock::manual(now);
    let pulse = || Pulse::new(front.store.clone(), clock.clone(), registry.clone());
    let (mut one, mut two) = (pulse(), pulse());
    latency.observe(0.5);
    latency.observe(9.0);
    attempts.with_label_values(&["sms", "rejected"]).inc();

    for _ in 0..2 {
        // The second time there is nothing more to tell.
        one.beat().await.unwrap();
        two.beat().await.unwrap();
    }

    let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap();
    let mut conn = front.store.acquire().await.unwrap();
    let minutes = store::pulse::list_minutes(&mut conn, minute).await.unwrap();
    assert_eq!(minutes.len(), 1);
    assert_eq!(minutes[0].went_out, [2, 0, 2]);
    assert_eq!(
        (minutes[0].waiting, minutes[0].oldest_seconds),
        (Some(0), Some(0.0))
    );
    let failures = store::pulse::sums(&mut conn, What::Failures, minute).await;
    assert_eq!(failures.unwrap(), [("sms/rejected".to_owned(), 2)]);
    let later = now + store::pulse::KEPT;
    let pruned = store::pulse::prune(&mut conn, later).await.unwrap();
    assert_eq!(pruned, 2);
}

//! The page of the audit: newest first, by who, what, to what and when.

use domain::Role;

use super::Visitor;
use crate::front::Front;

#[tokio::test]
async fn changes_are_listed_newest_first_and_found_by_who_what_and_when() {
    let front = Front::start().await;
    front
        .create_key(
            "pr_secon_key_of_the_tests_012345",
            "default",
            &[Role::Admin],
        )
        .await;
    let first = Visitor::admin(&front).await;
    let second = Visitor::holding(&front, "pr_secon_key_of_the_tests_012345").await;
    first
        .submit("/console/queues", "/console/queues/email/pause", &[])
        .await
        .led_to();
    second
        .submit("/console/queues", "/console/queues/email/resume", &[])
        .await
        .led_to();

    let html = first.get("/console/audit").await.shown();
    let place = |word: &str| html.find(&format!(">{word}<")).unwrap();
    assert!(place("queue.resumed") < place("queue.paused"), "{html}");
    assert!(place("queue.paused") < place("console.signed_in"), "{html}");
    for (filter, shown, hidden) in [
        ("action=queue.paused", ">queue.paused<", ">queue.resumed<"),
        ("actor=key%3Apr_secon", ">queue.resumed<", ">queue.paused<"),
        ("subject=email", ">queue.paused<", ">console.signed_in<"),
        (
            "since=2020-01-01T00%3A00",
            ">queue.paused<",
            "No change matches",
        ),
        (
            "until=2020-01-01T00%3A00",
            "No change matches",
            ">queue.paused<",
        ),
    ] {
        let html = first.get(&format!("/console/audit?{filter}")).await.shown();
        assert!(html.contains(shown), "{filter}: {html}");
        assert!(!html.contains(hidden), "{filter}: {html}");
    }
    let page = first
        .get("/console/audit?limit=1&subject=email")
        .await
        .shown();
    let (_, rest) = page.split_once("class=\"button\" href=\"").unwrap();
    let next = rest.split('"').next().unwrap().replace("&#38;", "&");
    // The link says nothing of the limit; the rest follows.
    let rest = first.get(&next).await.shown();
    assert!(rest.contains(">queue.paused<") && !rest.contains(">queue.resumed<"));
}

#[tokio::test]
async fn another_tenant_sees_its_own_changes_only() {
    let front = Front::start().await;
    front
        .create_key("pr_other_key_of_the_tests_012345", "other", &[Role::Admin])
        .await;
    let admin = Visitor::admin(&front).await;
    let other = Visitor::holding(&front, "pr_other_key_of_the_tests_012345").await;

    let html = other.get("/console/audit").await.shown();

    assert!(html.contains("key:pr_other"), "{html}");
    assert!(!html.contains("key:pr_admin"), "{html}");
    assert!(
        !admin
            .get("/console/audit")
            .await
            .shown()
            .contains("key:pr_other")
    );
}

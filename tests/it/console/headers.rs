//! What every answer of the console wears, and that a refusal is a page too.

use domain::Role;
use reqwest::StatusCode;

use super::{Page, Visitor};
use crate::front::{ADMIN_KEY, Front};

/// Every page that is asked for in these tests.
pub(super) const PATHS: [&str; 13] = [
    "/console",
    "/console/queues",
    "/console/dead-letters",
    "/console/audit",
    "/console/notifications",
    "/console/notifications/find?id=x",
    "/console/mailbox",
    "/console/templates",
    "/console/drafts/template",
    "/console/rules",
    "/console/rehearsal",
    "/console/users",
    "/console/sign-in",
];

#[tokio::test]
async fn every_answer_lets_in_nothing_from_elsewhere() {
    let front = Front::start().await;
    let admin = Visitor::admin(&front).await;
    let nobody = Visitor::new(&front);

    for visitor in [&admin, &nobody] {
        for path in PATHS.into_iter().chain(["/console/no-such-page"]) {
            let request = visitor.request(reqwest::Method::GET, path);
            let response = request.send().await.unwrap();
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            let policy = header("content-security-policy");
            for rule in [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "form-action 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            ] {
                assert!(policy.contains(rule), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("referrer-policy"), "same-origin", "{path}");
            assert_eq!(header("cache-control"), "no-store", "{path}");
            let html = Page::of(response).await.text;
            // The policy would block these, so a page that has one is broken.
            for inline in ["<style", " style=", "javascript:", " onclick="] {
                assert!(!html.contains(inline), "{path} has {inline}");
            }
        }
    }
    let api = front.get("/v1/stats").await;
    assert_eq!(
        api.content_type, "application/json",
        "others are as they were"
    );
}

#[tokio::test]
async fn the_style_and_the_script_are_kept_for_good_at_an_address_of_their_own() {
    let front = Front::start().await;
    let visitor = Visitor::new(&front);
    let html = visitor.get("/console/sign-in").await.shown();

    for (before, media_type) in [
        ("<link rel=\"stylesheet\" href=\"", "text/css"),
        ("<script src=\"", "text/javascript"),
    ] {
        let (_, rest) = html.split_once(before).unwrap();
        let path = rest.split('"').next().unwrap();
        assert!(path.contains("?v="), "{path}");
        let request = visitor.request(reqwest::Method::GET, path);
        let response = request.send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("cache-control").contains("immutable"), "{path}");
        assert!(header("content-type").starts_with(media_type), "{path}");
    }
    let gone = visitor.get("/console/assets/passwd").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refusal_is_a_page_below_the_console_and_a_problem_elsewhere() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let admin = Visitor::admin(&front).await;
    let other = Visitor::holding(&front, "pr_other").await;

    for (page, status) in [
        (admin.get("/console/no-such-page").await, 404),
        (admin.get("/console/sign-out").await, 405),
        (other.get("/console/queues").await, 403),
    ] {
        assert_eq!(page.status.as_u16(), status, "{page:?}");
        assert!(page.text.starts_with("<!doctype html>"), "{}", page.text);
        assert!(page.policy.is_some());
    }
    front.get("/no-such-path").await.expect_problem(404);
    let html = other.get("/console").await.shown();
    assert!(!html.contains("/console/queues"), "what it may not see");
}

#[tokio::test]
async fn a_browser_that_opens_the_address_lands_in_the_console() {
    let front = Front::start().await;
    let visitor = Visitor::new(&front);
    let asking = |path: &str, accept: &str| {
        let request = visitor.request(reqwest::Method::GET, path);
        request.header("accept", accept).send()
    };

    for path in ["/", "/console/"] {
        let browser = asking(path, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(Page::of(browser.unwrap()).await.led_to(), "/console");
        let program = asking(path, "application/json").await.unwrap();
        assert_eq!(program.status(), StatusCode::NOT_FOUND);
    }
    let signed_in = visitor.form("/console/sign-in", &[("credential", ADMIN_KEY)]);
    let over_tls = signed_in.header("x-forwarded-proto", "https").send().await;
    let cookie = Page::of(over_tls.unwrap()).await.cookie.unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
}

//! Every route of the pages that show people's things: who is not signed in sees none of them, and
//! no form is taken that a page of the session did not send.

use domain::Role;
use reqwest::{Method, StatusCode};

use super::{Page, Visitor, admin_token};
use crate::front::{Front, token};

/// Every route of these pages, as `method path`.
const ROUTES: [&str; 33] = [
    "GET /console/notifications",
    "GET /console/notifications/find?id=x",
    "GET /console/notifications/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d",
    "POST /console/notifications/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d/cancel",
    "GET /console/live/notifications/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d",
    "GET /console/mailbox",
    "GET /console/mailbox/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d",
    "GET /console/mails/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d",
    "GET /console/live/mailbox",
    "GET /console/templates",
    "GET /console/templates/digest",
    "POST /console/templates/digest",
    "POST /console/templates/digest/remove",
    "GET /console/templates/digest/versions/1",
    "GET /console/drafts/template",
    "POST /console/drafts/template",
    "POST /console/drafts/template/preview",
    "POST /console/drafts/template/mail",
    "GET /console/rules",
    "GET /console/rules/x",
    "POST /console/rules/x",
    "POST /console/rules/x/enable",
    "POST /console/rules/x/disable",
    "POST /console/rules/x/remove",
    "GET /console/drafts/rule",
    "POST /console/drafts/rule",
    "GET /console/rehearsal",
    "POST /console/rehearsal",
    "GET /console/users",
    "GET /console/users/ada",
    "GET /console/users/ada/export",
    "GET /console/users/ada/erase",
    "POST /console/users/ada/erase",
];

async fn ask(visitor: &Visitor<'_>, method: &str, path: &str) -> Page {
    if method == "POST" {
        return visitor.send(path, &[("form_token", "00")]).await;
    }
    let request = visitor.request(Method::GET, path);
    Page::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn nobody_sees_a_page_without_a_session_and_none_but_admins_get_one() {
    let front = Front::start().await;
    let nobody = Visitor::new(&front);

    for route in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        let page = ask(&nobody, method, path).await;
        let led = page.led_to();
        assert!(led.starts_with("/console/sign-in"), "{route}: {led}");
    }
    front
        .create_key("pr_reader", "default", &[Role::Read])
        .await;
    front
        .create_key("pr_sender", "default", &[Role::Send])
        .await;
    for credential in ["pr_reader", "pr_sender", &token("ada")] {
        let mut visitor = Visitor::new(&front);
        let page = visitor.sign_in(credential).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{page:?}");
        let page = visitor.get("/console/users").await;
        assert!(page.led_to().starts_with("/console/sign-in"));
    }
    let admin = Visitor::holding(&front, &admin_token("boss")).await;
    admin.get("/console/users").await.shown();
}

#[tokio::test]
async fn no_form_is_taken_that_a_page_of_the_session_did_not_send() {
    let front = Front::start().await;
    let admin = Visitor::admin(&front).await;

    for route in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        if method == "POST" {
            let page = ask(&admin, method, path).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{route}: {page:?}");
        }
    }
    assert_eq!(front.count("templates").await, 0);
    assert_eq!(front.count("rules").await, 0);
}

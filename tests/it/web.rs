//! What `/web/` serves: the inbox's files, to pages of any origin.

use reqwest::{Response, StatusCode};

use crate::front::{Answer, Front};

async fn fetch(front: &Front, path: &str) -> Response {
    front.client.get(front.url(path)).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_files_are_public_typed_and_cached_for_a_while() {
    let front = Front::start().await;
    for (path, media_type) in [
        ("/web/", "text/html; charset=utf-8"),
        ("/web/inbox.js", "text/javascript; charset=utf-8"),
        ("/web/client.js", "text/javascript; charset=utf-8"),
        ("/web/lib/session.js", "text/javascript; charset=utf-8"),
        ("/web/client.d.ts", "application/typescript; charset=utf-8"),
        ("/web/demo/demo.css", "text/css; charset=utf-8"),
    ] {
        let file = fetch(&front, path).await;
        assert_eq!(file.status(), StatusCode::OK, "{path}");
        for (name, expected) in [
            ("content-type", media_type),
            ("access-control-allow-origin", "*"),
            ("cache-control", "public, max-age=60"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(header(&file, name), expected, "{path}");
        }

        let tag = header(&file, "etag");
        let again = front
            .client
            .get(front.url(path))
            .header("if-none-match", &tag);
        let again = again.send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(header(&again, "etag"), tag);
        let other = front
            .client
            .get(front.url(path))
            .header("if-none-match", "\"old\"");
        assert_eq!(other.send().await.unwrap().status(), StatusCode::OK);
    }
    let worker = fetch(&front, "/web/service-worker.js").await;
    assert_eq!(header(&worker, "service-worker-allowed"), "/");
    let page = fetch(&front, "/web/").await;
    let policy = header(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn the_slash_is_added_and_what_is_not_there_is_a_problem() {
    let front = Front::start().await;

    let slashless = fetch(&front, "/web").await;
    assert_eq!(slashless.url().path(), "/web/");
    for path in [
        "/web/nothing.js",
        "/web/package.json",
        "/web/demo/index.html",
    ] {
        let answer = Answer::of(fetch(&front, path).await).await;
        answer.expect_problem(404);
    }
}

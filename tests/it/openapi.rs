//! The description of the API: as it is checked in, as it is served, and readable without network.

use serde_json::Value;

use crate::front::Front;

#[test]
fn docs_openapi_json_is_what_the_handlers_say() {
    let checked_in = include_str!("../../docs/openapi.json");

    // Not `assert_eq`: the two texts would fill the screen.
    assert!(
        checked_in == postrider::api::openapi::page(),
        "write it anew: postrider config openapi > docs/openapi.json"
    );
}

#[tokio::test]
async fn the_document_is_served_and_names_every_refusal() {
    let front = Front::start().await;

    let served = front.get("/openapi.json").await;

    let document: Value = served.json();
    assert_eq!(document["openapi"], "3.1.0");
    let submit = &document["paths"]["/v1/events"]["post"]["responses"];
    for status in [
        "202", "400", "401", "403", "409", "413", "415", "422", "429", "503",
    ] {
        assert!(submit.get(status).is_some(), "{status} in {submit}");
    }
}

#[tokio::test]
async fn the_reader_is_served_from_the_binary_and_asks_nobody_else() {
    let front = Front::start().await;

    let page = front.client.get(front.url("/docs")).send().await.unwrap();

    assert_eq!(page.url().path(), "/docs/");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(!page.contains("//"), "{page}");
    for file in [
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-initializer.js",
    ] {
        assert!(page.contains(file), "{page}");
        let served = front.get(&format!("/docs/{file}")).await;
        assert_eq!(served.status, 200, "{file}");
        assert!(!served.text.contains("https://cdn"), "{file}");
    }
    front.get("/docs/no-such-file").await.expect_problem(404);
}

/// Whoever reads it sees what to send and what comes back.
#[test]
fn every_body_and_every_answer_in_json_has_an_example() {
    let document: Value = serde_json::from_str(&postrider::api::openapi::page()).unwrap();
    let schema_of = |reference: &Value| {
        let name = reference.as_str()?.rsplit('/').next()?;
        document["components"]["schemas"].get(name)
    };
    let is_shown = |content: &Value| {
        let schema = &content["schema"];
        let schema = match schema["type"].as_str() {
            Some("array") => &schema["items"],
            _ => schema,
        };
        let schema = schema_of(&schema["$ref"]).unwrap_or(schema);
        [content, schema]
            .iter()
            .any(|each| each.get("example").is_some() || each.get("examples").is_some())
    };
    let mut bare = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = operation["responses"].as_object().into_iter().flatten();
            let contents = answers.map(|(status, answer)| (status.as_str(), &answer["content"]));
            let body = ("body", &operation["requestBody"]["content"]);
            for (what, contents) in contents.chain([body]) {
                let content = contents.get("application/json");
                if content.is_some_and(|content| !is_shown(content)) {
                    bare.push(format!("{method} {path} {what}"));
                }
            }
        }
    }
    assert!(bare.is_empty(), "{bare:#?}");
}
